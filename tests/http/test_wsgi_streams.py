"""wsgi.input, wsgi.errors, wsgi.file_wrapper by themselves."""

from __future__ import annotations

import io
import logging
import threading

import pytest

from trews.http.wsgi_streams import MAX_LINE, BodyInput, ErrorLog, FileWrapper, NoInput


def test_no_input():
    stream = NoInput()
    stream.close()
    assert (stream.read(), stream.read(5), stream.readline(), stream.readlines(), list(stream)) == (
        b"",
        b"",
        b"",
        [],
        [],
    )


def reader(*pieces):
    rest = [*pieces, b""]
    taken = []

    def take():
        taken.append(1)
        return rest.pop(0) if rest else b""

    return io.BufferedReader(BodyInput(take), 64), taken


@pytest.mark.parametrize("cut", range(1, 12))
def test_input_however_it_comes(cut):
    data = b"ab\ncdef\n\ng"
    pieces = [data[at : at + cut] for at in range(0, len(data), cut)]
    assert reader(*pieces)[0].read() == data
    assert list(reader(*pieces)[0]) == [b"ab\n", b"cdef\n", b"\n", b"g"]
    stream, _ = reader(*pieces)
    assert [stream.read(4), stream.readline(2), stream.readlines()] == [b"ab\nc", b"de", [b"f\n", b"\n", b"g"]]
    assert stream.read(1) == b""


def test_input_takes_no_more_than_it_needs():
    stream, taken = reader(b"a" * 64, b"b" * 64)
    assert stream.read(10) == b"a" * 10
    assert len(taken) == 1


def test_a_piece_larger_than_the_buffer():
    stream, _ = reader(b"a" * 1000, b"b")
    assert stream.read(999) == b"a" * 999
    assert stream.read() == b"ab"


def test_errors_by_lines(caplog):
    log = ErrorLog()
    with caplog.at_level(logging.ERROR, "trews.http"):
        assert log.write("a") == 1
        assert not caplog.records
        log.write("b\nc\nd")
        log.flush()
        log.flush()
    assert [record.getMessage() for record in caplog.records] == [
        "wsgi.errors: ab",
        "wsgi.errors: c",
        "wsgi.errors: d",
    ]


def test_an_endless_line_is_not_kept(caplog):
    log = ErrorLog()
    log.write("x" * (MAX_LINE + 1))
    assert len(caplog.records) == 1


def test_threads_do_not_mix_their_lines(caplog):
    log = ErrorLog()
    log.write("mine ")
    thread = threading.Thread(target=log.write, args=("theirs\n",))
    thread.start()
    thread.join()
    log.write("too\n")
    assert [record.getMessage() for record in caplog.records] == ["wsgi.errors: theirs", "wsgi.errors: mine too"]


def test_errors_take_str():
    with pytest.raises(TypeError, match="takes str"):
        ErrorLog().write(b"x")


def test_a_file_in_blocks():
    file = io.BytesIO(b"abcde")
    wrapper = FileWrapper(file, 2)
    assert wrapper.part() is None
    assert list(wrapper) == [b"ab", b"cd", b"e"]
    wrapper.close()
    assert file.closed


def test_the_part_of_a_file_that_is_left(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"abcde")
    with open(path, "rb") as file:
        assert FileWrapper(file).part() == (0, 5)
        file.read(2)
        assert FileWrapper(file).part() == (2, 3)
        file.seek(9)
        assert FileWrapper(file).part() == (9, 0)
    assert FileWrapper(file).part() is None
    with open(path) as text:
        assert FileWrapper(text).part() is None


def test_what_is_not_even_that():
    class Filelike:
        def read(self, size):
            return b""

    wrapper = FileWrapper(Filelike())
    wrapper.close()
    assert wrapper.part() is None
    assert list(wrapper) == []

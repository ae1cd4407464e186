"""Opening what has come, sealed: whole, in turns, and what is found out about a peer that sends no data."""

from __future__ import annotations

import ssl

import pytest

from tests.tlspeer import V12, V13, contexts
from trews.errors import TLSError
from trews.transport.records import BARREN_MAX, HEADER, OVERHEAD, RECORD, RECORDS_A_TURN, Records, engine_of


def broken(exc):
    return TLSError(str(exc))


class Ends:
    """A session of each side, and the records of one of them."""

    def __init__(self, version=V13, ciphers=None):
        client, server = contexts.__wrapped__(version)  # which are changed here
        if ciphers:
            for context in (client, server):
                context.set_ciphers(ciphers)
        self.to_us, self.from_us = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.incoming = ssl.MemoryBIO()
        self.peer = client.wrap_bio(self.from_us, self.to_us, server_hostname="localhost")
        ours = server.wrap_bio(self.incoming, self.from_us, server_side=True)
        waiting = [self.peer, ours]
        while waiting:
            for session in list(waiting):
                try:
                    session.do_handshake()
                    waiting.remove(session)
                except ssl.SSLWantReadError:
                    pass
                self.incoming.write(self.to_us.read())
        self.ours = ours
        self.records = Records(engine_of(ours), self.incoming, broken)

    def sealed(self, *pieces):
        for piece in pieces:
            self.peer.write(piece)
        return self.to_us.read()


@pytest.mark.parametrize("version", [V12, V13])
@pytest.mark.parametrize("chunk", [1, 7, 1000, RECORD, 10**6])
def test_what_was_sealed_is_opened_however_it_is_cut(version, chunk):
    ends = Ends(version)
    data = bytes(range(256)) * 300
    sealed = ends.sealed(data, b"x", data)
    got = b""
    for start in range(0, len(sealed), chunk):
        ends.records.feed(sealed[start : start + chunk])
        got += ends.records.take()
        while ends.records.has_more:
            got += ends.records.take()
    assert got == data + b"x" + data
    assert ends.records.rest is None


def test_without_what_is_private_to_ssl_the_session_itself_reads():
    session = object()
    assert engine_of(session) is session
    ends = Ends()
    records = Records(ends.ours, ends.incoming, broken)
    records.feed(ends.sealed(b"as ever"))
    assert records.take() == b"as ever"


def test_a_whole_record_is_taken_by_one_read():
    """Nothing of it stays in OpenSSL, which no poller would tell of."""
    for version in (V12, V13):
        ends = Ends(version)
        for size in (1, 1000, RECORD - 1, RECORD):
            ends.records.feed(ends.sealed(bytes(size)))
            assert len(ends.records.take()) == size
            assert not ends.records.has_more
            assert ends.ours.pending() == ends.incoming.pending == 0


def opened(records, data):
    """What comes of it when it is received."""
    got = records.one(data) or records.take()
    while records.has_more:
        got += records.take()
    return got


@pytest.mark.parametrize("version", [V12, V13])
@pytest.mark.parametrize("chunk", [1, 7, 50, 1000, RECORD, 10**6])
def test_by_the_short_way_too_it_is_opened_however_it_is_cut(version, chunk):
    ends = Ends(version)
    data = b"".join(b"%d " % number for number in range(5000))
    for size in (0, 1, 25, len(data)):
        sealed = ends.sealed(b"ready", data[:size])
        got = b""
        for start in range(0, len(sealed), chunk):
            got += opened(ends.records, sealed[start : start + chunk])
        assert got == b"ready" + data[:size]
        assert ends.records.rest is None


@pytest.mark.parametrize("version", [V12, V13])
def test_a_record_alone_is_opened_by_one_read_no_larger_than_it(version):
    ends = Ends(version)
    sizes = []

    def read(size):
        sizes.append(size)
        return ends.ours.read(size)

    ends.records._read = read
    assert opened(ends.records, ends.sealed(b"before which nothing is known")) != b""
    for size in (1, 40, RECORD - 1, RECORD):
        sealed = ends.sealed(bytes(size))
        sizes.clear()
        assert ends.records.one(sealed) == bytes(size)
        assert sizes == [len(sealed)]
        assert not ends.records.has_more
        assert ends.ours.pending() == ends.incoming.pending == 0


def test_the_rest_of_a_record_may_look_like_one():
    """By its 4th and 5th byte. There is another behind it, which must not be left in OpenSSL."""
    ends = Ends()
    assert opened(ends.records, ends.sealed(b"x")) == b"x"
    while True:
        first = ends.sealed(bytes(RECORD))
        for cut in range(HEADER, 300):
            missing = HEADER + (first[cut + 3] << 8 | first[cut + 4]) - (len(first) - cut) - 22  # around its data
            if 0 < missing <= RECORD:
                rest = first[cut:] + ends.sealed(bytes(missing))
                assert ends.records.one(first[:cut]) == ends.records.take() == b""
                assert len(opened(ends.records, rest)) == RECORD + missing
                return
        assert len(opened(ends.records, first)) == RECORD


def test_a_record_alone_that_is_none_or_a_goodbye():
    for is_goodbye in (True, False):
        ends = Ends()
        opened(ends.records, ends.sealed(b"x"))
        data = b"\x17\x03\x03\x00\x20" + bytes(32)
        if is_goodbye:
            with pytest.raises(ssl.SSLWantReadError):
                ends.peer.unwrap()
            data = ends.to_us.read()
        assert ends.records.one(data) == ends.records.take() == b""
        if is_goodbye:
            assert ends.records.rest == b""
        else:
            assert "BAD_RECORD_MAC" in str(ends.records.rest)  # and not what OpenSSL says when it is asked again


class Given:
    """As OpenSSL that has this: an error, or data."""

    def __init__(self, incoming, *results):
        self.incoming, self.results = incoming, list(results)

    def read(self, size):
        self.incoming.read()
        result = self.results.pop(0) if self.results else ssl.SSLWantReadError()
        if isinstance(result, Exception):
            raise result
        return result


def test_what_was_compressed_is_read_on():
    incoming = ssl.MemoryBIO()
    records = Records(Given(incoming, b"x", b"y" * 25, b"z" * 9), incoming, broken)
    assert opened(records, b"\x17\x03\x03\x00\x14" + bytes(20)) == b"x"
    assert opened(records, b"\x17\x03\x03\x00\x14" + bytes(20)) == b"y" * 25 + b"z" * 9


def test_after_our_goodbye_theirs_alone_is_the_end():
    incoming = ssl.MemoryBIO()
    records = Records(Given(incoming, b"x", ssl.SSLZeroReturnError()), incoming, broken)
    assert opened(records, b"\x17\x03\x03\x00\x14" + bytes(20)) == b"x"
    assert opened(records, b"\x17\x03\x03\x00\x14" + bytes(20)) == b""
    assert records.rest == b""


def test_records_alone_without_data_are_bounded_after_data_too():
    incoming = ssl.MemoryBIO()
    records = Records(Given(incoming, b"x"), incoming, broken)
    record = b"\x17\x03\x03\x00\x16" + bytes(22)  # a key update
    assert opened(records, record) == b"x"
    fed = 0
    while records.rest is None:
        opened(records, record)
        fed += 27
    assert "no data" in str(records.rest)
    assert BARREN_MAX < fed <= BARREN_MAX + 27


def test_a_turn_has_so_many_records():
    ends = Ends()
    ends.records.feed(ends.sealed(*[b"x"] * (2 * RECORDS_A_TURN + 1)))
    turns = []
    while not turns or ends.records.has_more:
        turns.append(len(ends.records.take()))
    assert turns == [RECORDS_A_TURN, RECORDS_A_TURN, 1]


def test_what_comes_while_there_is_more_is_not_lost_nor_out_of_order():
    ends = Ends()
    pieces = [b"%d," % number for number in range(1000)]
    got = b""
    for start in range(0, 1000, 300):
        ends.records.feed(ends.sealed(*pieces[start : start + 300]))
        got += ends.records.take()
    while ends.records.has_more:
        got += ends.records.take()
    assert got == b"".join(pieces)


def test_the_goodbye_comes_after_the_data():
    ends = Ends()
    sealed = ends.sealed(b"last words")
    with pytest.raises(ssl.SSLWantReadError):
        ends.peer.unwrap()
    ends.records.feed(sealed + ends.to_us.read() + b"not looked at any more")
    assert ends.records.take() == b"last words"
    assert ends.records.rest == b""


def test_an_error_comes_after_the_data():
    ends = Ends()
    ends.records.feed(ends.sealed(b"before") + b"\x17\x03\x03\x00\x20" + bytes(32))
    assert ends.records.take() == b"before"
    assert isinstance(ends.records.rest, TLSError)


def test_a_cut_is_told_when_all_is_taken():
    ends = Ends()
    ends.records.feed(ends.sealed(*[b"x"] * (RECORDS_A_TURN + 1)))
    ends.records.cut()
    assert len(ends.records.take()) == RECORDS_A_TURN
    assert ends.records.rest is None
    assert len(ends.records.take()) == 1
    assert "cut the stream short" in str(ends.records.rest)


def test_a_cut_in_the_middle_of_a_record():
    ends = Ends()
    ends.records.feed(ends.sealed(b"half")[:-1])
    ends.records.cut()
    assert ends.records.take() == b""
    assert "cut the stream short" in str(ends.records.rest)


class Barren:
    """As OpenSSL with records that have no data: it works off all that is there, and wants more."""

    def __init__(self, incoming, data=()):
        self.incoming, self.data, self.most = incoming, list(data), 0

    def read(self, size):
        self.most = max(self.most, self.incoming.pending)
        self.incoming.read()
        if self.data:
            return self.data.pop()
        raise ssl.SSLWantReadError


def test_records_without_data_are_bounded():
    incoming = ssl.MemoryBIO()
    session = Barren(incoming)
    records = Records(session, incoming, broken)
    records.feed(bytes(10**6))
    assert records.take() == b""
    assert "no data" in str(records.rest)
    assert session.most <= RECORD  # at once


def test_little_by_little_they_are_bounded_too():
    incoming = ssl.MemoryBIO()
    records = Records(Barren(incoming), incoming, broken)
    fed = 0
    while records.rest is None:
        records.feed(bytes(27))  # a key update
        fed += 27
        assert records.take() == b""
    assert BARREN_MAX < fed <= BARREN_MAX + 27


def test_some_between_data_are_none_of_that():
    incoming = ssl.MemoryBIO()
    session = Barren(incoming)
    records = Records(session, incoming, broken)
    for _ in range(10_000):
        session.data = [b"a message"]
        records.feed(bytes(27 + 9 + OVERHEAD // 2))
        assert records.take() == b"a message"
    assert records.rest is None


@pytest.mark.parametrize(("version", "ciphers"), [(V13, None), (V12, None), (V12, "ECDHE-ECDSA-AES128-SHA")])
def test_the_smallest_messages_are_none_of_that(version, ciphers):
    ends = Ends(version, ciphers)
    for _ in range(20):
        ends.records.feed(ends.sealed(*[b"x"] * 200))
        assert len(ends.records.take()) == 200
    assert ends.records.rest is None


def test_all_of_it_for_a_call_that_waits_for_input():
    incoming = ssl.MemoryBIO()
    records = Records(Barren(incoming), incoming, broken)
    records.feed(bytes(40_000))
    assert records.load() == 40_000
    assert records.load() == 40_000

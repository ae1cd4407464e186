"""The extensions of ASGI that are there: pathsend, trailers, early hints."""

from __future__ import annotations

import logging
import os

import pytest

from tests.asgi import (
    LOOPS,
    START,
    answers,
    body,
    body_of,
    get,
    sends,
)

every_loop = pytest.mark.parametrize("loop", LOOPS)


@every_loop
@pytest.mark.parametrize("size", [0, 5, 3_000_000])
def test_pathsend(loop, size, tmp_path):
    content = os.urandom(size)
    path = tmp_path / "file"
    path.write_bytes(content)
    app = sends(START, {"type": "http.response.pathsend", "path": str(path)})
    answer = answers(loop, app, get("/", last=False) + get("/"))
    first, _, rest = answer.partition(b"\r\n\r\n" + content + b"HTTP/1.1 200 ")
    assert b"Content-Length: %d" % size in first
    assert body_of(rest) == content


def test_pathsend_and_head(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"hello")
    app = sends(START, {"type": "http.response.pathsend", "path": str(path)})
    answer = answers("trews", app, b"HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert b"Content-Length: 5\r\n" in answer
    assert body_of(answer) == b""


def test_pathsend_with_trailers_is_chunked(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"hello")
    app = sends(
        {**START, "trailers": True},
        {"type": "http.response.pathsend", "path": str(path)},
        {"type": "http.response.trailers", "headers": [(b"x", b"y")]},
    )
    assert body_of(answers("trews", app, get("/", "TE: trailers"))) == b"5\r\nhello\r\n0\r\nx: y\r\n\r\n"


@pytest.mark.parametrize("case", ["absent", "directory", "length", "body", "twice"])
def test_pathsend_of_what_cannot_be_sent(case, tmp_path, caplog):
    path = tmp_path / "file"
    if case != "absent":
        path.write_bytes(b"hello")
    message = {"type": "http.response.pathsend", "path": str(tmp_path if case == "directory" else path)}
    start = {**START, "headers": [(b"content-length", b"7")]} if case == "length" else START
    messages = {"body": [start, body(b"a", True), message], "twice": [start, message, message, body(b"x")]}
    answer = answers("trews", sends(*messages.get(case, [start, message])), get())
    if case == "twice":  # what follows the end is ignored
        assert body_of(answer) == b"hello"
        return
    assert answer.startswith(b"HTTP/1.1 500 ") is (case != "body")
    assert [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize(("te", "expected"), [("TE: trailers", b"x: y\r\nz: 1\r\n"), ("X-TE: trailers", b"")])
def test_trailers_for_those_who_want_them(te, expected):
    app = sends(
        {**START, "trailers": True},
        body(b"ab", True),
        body(b""),
        {"type": "http.response.trailers", "headers": [(b"x", b"y")], "more_trailers": True},
        {"type": "http.response.trailers", "headers": [(b"z", b"1")]},
    )
    assert body_of(answers("trews", app, get("/", te))) == b"2\r\nab\r\n0\r\n" + expected + b"\r\n"


def test_trailers_where_there_is_no_place_for_them():
    start = {**START, "trailers": True, "headers": [(b"content-length", b"2")]}
    app = sends(start, body(b"ab"), {"type": "http.response.trailers", "headers": [(b"x", b"y")]})
    assert body_of(answers("trews", app, get("/", "TE: trailers"))) == b"ab"
    assert body_of(answers("trews", app, b"GET / HTTP/1.0\r\nTE: trailers\r\n\r\n")) == b"ab"


def test_early_hints_before_the_answer():
    hint = {"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload", b"</b.js>"]}
    expected = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nLink: </b.js>\r\n\r\n"
    for messages in ([hint, START, body(b"ok")], [START, hint, body(b"ok", True), hint, body(b"")]):
        answer = answers("trews", sends(*messages), get())
        assert answer.startswith(expected + b"HTTP/1.1 200 OK\r\n")
        assert answer.count(b"103") == 1
    old = answers("trews", sends(hint, START, body(b"ok")), b"GET / HTTP/1.0\r\n\r\n")
    assert old.startswith(b"HTTP/1.1 200 OK\r\n")

"""Answers step by step, from elsewhere, and work that goes on after them."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from tests.http.serving import Noting, answers, get, serve, statuses, told
from trews import http

# -- step by step


def test_start_write_and_finish_are_chunked_without_a_length() -> None:
    def app(request: http.Request) -> None:
        request.start(201, [("X-A", "1")], "Made").write("one")
        request.write(b"two")
        request.finish("three", [("X-Sum", "3")])

    w = serve(app)
    w.feed(get())
    data = w.sent()
    assert data.startswith(b"HTTP/1.1 201 Made\r\n")
    (answer,) = answers(data)
    assert (answer.body, answer.fields["x-a"], answer.trailers) == (b"onetwothree", "1", {"x-sum": "3"})


def test_start_with_a_length_is_as_long_as_it_says() -> None:
    def app(request: http.Request) -> None:
        request.start(headers={"Content-Length": "6"}).write("one")
        request.finish("two")

    w = serve(app)
    w.feed(get() * 2)
    assert [(a.body, a.fields["content-length"]) for a in told(w)] == [(b"onetwo", "6")] * 2


def test_an_answer_may_come_from_elsewhere_later() -> None:
    requests: list[http.Request] = []

    def app(request: http.Request) -> None:
        request.defer()
        requests.append(request)

    w = serve(app)
    w.feed(get("/a") + get("/b"))
    (first,) = requests
    first.start().write("a")
    w.settle()
    assert len(requests) == 1
    first.finish()
    w.settle()
    requests[1].respond("b")
    assert [a.body for a in told(w)] == [b"a", b"b"]


def test_interim_answers_go_first_and_not_to_http_1_0() -> None:
    def app(request: http.Request) -> str:
        request.inform(103, [("Link", "</a.css>")])
        with pytest.raises(ValueError, match="101"):
            request.inform(101)
        return "final"

    w = serve(app)
    w.feed(get())
    assert [(a.status, a.fields.get("link")) for a in told(w)] == [(103, "</a.css>"), (200, None)]
    w.feed(get(version="1.0"))
    assert statuses(w) == [200]


def test_a_task_that_answers_with_a_stream_and_goes_on() -> None:
    log: list[str] = []

    def pieces() -> Any:
        yield "a"
        yield "b"

    async def at_once(request: http.Request) -> None:
        request.respond(pieces())
        await asyncio.sleep(10)
        log.append("went on")

    async def after_a_wait(request: http.Request) -> None:
        await asyncio.sleep(0)
        request.respond(pieces())
        await asyncio.sleep(10)
        log.append("went on")

    async def returns(request: http.Request) -> None:
        request.respond(pieces())
        log.append("went on")

    for app in (at_once, after_a_wait, returns):
        log.clear()
        w = serve(app)
        w.feed(get() * 2)
        assert [a.body for a in told(w)] == [b"ab"] * 2
        w.advance(10)
        assert log == ["went on"] * 2


# -- handlers that go on after their answer


def background(log: list[str], fails: bool = False) -> Any:
    async def app(request: http.Request) -> None:
        request.respond("early")
        await asyncio.sleep(10)
        if fails:
            raise ValueError("late")
        log.append(request.path)

    return app


def test_work_after_the_answer_holds_up_nobody() -> None:
    log: list[str] = []
    w = serve(background(log))
    w.feed(get("/a") + get("/b"))
    w.feed(get("/c"))
    assert [a.body for a in told(w)] == [b"early"] * 3
    assert log == []
    w.advance(10)
    assert log == ["/a", "/b", "/c"]


@pytest.mark.parametrize("leave", ["eof", "reset"])
def test_work_after_the_answer_is_not_cancelled_by_the_client(leave: str) -> None:
    log: list[str] = []
    w = serve(background(log), close_timeout=1)
    w.feed(get("/a"))
    getattr(w, leave)()
    w.advance(10)
    assert log == ["/a"]


def test_errors_of_work_after_the_answer_are_told_with_their_own_request() -> None:
    w = serve(background([], fails=True), Noting)
    w.feed(get("/a"))
    w.advance(1)
    w.feed(get("/b"))
    w.advance(9)
    assert w.connection.server.errors == [("/a", "ValueError: late")]
    assert statuses(w) == [200, 200]
    assert not w.closed


def test_a_closed_connection_ends_its_handler_quietly(caplog: pytest.LogCaptureFixture) -> None:
    async def app(request: http.Request) -> None:
        request.start()
        while True:
            request.write("again")
            await request.drain()
            await asyncio.sleep(1)

    with caplog.at_level(logging.WARNING):
        w = serve(app)
        w.feed(get()).advance(3)
        w.reset().advance(3)
    assert w.connection._is_ended
    assert caplog.text == ""

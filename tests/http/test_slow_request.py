"""Requests that take long: told of once, while they still do, with where the handler waits."""

from __future__ import annotations

import asyncio
import logging
import re

import pytest

from tests.asking import wire
from tests.clients import LOOPS
from tests.servers import until
from trews import http

GET = b"GET /slow?x=1 HTTP/1.1\r\nHost: a\r\n\r\n"
WHO = r"GET /slow from 127\.0\.0\.1 \[[0-9a-f]{16}\]"


@pytest.fixture
def told(caplog):
    caplog.set_level(logging.WARNING, "trews.http")
    return lambda: [record.getMessage() for record in caplog.records]


async def database():
    await asyncio.sleep(10)


async def slowly(request):
    await database()
    return "late"


def test_one_line_while_it_still_runs(told):
    wired = wire(slowly, slow_request=2).feed(GET).advance(1.9)
    assert told() == []
    wired.advance(0.2)
    (line,) = told()
    assert re.fullmatch(
        rf"{WHO} is not answered after 2 s; the handler waits at .*test_slow_request\.py:\d+ in database", line
    )
    wired.advance(10)
    assert b"late" in wired.sent()
    assert told() == [line]


def test_each_request_of_a_connection_has_its_own_time(told):
    async def app(request):
        await asyncio.sleep(1.5 if request.path == "/fast" else 3)
        return "x"

    fast = b"GET /fast HTTP/1.1\r\nHost: a\r\n\r\n"
    wired = wire(app, slow_request=2).feed(fast + fast + GET + fast).advance(20)
    assert wired.sent().count(b"200 OK") == 4
    assert len(told()) == 1
    wired.feed(GET).advance(20)
    assert len(told()) == 2


def test_who_asks_is_whom_the_proxy_speaks_for(told):
    ask = b"GET /slow HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.2.3.4\r\nX-Request-ID: abc\r\n\r\n"
    wire(slowly, slow_request=2, trusted_proxies="127.0.0.1").feed(ask).advance(3)
    assert told()[0].startswith("GET /slow from 1.2.3.4 [abc] is not")


def test_an_answer_that_comes_later(told):
    wire(lambda request: request.defer(), slow_request=2).feed(GET).advance(3)
    assert told()[0].endswith("not answered after 2 s; the handler has returned, and answers later")


def test_a_body_that_comes_slowly(told):
    ask = b"POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"
    wire(lambda request: "x", slow_request=2).feed(ask).advance(3)
    assert told()[0].endswith("its body has not come yet")


def test_a_plain_handler_that_blocks_is_told_of_afterwards(told):
    def app(request):
        request.connection._loop._virtual.dispatcher.tick += 3
        return "x"

    wire(app, slow_request=2).feed(GET)
    (line,) = told()
    assert re.fullmatch(rf"{WHO} took 3\.0 s, and held up all others: it blocked the loop", line)


@pytest.mark.parametrize(("late", "says"), [(0.1, ""), (1, ", in which it or another one blocked the loop")])
def test_a_handler_that_waited_before_may_not_be_who_blocked(late, says, told):
    async def app(request):
        await asyncio.sleep(0)
        request.connection._loop._virtual.dispatcher.tick += 2 + late
        return "x"

    wire(app, slow_request=2).feed(GET).settle()
    (line,) = told()
    assert re.fullmatch(rf"{WHO} took {2 + late:.1f} s{says}", line)


async def _events():
    for _ in range(5):
        yield "data: x\n\n"
        await asyncio.sleep(3)


def _steps(request):
    request.start().write("x")
    request.defer()


async def _asgi(scope, receive, send):
    await send({"type": "http.response.start", "status": 200})
    async for piece in _events():
        await send({"type": "http.response.body", "body": piece.encode(), "more_body": True})
    await send({"type": "http.response.body"})


def _wsgi(environ, start_response):
    start_response("200 OK", [])
    return (b"x" for _ in range(3))


@pytest.mark.parametrize(
    "app", [lambda request: http.Response(_events()), _steps, http.asgi(_asgi), http.wsgi(_wsgi, threads=0)]
)
def test_an_answer_that_has_begun_may_take_its_time(app, told):
    wired = wire(app, slow_request=2).feed(GET).advance(20)
    assert wired.sent().startswith(b"HTTP/1.1 200 OK")
    wired.reset().advance(5)
    assert told() == []


def test_a_stream_that_begins_late_is_told_of_once(told):
    async def app(request):
        await asyncio.sleep(3)
        return http.Response(_events())

    wire(app, slow_request=2).feed(GET).advance(20)
    (line,) = told()
    assert "is not answered after 2 s" in line


def test_what_follows_a_stream_is_watched_again(told):
    async def app(request):
        if request.path == "/slow":
            return await slowly(request)
        return http.Response(_events())

    wire(app, slow_request=2).feed(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" + GET).advance(40)
    assert len(told()) == 1


def test_what_is_fast_is_not_told_of(told):
    wire(lambda request: "x", slow_request=2).feed(GET).advance(70)
    assert told() == []


def test_a_client_that_has_gone_is_forgotten(told):
    wired = wire(slowly, slow_request=2).feed(GET).reset()
    wired.advance(5)
    assert told() == []


def test_a_client_that_goes_late_is_told_of_once(told):
    wire(slowly, slow_request=2).feed(GET).advance(3).reset().advance(10)
    assert len(told()) == 1


def test_nothing_is_watched_without_the_setting(told):
    wired = wire(slowly).feed(GET).advance(9)
    assert wired.connection._slow is None
    assert told() == []


def test_beside_an_access_log(told):
    entries = []
    wire(slowly, slow_request=2, access_log=entries.append).feed(GET).advance(11)
    assert len(told()) == 1
    assert [entry.duration for entry in entries] == [10.0]


async def _generating():
    yield 1
    await database()
    yield 2


async def iterates(request):
    async for _ in _generating():
        pass


async def waits_for_a_task(request):
    await asyncio.wait_for(database(), 100)


async def waits_for_its_client(request):
    await request.disconnected()


# Of a generator and of a task, Python's version decides whether they can be looked into.
@pytest.mark.parametrize(
    ("app", "place"),
    [
        (iterates, "in (database|iterates)"),
        (waits_for_its_client, "in waits_for_its_client"),
        (waits_for_a_task, "in (database|waits_for_a_task)"),
    ],
)
def test_where_it_waits(app, place, told):
    wire(app, slow_request=2).feed(GET).advance(3)
    assert re.search(rf"waits at .*test_slow_request\.py:\d+ {place}$", told()[0])


@pytest.mark.parametrize(
    ("value", "error"),
    [(0, ValueError), (-1, ValueError), (float("nan"), ValueError), ("1", TypeError), (True, TypeError)],
)
def test_what_is_no_time(value, error):
    with pytest.raises(error, match=r"slow_request is a number of seconds"):
        http.Server(slowly, slow_request=value)


@pytest.mark.parametrize("name", LOOPS)
def test_on_every_loop(name, told):
    async def main():
        release = asyncio.Event()

        async def app(request):
            await release.wait()
            return "x"

        async with http.Server(app, slow_request=0.01).listen("127.0.0.1:0") as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(b"GET /slow HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            await until(lambda: told())
            release.set()
            assert b"200 OK" in await reader.read()
            writer.close()

    with asyncio.Runner(loop_factory=LOOPS[name]) as runner:
        runner.run(main())
    (line,) = told()
    assert "not answered after 0.01 s; the handler waits at" in line

"""ASGI applications as programs: tasks, contexts, what goes on after the answer, what is no application."""

from __future__ import annotations

import asyncio
import contextvars
import logging

import pytest

from tests.asgi import (
    LOOPS,
    START,
    LastAsked,
    answers,
    body,
    body_of,
    get,
    of_requests,
    on,
    sends,
    serving,
)
from tests.servers import until
from trews import http

every_loop = pytest.mark.parametrize("loop", LOOPS)


@every_loop
def test_code_after_the_answer_does_not_hold_up_the_next_request_nor_end_with_the_client(loop):
    go = asyncio.Event()
    done = []

    @of_requests
    async def app(scope, receive, send):
        await send(START)
        await send(body(scope["path"].encode()))
        if scope["path"] == "/behind":
            await go.wait()
            done.append("behind")

    async def main():
        async with serving(app) as server:
            async with LastAsked(server) as client:
                for path in ("/behind", "/next"):
                    client.write(get(path, last=False))
                    assert (await client.answer())[1] == path.encode()
                client.abort()
            await until(lambda: not server.connections)
            stopped = server.stop(grace=5)
            await asyncio.sleep(0)
            assert not done
            go.set()
            await stopped
            assert done == ["behind"]

    on(loop, main())


@every_loop
@pytest.mark.parametrize("pause", [False, True])
def test_code_that_fails_after_the_answer_is_logged_and_the_answer_stands(loop, pause, caplog):
    @of_requests
    async def app(scope, receive, send):
        await send(START)
        await send(body(b"ok"))
        if pause:
            await asyncio.sleep(0)
        if scope["path"] == "/fails":
            raise ValueError("in the background")

    async def main():
        async with serving(app) as server, LastAsked(server) as client:
            for path in ("/fails", "/next"):
                client.write(get(path, last=False))
                assert (await client.answer())[1] == b"ok"

    on(loop, main())
    [record] = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert str(record.exc_info[1]) == "in the background"


def test_what_is_logged_of_a_request():
    entries = []
    answers("trews", sends(START, body(b"hello")), get("/path"), {"access_log": entries.append})
    [entry] = entries
    assert (entry.status, entry.size) == (200, 5)


@every_loop
def test_each_request_is_a_task_in_a_context_of_its_own(loop):
    variable = contextvars.ContextVar("variable", default="unset")
    found = []

    @of_requests
    async def app(scope, receive, send):
        found.append((variable.get(), asyncio.current_task()))
        variable.set(scope["path"])
        async with asyncio.timeout(5):
            await asyncio.sleep(0)
        await send(START)
        await send(body(variable.get().encode()))

    async def main():
        async with serving(app) as server, LastAsked(server) as client:
            for path in ("/1", "/2"):
                client.write(get(path, last=False))
                assert (await client.answer())[1] == path.encode()

    on(loop, main())
    assert [value for value, _ in found] == ["unset", "unset"]
    assert all(task is not None for _, task in found)
    assert found[0][1] is not found[1][1]


def test_a_stop_waits_for_the_answer_in_progress():
    begun = asyncio.Event()

    @of_requests
    async def app(scope, receive, send):
        begun.set()
        await asyncio.sleep(0.01)
        await send(START)
        await send(body(b"late"))

    async def main():
        async with serving(app) as server, LastAsked(server) as client:
            client.write(get(last=False))
            await begun.wait()
            stopped = server.stop()
            head, content = await client.answer()
            assert content == b"late"
            assert b"Connection: close" in head
            await stopped

    on("trews", main())


def test_an_application_may_be_an_object_and_one_of_a_plain_function():
    class App:
        async def __call__(self, scope, receive, send):
            await sends(START, body(b"object"))(scope, receive, send)

    def plain(scope, receive, send):
        return App()(scope, receive, send)

    assert body_of(answers("trews", App(), get())) == b"object"
    assert body_of(answers("trews", plain, get())) == b"object"


def wsgi(environ, start_response):
    return []


class TwoSteps:
    def __init__(self, scope):
        pass


@pytest.mark.parametrize(
    ("thing", "says"),
    [
        (wsgi, "http.wsgi"),
        (lambda scope: None, "ASGI 2"),
        (TwoSteps, "of a class, give an object"),
        ("app", "not 'app'"),
        (lambda: None, "three arguments"),
    ],
)
def test_what_is_no_application_is_refused(thing, says):
    with pytest.raises(TypeError, match=says):
        http.asgi(thing)


def test_a_root_path_is_a_path():
    with pytest.raises(ValueError, match="root_path"):
        http.asgi(sends(), root_path="api")

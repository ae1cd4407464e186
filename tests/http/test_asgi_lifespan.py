"""The lifespan of ASGI applications: told of start and stop, with a state, or not at all."""

from __future__ import annotations

import asyncio
import logging

import pytest

from tests.asgi import answers, ask, body_of, get, on, serving
from trews import http
from trews.http.asgi_lifespan import StartupFailed


async def answered(send, content):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": content})


class App:
    """Notes what it is told, and has a count in its state."""

    def __init__(self, startup="lifespan.startup.complete", shutdown="lifespan.shutdown.complete", message=""):
        self.notes = []
        self._answers = {"lifespan.startup": startup, "lifespan.shutdown": shutdown}
        self._message = message

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            await self.live(scope, receive, send)
            return
        self.notes.append(scope["path"])
        scope["state"]["count"].append(1)
        scope["state"]["mine"] = True
        await answered(send, repr(sorted(scope["state"])).encode() + b" %d" % len(scope["state"]["count"]))

    async def live(self, scope, receive, send):
        assert scope["asgi"] == {"version": "3.0", "spec_version": "2.0"}
        scope["state"]["count"] = []
        task = asyncio.current_task()
        while True:
            message = await receive()
            assert asyncio.current_task() is task
            self.notes.append(message["type"])
            answer = self._answers[message["type"]]
            if answer == "raise":
                raise ValueError("in the lifespan")
            if answer == "hang":
                await asyncio.Event().wait()
            await send({"type": answer, "message": self._message})
            if message["type"] == "lifespan.shutdown":
                return


@pytest.mark.parametrize("loop", ["trews", "asyncio", "uvloop"])
def test_start_before_the_first_request_and_stop_after_the_last(loop):
    app = App()

    async def main():
        async with serving(app) as server:
            assert app.notes == ["lifespan.startup"]
            assert body_of(await ask(server, get("/1"))) == b"['count', 'mine'] 1"
            # A shallow copy: what is in it is shared, what is added is not.
            assert body_of(await ask(server, get("/2"))) == b"['count', 'mine'] 2"

    on(loop, main())
    assert app.notes == ["lifespan.startup", "/1", "/2", "lifespan.shutdown"]


def test_one_handler_may_serve_again_with_a_state_that_is_new():
    app = App()
    handler = http.asgi(app)

    async def main():
        for _ in range(2):
            async with http.Server(handler).listen("tcp:127.0.0.1:0") as server:
                assert body_of(await ask(server, get("/"))) == b"['count', 'mine'] 1"

    on("trews", main())


def test_one_handler_serves_one_server_at_a_time():
    handler = http.asgi(App())

    async def main():
        async with http.Server(handler).listen("tcp:127.0.0.1:0"):
            with pytest.raises(RuntimeError, match="make one for each server"):
                await http.Server(handler).listen("tcp:127.0.0.1:0").start()

    on("trews", main())


def test_an_application_that_cannot_start_stops_the_server_with_a_sentence(caplog):
    app = App("lifespan.startup.failed", message="Traceback (…):\n  …\nValueError: no database")

    async def main():
        server = http.Server(http.asgi(app)).listen("tcp:127.0.0.1:0")
        with pytest.raises(StartupFailed) as raised:
            await server.start()
        assert str(raised.value) == "the application cannot start: ValueError: no database"

    on("trews", main())
    assert "Traceback" in caplog.text


async def unaware(scope, receive, send):
    assert scope["type"] == "http"
    await answered(send, b"ok")


async def silent(scope, receive, send):
    if scope["type"] == "http":
        await answered(send, b"ok")


async def failing(scope, receive, send):
    if scope["type"] == "http":
        await answered(send, b"ok")
    else:
        await receive()
        raise ValueError("after receive")


@pytest.mark.parametrize("app", [unaware, silent, failing])
def test_an_application_without_a_lifespan_is_served_unless_one_is_demanded(app, caplog):
    assert body_of(answers("trews", app, get())) == b"ok"
    assert not [record for record in caplog.records if record.levelno > logging.INFO]
    assert body_of(answers("trews", app, get(), lifespan=False)) == b"ok"
    with pytest.raises(StartupFailed, match="when it was asked to start"):
        answers("trews", app, get(), lifespan=True)


def test_an_application_that_is_not_to_be_told_is_not():
    app = App()

    async def main():
        async with serving(app, lifespan=False):
            pass

    on("trews", main())
    assert app.notes == []


@pytest.mark.parametrize(
    ("shutdown", "says"),
    [("lifespan.shutdown.failed", "could not stop properly: because"), ("raise", "in the lifespan")],
)
def test_an_application_that_cannot_stop_is_logged(shutdown, says, caplog):
    app = App(shutdown=shutdown, message="because")

    async def main():
        async with serving(app):
            pass

    on("trews", main())
    assert says in caplog.text


def test_an_application_that_never_stops_gets_the_grace(monkeypatch):
    monkeypatch.setattr("trews.server.AFTER_GRACE", 0.0)
    app = App(shutdown="hang")

    async def main():
        server = http.Server(http.asgi(app)).listen("tcp:127.0.0.1:0")
        await server.start()
        await server.stop(grace=0)

    on("trews", main())
    assert app.notes == ["lifespan.startup", "lifespan.shutdown"]


def test_a_start_that_is_cancelled_ends_the_lifespan():
    app = App(startup="hang")

    async def main():
        task = asyncio.create_task(http.Server(http.asgi(app)).listen("tcp:127.0.0.1:0").start())
        while not app.notes:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    on("trews", main())


def test_what_is_sent_out_of_turn_is_refused(caplog):
    async def app(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.startup.complete"})

    async def main():
        async with serving(app):
            pass

    on("trews", main())
    assert "cannot send 'lifespan.startup.complete' at this point" in caplog.text


def test_a_servers_own_start_and_stop_lie_within_the_applications():
    app = App()

    class Mine(http.Server):
        def on_start(self):
            app.notes.append("on_start")

        async def on_stop(self):
            app.notes.append("on_stop")

    async def main():
        async with Mine(http.asgi(app)).listen("tcp:127.0.0.1:0"):
            pass

    on("trews", main())
    assert app.notes == ["lifespan.startup", "on_start", "on_stop", "lifespan.shutdown"]


def test_if_the_servers_own_start_fails_the_application_is_stopped():
    app = App()

    class Mine(http.Server):
        def on_start(self):
            raise ValueError("no")

    async def main():
        with pytest.raises(ValueError, match="no"):
            await Mine(http.asgi(app)).listen("tcp:127.0.0.1:0").start()

    on("trews", main())
    assert app.notes == ["lifespan.startup", "lifespan.shutdown"]

"""The test client, when something goes wrong, and at its own end: errors are raised, nothing hangs, nothing stays."""

import asyncio
import gc
import logging
import subprocess
import sys
import weakref

import pytest

from trews import http
from trews.http.test_client import TestClient
from trews.testing import no_leaks


def echo(request):
    return request.content


# -- what goes wrong


def boom(request):
    raise ZeroDivisionError("in the handler")


async def async_boom(request):
    await asyncio.sleep(1)
    raise ZeroDivisionError("in the handler")


def boom_in_the_middle(request):
    request.start()
    request.write("half")
    raise ZeroDivisionError("in the handler")


@pytest.mark.parametrize("app", [boom, async_boom, boom_in_the_middle])
def test_what_a_handler_raises_is_raised(app, caplog):
    client = http.test_client(app)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError, match="in the handler"):
            client.get("/")
    assert caplog.records == []


@pytest.mark.parametrize("app", [boom, async_boom])
def test_or_it_is_a_500(app, caplog):
    assert http.test_client(app, raise_errors=False).get("/").status == 500
    assert "in the handler" in caplog.text


def test_a_broken_off_answer_is_an_error(caplog):
    client = http.test_client(boom_in_the_middle, raise_errors=False)
    with pytest.raises(http.HTTPError):
        client.get("/")


def test_an_on_error_of_ones_own_is_told_too():
    told = []

    class Own(http.Server):
        def on_error(self, connection, exc):
            told.append(type(exc))

    with pytest.raises(ZeroDivisionError):
        http.test_client(Own(boom)).get("/")
    assert told == [ZeroDivisionError]


def test_what_is_raised_after_the_answer_is_raised_by_the_next_call():
    async def app(request):
        request.start(200, {"Content-Length": "0"}).finish()
        await asyncio.sleep(1)
        raise ZeroDivisionError("late")

    client = http.test_client(app)
    assert client.get("/").status == 200
    with pytest.raises(ZeroDivisionError, match="late"):
        client.advance(1)


def test_an_error_that_a_handler_wants_is_an_answer():
    def app(request):
        raise http.Error(404, "not here")

    reply = http.test_client(app).get("/")
    assert (reply.status, reply.text) == (404, "not here")


def test_a_request_that_is_refused_is_an_answer():
    assert http.test_client(echo, max_target=10).get("/" * 50).status == 414


def test_an_answer_that_never_comes_is_an_error():
    def never(request):
        request.defer()

    with pytest.raises(http.HTTPError, match="no answer to GET /x: nothing came for 7 s of the app's time"):
        http.test_client(never, timeout=7).get("/x")
    client = http.test_client(never, keep_alive_timeout=None, idle_timeout=None)
    with pytest.raises(http.HTTPError, match="no answer to GET /x: "):
        client.get("/x")


def test_a_stream_that_does_not_go_on_is_an_error():
    async def app(request):
        request.start()
        request.write("half")
        await asyncio.sleep(1000)

    client = http.test_client(app)
    with pytest.raises(http.HTTPError, match="ends after 4 bytes: nothing came for 60 s"):
        client.get("/x")
    client.close()


def starts(request):
    request.defer()
    request.start()
    request.write("half")


def defers(request):
    request.defer()


async def waits(request):
    request.start()
    request.write("half")
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("app", "words"),
    [
        (
            starts,
            "ends after 4 bytes: .*; the handler has returned after start\\(\\), and finish\\(\\) was not called$",
        ),
        (defers, "; the handler has returned after defer\\(\\), and nothing has answered$"),
        (waits, "nothing came for 60 s of the app's time$"),
    ],
)
def test_what_a_handler_that_has_returned_has_forgotten_is_said(app, words):
    client = http.test_client(app)
    with client.stream("GET", "/fine") if app is not defers else client, pytest.raises(http.HTTPError, match=words):
        client.get("/")  # beside another connection


def test_an_app_that_spins_is_an_error():
    async def app(request):
        while True:
            await asyncio.sleep(0)

    client = http.test_client(app)
    with pytest.raises(http.HTTPError, match="no answer to GET /: the app does not come to rest"):
        client.get("/")
    client.close()


def test_an_app_that_closes_the_connection_is_an_error():
    def app(request):
        request.connection.abort()

    with pytest.raises(http.HTTPError, match="no answer to GET /: the app has closed the connection"):
        http.test_client(app).get("/")


def test_bytes_that_nobody_asked_for_are_an_error():
    def app(request):
        request.connection._raw_write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi!")
        request.defer()

    with pytest.raises(http.BadMessage, match=r"the answer to GET / is no HTTP: 1 bytes behind its end: b'!'"):
        http.test_client(app).get("/")


# -- its life


class Counting(http.Server):
    def __init__(self, app):
        super().__init__(app)
        self.events = []

    async def on_start(self):
        await asyncio.sleep(1)
        self.events.append("start")

    async def on_stop(self):
        await asyncio.sleep(1)
        self.events.append("stop")


def test_start_and_stop_run_around_a_with():
    server = Counting(lambda request: "hi")
    with http.test_client(server) as client:
        assert server.events == ["start"]
        assert client.get("/").text == "hi"
    assert server.events == ["start", "stop"]
    with pytest.raises(http.HTTPError, match="closed; make a new one"):
        client.get("/")


def test_start_runs_before_the_first_request_anyway():
    server = Counting(lambda request: "hi")
    client = http.test_client(server)
    assert server.events == []
    client.get("/")
    assert server.events == ["start"]
    client.close()
    client.close()
    assert server.events == ["start", "stop"]


def test_what_the_start_raises_is_raised():
    class Bad(http.Server):
        def on_start(self):
            raise ZeroDivisionError("no database")

    with pytest.raises(ZeroDivisionError, match="no database"), http.test_client(Bad(echo)):
        pass


def test_a_start_that_never_ends_is_an_error():
    class Stuck(http.Server):
        async def on_start(self):
            await asyncio.Event().wait()

    with pytest.raises(http.HTTPError, match="the start of the app takes more than 120 s"):
        http.test_client(Stuck(echo)).get("/")


def test_a_handler_that_hangs_is_ended_by_the_close():
    ended = []

    async def app(request):
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(request.path)

    with http.test_client(app) as client, pytest.raises(http.HTTPError):
        client.get("/x")
    assert ended == ["/x"]


def test_the_error_of_a_block_is_not_hidden():
    with pytest.raises(KeyError), http.test_client(Counting(boom), raise_errors=True):
        raise KeyError("mine")


def test_a_forgotten_client_leaves_nothing(caplog):
    with no_leaks(), caplog.at_level(logging.WARNING):
        http.test_client(echo).get("/")
        gc.collect()
    assert caplog.records == []


def test_a_forgotten_client_ends_its_app(caplog):
    events = []

    class Noting(http.Server):
        def on_stop(self):
            events.append("stop")

    async def app(request):
        try:
            await asyncio.Event().wait()
        finally:
            events.append("cancelled")

    client = http.test_client(Noting(app))
    with pytest.raises(http.HTTPError, match="no answer to GET /"):
        client.get("/")
    ref = weakref.ref(client)
    del client
    gc.collect()
    assert (ref(), events, caplog.records) == (None, ["cancelled", "stop"], [])


def test_what_goes_wrong_when_it_was_forgotten_is_logged(caplog):
    async def app(request):
        try:
            await asyncio.Event().wait()
        finally:
            raise ZeroDivisionError("on the way out")

    client = http.test_client(app, timeout=1)
    with pytest.raises(http.HTTPError, match="no answer"):
        client.get("/")
    del client
    gc.collect()
    assert "on the way out" in caplog.text


async def lives(scope, receive, send):
    """An ASGI application that takes any end of its lifespan but an orderly one for a failure, as Starlette does."""
    if scope["type"] == "lifespan":
        try:
            assert (await receive())["type"] == "lifespan.startup"
            await send({"type": "lifespan.startup.complete"})
            assert (await receive())["type"] == "lifespan.shutdown"
        except BaseException:
            await send({"type": "lifespan.shutdown.failed", "message": "broken off"})
            raise
        scope["state"]["ended"].append("down")
        await send({"type": "lifespan.shutdown.complete"})
        return
    if scope["path"] == "/never":
        await asyncio.Event().wait()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hi"})


@pytest.mark.parametrize("path", ["/", "/never"])
def test_a_forgotten_lifespan_ends_in_silence(path, caplog):
    ended = []

    async def app(scope, receive, send):
        scope["state"]["ended"] = ended
        await lives(scope, receive, send)

    client = http.test_client(http.asgi(app))
    if path == "/never":
        with pytest.raises(http.HTTPError, match="no answer"):
            client.get(path)
    else:
        assert client.get(path).text == "hi"
    del client
    gc.collect()
    assert (ended, caplog.records) == (["down"], [])


PIECES = """
from trews import http

def app(environ, start_response):
    start_response("200 OK", [])
    if environ["PATH_INFO"] == "/short":
        yield b"short"
        return
    try:
        while True:
            yield b"a"
    finally:
        print("closed")

client = http.test_client(http.wsgi(app))
"""


@pytest.mark.parametrize(
    ("use", "printed"),
    [
        ('reply = client.stream("GET", "/")\nprint(next(iter(reply))[:1])', ["b'a'", "closed"]),
        ('reply = client.stream("GET", "/")\nprint(client.get("/short").text)', ["short", "closed"]),
        ('with client.stream("GET", "/") as reply:\n    next(iter(reply))\nprint("end")', ["closed", "end"]),
        ('with client.stream("GET", "/") as reply:\n    del client\ndel reply\nprint("end")', ["closed", "end"]),
    ],
)
def test_a_program_ends_though_a_stream_of_wsgi_was_left(use, printed):
    ended = subprocess.run(
        [sys.executable, "-X", "dev", "-c", PIECES + use], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.stdout.split("\n")[:-1], ended.stderr, ended.returncode) == (printed, "", 0)


def test_who_leaves_a_stream_of_wsgi_has_its_application_closed():
    events = []

    class Pieces:
        def __iter__(self):
            while True:
                yield b"piece"

        def close(self):
            events.append("close")

    def app(environ, start_response):
        start_response("200 OK", [])
        return Pieces()

    client = http.test_client(http.wsgi(app))
    with client.stream("GET", "/") as reply:
        assert next(iter(reply)).startswith(b"piece")
        assert events == []
    assert events == ["close"]
    client.close()


def test_it_says_what_it_is():
    assert repr(http.test_client(echo)).startswith("<http.test_client of <Server new on nowhere")


def test_pytest_does_not_take_it_for_a_test():
    assert TestClient.__test__ is False
    assert isinstance(http.test_client, type)  # a function of this name would be collected where it is imported

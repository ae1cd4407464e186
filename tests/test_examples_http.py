"""The examples that speak HTTP, by what their docstrings promise: in memory, and as they stand, by a real client."""

from __future__ import annotations

import hashlib
import http.client
import runpy
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

import trews
from examples import http_asgi, http_callback, http_hello, http_resource, http_stream, http_wsgi
from trews import http as trews_http
from trews.testing import no_leaks, run

EXAMPLES = sorted((Path(__file__).resolve().parent.parent / "examples").glob("http_*.py"))
PATHS = [pytest.param(path, id=path.stem) for path in EXAMPLES]


# -- one test an example


def test_http_asgi():
    client = trews_http.test_client(trews_http.asgi(http_asgi.app))
    assert client.get("/you").text == "Hello, you!\n"
    assert client.get("/").text == "Hello, world!\n"


def test_http_hello():
    client = trews_http.test_client(http_hello.app)
    assert client.get("/hello").text == "Hello, you!\n"
    assert client.get("/hello", query={"name": "Änn"}).text == "Hello, Änn!\n"
    assert "<form" in client.get("/").text
    reply = client.post("/", form={"name": "<b>"})
    assert (reply.headers["Content-Type"], reply.text) == (
        "text/html; charset=utf-8",
        "<!doctype html><p>Hello, &lt;b&gt;!",
    )
    assert client.get("/time").json()["you"][0] == "127.0.0.1"
    reply = client.get("/nothing")
    assert (reply.status, reply.text) == (404, "nothing at /nothing\n")


def test_http_wsgi():
    client = trews_http.test_client(trews_http.wsgi(http_wsgi.app, threads=0))
    assert client.get("/").text == "Hello, world!\n"
    assert client.get("/", query={"name": "Änn"}).text == "Hello, Änn!\n"


def test_http_stream_counts_an_upload_of_any_size():
    client = trews_http.test_client(http_stream.app, max_body=None)
    data = bytes(1_000_000)
    for body in (data, [data[:1], data[1:]]):
        assert client.put("/upload", data=body).json() == {
            "size": 1_000_000,
            "sha256": hashlib.sha256(data).hexdigest(),
        }
    assert client.put("/upload").json()["size"] == 0


def test_http_stream_sends_events_while_they_come():
    client = trews_http.test_client(http_stream.app)
    assert "EventSource" in client.get("/").text
    with client.stream("GET", "/events") as reply:
        assert reply.headers["Content-Type"] == "text/event-stream"
        pieces = list(reply)
    assert pieces[0] == b"data: 10\n\n"
    assert (len(pieces), pieces[-1]) == (11, b"data: lift-off\n\n")


def test_http_stream_ends_with_its_client():
    client = trews_http.test_client(http_stream.app)
    with client.stream("GET", "/events") as reply:
        assert next(iter(reply)) == b"data: 10\n\n"
    client.close()


def test_http_callback_answers_those_who_wait():
    app = http_callback.News()
    client = trews_http.test_client(app)
    assert client.post("/", data="nobody").text == "told 0\n"
    with pytest.raises(trews_http.HTTPError, match="no answer to GET /"):
        client.get("/")  # nobody posts, and it goes
    assert client.post("/", data="gone").text == "told 0\n"
    assert app.waiting == []
    assert client.put("/").status == 405


def test_http_callback_tells_all_who_wait():
    async def main():
        async with trews_http.Server(http_callback.News()).listen("memory:news"):
            waiting = [await trews.connect("memory:news", framer=b"\n") for _ in range(3)]
            for conn in waiting:
                conn.write(b"GET / HTTP/1.0\r\n\r\n")
            async with trews.connect("memory:news") as conn:
                conn.write(b"POST / HTTP/1.0\r\nContent-Length: 4\r\n\r\nnews")
                assert (await conn.read_all()).endswith(b"\r\n\r\ntold 3\n")
            for conn in waiting:
                assert [line async for line in conn][-1] == b"news"

    with no_leaks():
        run(main())


def test_http_callback_answers_in_pieces():
    client = trews_http.test_client(http_callback.News())
    with client.stream("GET", "/slow") as reply:
        assert list(reply) == [b"tick\n", b"tack\n", b"toe\n"]
    with client.stream("GET", "/slow") as reply:
        assert next(iter(reply)) == b"tick\n"
    client.advance(10)  # it notices that the client has gone, and ends its timer
    client.close()


def test_http_resource():
    client = trews_http.test_client(http_resource.Items())
    assert client.get("/").json() == {}
    reply = client.post("/", json={"title": "tea"})
    assert (reply.status, reply.headers["Location"], reply.json()) == (201, "/1", {"title": "tea"})
    assert client.get("/1").json() == {"title": "tea"}
    assert client.head("/1").status == 200
    for data in ("{", "1", "{}", b"\xff"):
        assert client.post("/", data=data).status == 400
    assert client.delete("/1").status == 204
    for path in ("/1", "/²", "/x", "//1"):
        assert client.get(path).status == 404
    reply = client.put("/")
    assert (reply.status, reply.headers["Allow"]) == (405, "GET, HEAD, POST, DELETE, OPTIONS")


# -- all of them


@pytest.mark.parametrize("path", PATHS)
def test_an_example_of_http_that_is_run_serves_on_port_8080(path, monkeypatch):
    served = []
    monkeypatch.setattr(trews_http, "serve", lambda app, *endpoints, **settings: served.append(endpoints))
    monkeypatch.setattr(sys, "argv", [str(path)])
    runpy.run_path(str(path), run_name="__main__")
    assert served == [("localhost:8080",)]


# Port 8080 may be busy: the example as it stands, but for the port.
ANYWHERE = """
import runpy, sys
from trews import http
serve = http.serve
def anywhere(app, place, **settings):
    server = http.Server(app, **settings).listen("tcp:127.0.0.1:0")
    server.on_start = lambda: print(server.port, flush=True)
    serve(server)
http.serve = anywhere
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize("path", PATHS)
def test_an_example_of_http_answers_and_ends_with_ctrl_c(path):
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", ANYWHERE, str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        port = int(process.stdout.readline())
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as client:
            client.request("OPTIONS", "/upload")
            reply = client.getresponse()
            assert reply.status in (200, 204, 404, 405)
            reply.read()
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=20) == (b"", b"")
        assert process.returncode == 0
    finally:
        process.kill()
        process.communicate()

"""`trews http`, as a process."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import sys
from pathlib import Path

import pytest

import trews
from trews import http as trews_http
from trews.cli import main

APPS = """
import asyncio
from trews import http

async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        raise NotImplementedError
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": f"asgi {scope['root_path']}{scope['path']}".encode()})

class Framework:
    def __init__(self, name="framework"):
        self.name = name
    async def __call__(self, scope, receive, send):
        await asgi(scope, receive, send)

framework = Framework()

def wsgi(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"wsgi " + environ["PATH_INFO"].encode()]

def plain(request):
    return f"plain {request.path}"

async def waits(request, seconds=0):
    await asyncio.sleep(seconds)
    return f"async {request.path}"

async def slow(request):
    print("asked", flush=True)
    await asyncio.Event().wait()

def anything(*args):
    return plain(args[0])

def none():
    return None

def make():
    return asgi

def makes_nothing():
    raise ValueError("no database")

server = http.Server(plain)

async def cannot_start(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})

async def lives(scope, receive, send):
    if scope["type"] == "lifespan":
        for what in ("startup", "shutdown"):
            await receive()
            print(what, flush=True)
            await send({"type": f"lifespan.{what}.complete"})
"""


@pytest.fixture
def apps(tmp_path, monkeypatch):
    (tmp_path / "apps_to_serve.py").write_text(APPS)
    (tmp_path / "serves_itself.py").write_text("from trews import http\nhttp.serve(print, 0)\n")
    monkeypatch.chdir(tmp_path)
    for name in ("apps_to_serve", "serves_itself"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return tmp_path


def asked(endpoint, path="/x"):
    parsed = trews.Endpoint.parse(endpoint)
    connection = http.client.HTTPConnection(parsed.host, parsed.port, timeout=20)
    connection.request("GET", path)
    response = connection.getresponse()
    found = response.status, response.read().decode()
    connection.close()
    return found


def ended(process):
    out, err = process.communicate(timeout=30)
    return process.returncode, out.decode(), err.decode()


@pytest.mark.parametrize(
    ("name", "options", "answer"),
    [
        ("asgi", (), "asgi /x"),
        ("framework", (), "asgi /x"),
        ("make", ("--factory",), "asgi /x"),
        ("Framework", ("--factory",), "asgi /x"),
        ("asgi", ("--root-path", "/api"), "asgi /api/api/x"),
        ("wsgi", (), "wsgi /x"),
        ("plain", (), "plain /x"),
        ("waits", (), "async /x"),
        ("server", (), "plain /x"),
        ("anything", ("--interface", "trews"), "plain /x"),
    ],
)
def test_what_it_is_shows(start, listening, apps, name, options, answer):
    process = start("http", *options, f"apps_to_serve:{name}", "tcp:127.0.0.1:0")
    [endpoint] = listening(process)
    assert asked(endpoint) == (200, answer)
    process.send_signal(signal.SIGTERM)
    status, _, err = ended(process)
    assert (status, err) == (0, "")


def test_a_file_and_a_unix_socket(start, listening, apps):
    process = start("http", f"{apps}/apps_to_serve.py:plain", f"unix:{apps}/sock")
    assert listening(process) == [f"unix:{apps}/sock"]
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(20)
        sock.connect(f"{apps}/sock")
        sock.sendall(b"GET /x HTTP/1.0\r\n\r\n")
        assert b"".join(iter(lambda: sock.recv(4096), b"")).endswith(b"plain /x")


def test_without_an_endpoint_it_is_port_8000_of_this_machine(apps, monkeypatch, capsys):
    listened = []
    monkeypatch.setattr(trews_http.Server, "listen", lambda self, *endpoints: listened.extend(endpoints))
    monkeypatch.setattr("trews.cli.http.run_aloud", lambda *_: None)
    assert main(["http", "apps_to_serve:plain"]) == 0
    [endpoint] = listened
    assert (endpoint.kind, endpoint.host, endpoint.port) == ("tcp", "localhost", 8000)


def test_settings_and_the_access_log(start, listening, apps):
    process = start("http", "apps_to_serve:plain", "tcp:127.0.0.1:0", "--set", "max_target=20", "--access-log", "json")
    [endpoint] = listening(process)
    assert asked(endpoint, "/ok")[0] == 200
    assert asked(endpoint, "/" + "x" * 50)[0] == 414
    process.send_signal(signal.SIGINT)
    status, _, err = ended(process)
    entries = [json.loads(line) for line in err.splitlines() if line.startswith("{")]
    assert [entry["status"] for entry in entries] == [200, 414]
    assert status == 0


def test_the_grace(start, listening, apps):
    process = start("http", "apps_to_serve:slow", "tcp:127.0.0.1:0", "--grace", "0.1")
    [endpoint] = listening(process)
    parsed = trews.Endpoint.parse(endpoint)
    with socket.create_connection((parsed.host, parsed.port), timeout=20) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert process.stdout.readline() == b"asked\n"
        process.send_signal(signal.SIGTERM)
        status, out, _ = ended(process)
    assert status == 0
    assert "stopped; connections closed: 0, aborted: 1" in out


def test_a_lifespan(start, listening, apps):
    process = start("http", "apps_to_serve:lives", "tcp:127.0.0.1:0")
    assert process.stdout.readline() == b"startup\n"
    listening(process)
    process.send_signal(signal.SIGTERM)
    assert ended(process) == (0, "shutdown\n", "")


def test_an_application_that_cannot_start(trews_command, apps):
    done = trews_command("http", "apps_to_serve:cannot_start", "tcp:127.0.0.1:0")
    assert done.returncode == 1
    assert done.stdout == b""
    assert done.stderr.splitlines()[-1] == b"trews: the application cannot start: no database"
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["apps_to_serve"], "expected MODULE:NAME or FILE.py:NAME, such as app.py:app"),
        (["nowhere:app"], "there is no module 'nowhere'"),
        (["apps_to_serve:asgy"], "did you mean 'asgi'?"),
        (["apps_to_serve:Framework"], "it is a class; make an object of it"),
        (["apps_to_serve:none"], "if it makes one, use --factory"),
        (["apps_to_serve:anything"], "say what it is, by --interface trews or wsgi or asgi"),
        (["apps_to_serve:http"], "it is of type module"),
        (["apps_to_serve:none", "--factory"], "it is of type NoneType"),
        (["apps_to_serve:plain", "--factory"], "cannot be called without arguments"),
        (["apps_to_serve:makes_nothing", "--factory"], "ValueError: no database (apps_to_serve.py:"),
        (["apps_to_serve:plain", "--interface", "asgi"], "is called with three arguments"),
        (
            ["apps_to_serve:wsgi", "--interface", "asgi"],
            "takes two arguments, as a WSGI application does: use --interface wsgi",
        ),
        (["apps_to_serve:asgi", "--interface", "wsgi"], "use --interface asgi"),
        (["apps_to_serve:wsgi", "--interface", "trews"], "use --interface wsgi"),
        (["apps_to_serve:plain", "--host", "::"], "there is no --host: say where to listen behind the application"),
        (["apps_to_serve:plain", "--port=80"], "there is no --port: say where to listen"),
        (["apps_to_serve:plain", "-p", "80"], "there is no -p: say where to listen"),
        (["apps_to_serve:plain", "-b", "0.0.0.0:80"], "`trews http MODULE:NAME 0.0.0.0:80`"),
        (["apps_to_serve:plain", "--reload"], "there is no --reload: it does not start again by itself yet"),
        (["apps_to_serve:plain", "--workers", "4"], "there is no --workers: it is one process yet"),
        (["apps_to_serve:plain", "--facto"], "no such option '--facto'"),
        (["apps_to_serve:plain", "--access-log"], "(see `trews http --help`)"),
        (["apps_to_serve:plain", "tls:8187"], "trews: tls:localhost:8187: a server needs a certificate"),
        (["apps_to_serve:plain", "--interface", "rsgi"], "'rsgi' is not one of"),
        (["apps_to_serve:plain", "--root-path", "/api"], "--root-path is for ASGI"),
        (["apps_to_serve:asgi", "--root-path", "api"], "root_path is a path such as '/api'"),
        (["apps_to_serve:plain", "--set", "max_headd=1"], "max_head"),
        (["apps_to_serve:plain", "--access-log", "nonsense"], "access_log"),
        (["apps_to_serve:plain", "--grace", "long"], "--grace takes a number of seconds"),
        (["apps_to_serve:plain", "nonsense:"], "expected a port"),
        (["apps_to_serve:server", "--set", "max_head=1"], "give it the settings where it is made"),
        (["serves_itself:app"], "it serves when it is imported"),
        (["."], "'.' is a directory, and those are not served yet"),
    ],
)
def test_what_cannot_be_served_is_one_sentence_and_status_2(apps, capsys, arguments, says):
    assert main(["http", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    message = captured.err.splitlines()[0]
    assert message.startswith("trews: ")
    assert says in message


def test_a_busy_port(apps, capsys):
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
        assert main(["http", "apps_to_serve:plain", f"tcp:127.0.0.1:{port}"]) == 2
    assert str(port) in capsys.readouterr().err


def test_what_uvicorn_serves_it_serves(start, listening, tmp_path, monkeypatch):
    pytest.importorskip("fastapi")
    Path(tmp_path, "fast.py").write_text(
        "from fastapi import FastAPI\n"
        "app = FastAPI()\n\n"
        "@app.get('/')\n"
        "async def root():\n"
        "    return {'hello': 'world'}\n"
    )
    monkeypatch.chdir(tmp_path)
    process = start("http", "fast:app", "tcp:127.0.0.1:0")
    [endpoint] = listening(process)
    assert asked(endpoint, "/") == (200, '{"hello":"world"}')
    process.send_signal(signal.SIGTERM)
    status, _, err = ended(process)
    assert (status, err) == (0, "")

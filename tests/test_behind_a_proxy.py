"""HTTP behind a real nginx and a real haproxy, configured as docs/howto/behind-a-proxy.md shows it."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import absent
from trews import http as trews_http

PAGE = (Path(__file__).resolve().parent.parent / "docs/howto/behind-a-proxy.md").read_text("utf-8")


def found(name: str) -> str:
    return shutil.which(name) or shutil.which(name, path="/usr/sbin") or absent(f"{name} is not installed")


def block(language: str, *changes: tuple[str, str]) -> str:
    """The page's configuration, with what must be another here."""
    text = PAGE.split(f"```{language}\n")[1].split("```")[0]
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


@contextmanager
def nginx(directory: Path, front: socket.socket, port: int) -> Iterator[None]:
    place = f"127.0.0.1:{front.getsockname()[1]}"
    config = block("nginx", ("127.0.0.1:8080", f"127.0.0.1:{port}"), ("listen 80", f"listen {place}"))
    names = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = "".join(f"{name}_temp_path {directory}/{name};\n" for name in names)
    (directory / "nginx.conf").write_text(
        # A worker that may write there: as root it would be another user. Without a master it takes no socket over.
        f"daemon off; {'user root;' if os.geteuid() == 0 else ''} pid {directory}/pid; error_log stderr;\n"
        f"events {{}}\nhttp {{ access_log off;\n{places}{config}}}\n"
    )
    command = [found("nginx"), "-p", str(directory), "-e", "stderr", "-c", f"{directory}/nginx.conf"]
    with started(command, front, NGINX=f"{front.fileno()};"):  # as it gives its sockets to a newer one of itself
        yield


@contextmanager
def haproxy(directory: Path, front: socket.socket, port: int) -> Iterator[None]:
    config = block("haproxy", ("bind :80", f"bind fd@{front.fileno()}"), ("127.0.0.1:8080", f"127.0.0.1:{port}"))
    (directory / "haproxy.cfg").write_text(config)
    with started([found("haproxy"), "-db", "-f", f"{directory}/haproxy.cfg"], front):
        yield


@contextmanager
def started(command: list[str], front: socket.socket, **environ: str) -> Iterator[None]:
    process = subprocess.Popen(
        command,
        pass_fds=[front.fileno()],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **environ},
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait()


@contextmanager
def asked_by(proxy: Any, directory: Path, app: Any, **settings: Any) -> Iterator[http.client.HTTPConnection]:
    """A client of a proxy before a server. It waits in the kernel until the proxy runs."""
    with socket.create_server(("127.0.0.1", 0)) as front, Running(app, **settings) as port:
        with proxy(directory, front, port):
            host, number = front.getsockname()
            client = http.client.HTTPConnection(host, number, timeout=20, source_address=("127.0.0.2", 0))
            with closing(client):
                yield client


class Running:
    """An http.Server in a thread of its own."""

    def __init__(self, app: Any, **settings: Any) -> None:
        self.server = trews_http.Server(app, **settings).listen("127.0.0.1:0")
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.run)

    def run(self) -> None:
        self.loop.run_until_complete(self.server.serve())
        self.loop.close()

    def __enter__(self) -> int:
        self.thread.start()
        port: int = self.server.port
        return port

    def __exit__(self, *exc_info: object) -> None:
        self.loop.call_soon_threadsafe(self.server.stop)
        self.thread.join()


def app(request: Any) -> Any:
    return {
        "client": request.client[0],
        "scheme": request.scheme,
        "host": request.host,
        "id": request.id,
        "size": len(request.content),
        "connection": id(request.connection),
    }


@pytest.mark.parametrize("proxy", [nginx, haproxy])
def test_the_server_sees_who_asks(proxy: Any, tmp_path: Path) -> None:
    seen = []
    with asked_by(proxy, tmp_path, app, trusted_proxies="127.0.0.1") as client:
        for method, body in (("GET", None), ("POST", b"x" * 100_000), ("GET", None)):
            said = {"Host": "example.org", "X-Forwarded-For": "6.6.6.6", "X-Forwarded-Proto": "https"}
            client.request(method, "/", body, said)
            reply = client.getresponse()
            assert reply.status == 200
            seen.append(json.loads(reply.read()))
    assert {said["client"] for said in seen} == {"127.0.0.2"}
    assert {said["scheme"] for said in seen} == {"http"}
    assert {said["host"] for said in seen} == {"example.org"}
    assert [said["size"] for said in seen] == [0, 100_000, 0]
    assert len({said["id"] for said in seen}) == 3
    assert min(len(said["id"]) for said in seen) > 16  # those of the proxy
    assert len({said["connection"] for said in seen}) == 1  # which is kept alive


@pytest.mark.parametrize("proxy", [nginx, haproxy])
def test_answers_of_all_kinds_come_through(proxy: Any, tmp_path: Path) -> None:
    async def pieces() -> Any:
        for _ in range(100):
            yield b"x" * 10_000

    def kinds(request: Any) -> Any:
        return {"/empty": 204, "/error": 500, "/bytes": b"y" * 300_000, "/pieces": pieces}[request.path]

    def answered(request: Any) -> Any:
        answer = kinds(request)
        return trews_http.Response(answer()) if callable(answer) else answer

    with asked_by(proxy, tmp_path, answered) as client:
        for path, status, size in (("/empty", 204, 0), ("/error", 500, 26), ("/bytes", 200, 300_000)) * 2:
            client.request("GET", path)
            reply = client.getresponse()
            assert (reply.status, len(reply.read())) == (status, size)
        client.request("GET", "/pieces")
        assert len(client.getresponse().read()) == 1_000_000
        client.request("HEAD", "/bytes")
        reply = client.getresponse()
        assert (reply.getheader("Content-Length"), reply.read()) == ("300000", b"")

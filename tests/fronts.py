"""nginx and haproxy in front of a server under test, and a tap between them that notes every byte they send to it."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.conftest import absent
from tests.servers import until

# What every server here shares; times are seconds, short because what never comes is a part of the tests.
NGINX = """
daemon off; master_process off; worker_processes 1; pid {at}/pid; error_log {at}/error.log warn;
events {{ worker_connections 2048; }}
http {{
    access_log off; keepalive_timeout 60s; client_header_timeout {wait}s; client_body_timeout {wait}s;
    client_body_temp_path {at}/body; proxy_temp_path {at}/proxy; fastcgi_temp_path {at}/f; uwsgi_temp_path {at}/u;
    scgi_temp_path {at}/s; client_max_body_size 0; lingering_timeout {wait}s; keepalive_requests 1000000;
    log_format asked "$status|$upstream_status|$request_method|$request_uri";
    upstream behind {{ server {upstream} max_fails=0; keepalive 32; keepalive_requests 1000000; }}
    {servers}
}}
"""

HAPROXY = """
global
    log stdout len 16384 format raw local0
    maxconn 2000
defaults
    mode http
    log global
    timeout connect 5s
    timeout client {wait}s
    timeout server 30s
    timeout http-request {wait}s
    timeout http-keep-alive 60s
    log-format "%f %ST %s %HM %HU"
{proxies}
"""


def program(name: str) -> str:
    """Where it is; the test is skipped where it is not."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin") or absent(f"{name} is not installed")


def _listens(path: Path) -> bool:
    """Whether somebody takes connections; the file is there a moment before."""
    with socket.socket(socket.AF_UNIX) as sock:
        return sock.connect_ex(str(path)) == 0


@contextlib.asynccontextmanager
async def running(
    command: list[str], ready: Path, log: Path, fds: Sequence[int] = ()
) -> AsyncIterator[subprocess.Popen[bytes]]:
    """A front end, once it listens at its Unix socket."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, pass_fds=fds)
        try:
            await until(lambda: _listens(ready) or process.poll() is not None)
            assert process.poll() is None, log.read_text()
            yield process
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextlib.asynccontextmanager
async def nginx(at: Path, upstream: str, servers: dict[str, str], wait: int = 1) -> AsyncIterator[None]:
    """nginx, with a server on the Unix socket `at / name` for each of `servers`, of these directives.

    Args:
        at: an empty directory with a short path, as that of a socket must fit a sockaddr.
        upstream: `unix:PATH` or `HOST:PORT`; `proxy_pass http://behind` goes there.
        wait: seconds that it gives to a client's head and body.
    """
    command = program("nginx")
    text = "".join(
        f"server {{ listen unix:{at}/{kind}; access_log {at}/{kind}.log asked; {directives} }}\n"
        for kind, directives in servers.items()
    )
    (at / "conf").write_text(NGINX.format(at=at, wait=wait, upstream=upstream, servers=text))
    async with running([command, "-c", str(at / "conf"), "-p", str(at)], at / list(servers)[-1], at / "output"):
        yield


@contextlib.asynccontextmanager
async def haproxy(
    at: Path, upstream: str, proxies: dict[str, str], wait: int = 1, fds: Sequence[int] = ()
) -> AsyncIterator[None]:
    """haproxy, the same; each of `proxies` is directives of a `listen` section, the server's options behind `|`.

    It inherits `fds`, for `bind fd@N`.
    """
    command = program("haproxy")
    text = ""
    for kind, directives in proxies.items():
        lines, _, options = directives.partition("|")
        text += f"listen {kind}\n    bind unix@{at}/{kind}\n"
        text += "".join(f"    {line.strip()}\n" for line in lines.split(";"))
        text += f"    server {kind} {upstream} {options.strip()}\n"
    (at / "conf").write_text(HAPROXY.format(wait=wait, proxies=text))
    async with running([command, "-db", "-f", str(at / "conf")], at / list(proxies)[-1], at / "output", fds):
        yield


@dataclass
class Tap:
    """Connections that go through it, with what came on each from the front end."""

    path: Path
    streams: dict[tuple[str, int], bytearray] = field(default_factory=dict)  # by the address the server sees


@contextlib.asynccontextmanager
async def tap(port: int) -> AsyncIterator[Tap]:
    """A way to a port of this machine, at a Unix socket, on which all that passes is noted."""
    with tempfile.TemporaryDirectory(prefix="trews-") as name:
        found = Tap(Path(name) / "tap")
        tasks: set[asyncio.Task[None]] = set()

        async def through(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            number = len(found.streams) + 1
            source = f"127.1.{number // 250}.{number % 250 + 1}", 0  # ports alone come again
            inner, outer = await asyncio.open_connection("127.0.0.1", port, local_addr=source)
            noted = found.streams[outer.get_extra_info("sockname")] = bytearray()
            try:
                await asyncio.gather(_pump(reader, outer, noted), _pump(inner, writer, None))
            finally:
                outer.close()
                writer.close()
                with contextlib.suppress(OSError):
                    await outer.wait_closed()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()

        server = await asyncio.start_unix_server(through, found.path, backlog=1000)
        try:
            yield found
        finally:
            server.close()
            await asyncio.gather(*tasks)  # the front end is gone, so all of them end


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, noted: bytearray | None) -> None:
    try:
        while data := await reader.read(65536):
            if noted is not None:
                noted += data
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except (OSError, RuntimeError):
        writer.transport.abort()  # a reset goes on as one


@dataclass(frozen=True)
class Asked:
    """A request as the log of a front end has it."""

    method: str
    target: str
    status: str
    is_forwarded: bool


def nginx_log(at: Path, kind: str) -> list[Asked]:
    found = []
    for line in (at / f"{kind}.log").read_text("latin-1").split("\n")[:-1]:
        status, upstream, method, target = line.split("|", 3)
        target = re.sub(r"\\x([0-9A-F]{2})", lambda match: chr(int(match[1], 16)), target)
        # Of http://a?x nginx notes ?x, and forwards /?x.
        found.append(Asked(method, "/" + target if target[:1] == "?" else target, status, upstream != "-"))
    return found


def haproxy_log(at: Path, kind: str) -> list[Asked]:
    found = []
    for line in (at / "output").read_text("latin-1").split("\n")[:-1]:
        if line.startswith(f"{kind} "):
            _, status, server, method, target = line.split(" ", 4)
            target = re.sub("#([0-9A-F]{2})", lambda match: chr(int(match[1], 16)), target)  # how it shows bytes
            found.append(Asked(method, target, status, server == kind))
    return found

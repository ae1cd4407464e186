"""Behind a real haproxy, configured as docs/howto/behind-haproxy.md shows it."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest

import trews
from tests.clients import LOOPS
from tests.conftest import absent
from tests.servers import until
from trews import Server

PAGE = Path(__file__).resolve().parent.parent / "docs" / "howto" / "behind-haproxy.md"


@pytest.fixture(scope="session")
def haproxy() -> str:
    found = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
    return found or absent("haproxy is not installed")


def configuration(place: str, option: str, front: socket.socket) -> str:
    """The page's, for this server, and for a port that is free."""
    text = PAGE.read_text().split("```haproxy\n")[1].split("```")[0]
    for old, new in (
        ("bind :4040", f"bind fd@{front.fileno()}"),
        ("127.0.0.1:4041", place),
        ("send-proxy-v2", option),
        ("check", "check inter 50ms"),
    ):
        assert text.count(old) == 1
        text = text.replace(old, new)
    return text


@contextmanager
def running(haproxy: str, directory: Path, place: str, option: str):
    """The address on which haproxy takes clients; they wait in the kernel until it runs."""
    with socket.create_server(("127.0.0.1", 0)) as front:
        (directory / "haproxy.cfg").write_text(configuration(place, option, front))
        process = subprocess.Popen(
            [haproxy, "-db", "-f", directory / "haproxy.cfg"],
            pass_fds=[front.fileno()],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            yield front.getsockname()
        finally:
            process.kill()
            process.wait()


class Telling(trews.Connection):
    def on_connect(self):
        self.server.seen.append((self.remote_address, self.local_address))

    def on_read(self, data):
        self.write(data)


@pytest.mark.parametrize("name", LOOPS)
@pytest.mark.parametrize("option", ["send-proxy", "send-proxy-v2"])
@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_connections_have_the_clients_addresses_and_checks_pass(haproxy, kind, option, name, tmp_path, caplog):
    async def main():
        text = "tcp:127.0.0.1:0" if kind == "tcp" else f"unix:{tmp_path}/s?mode=600"
        server = Server(Telling)
        server.seen = []
        async with server.listen(trews.Endpoint.parse(text).with_options(proxy_protocol="127.0.0.0/8")):
            place = f"127.0.0.1:{server.port}" if kind == "tcp" else f"unix@{tmp_path}/s"
            with running(haproxy, tmp_path, place, option) as front:
                await until(lambda: server.seen)  # a health check
                clients = []
                for number in range(5):
                    conn = await trews.connect(front)
                    conn.write(b"%d" % number * 60_000)
                    assert await conn.read(framer=60_000) == b"%d" % number * 60_000
                    clients.append(conn)
                for conn in clients:
                    assert (conn.local_address, front) in server.seen
                    conn.close()
                    await conn.wait_closed()
                others = {ends[0] for ends in server.seen} - {conn.local_address for conn in clients}
                assert others  # checks are haproxy's own connections
                checks = len(server.seen)
                await until(lambda: len(server.seen) > checks)
            assert server.stats.refused == 0
        assert not [record for record in caplog.records if record.levelname != "INFO"]

    with asyncio.Runner(loop_factory=LOOPS[name]) as runner:
        runner.run(main())


def test_a_server_that_does_not_believe_it_is_down(haproxy, tmp_path, caplog):
    """Its checks are refused, and so is everybody else, with one line in the log."""

    async def main():
        server = Server(Telling)
        server.seen = []
        async with server.listen("tcp:127.0.0.1:0?proxy_protocol=192.0.2.0/24"):
            with running(haproxy, tmp_path, f"127.0.0.1:{server.port}", "send-proxy-v2") as front:
                await until(lambda: server.stats.refused > 5)
                async with trews.connect(front) as conn:
                    with pytest.raises(trews.ConnectionClosed):
                        await conn.read()
            assert not server.seen

    trews.run(main())
    (record,) = [record for record in caplog.records if record.levelname != "INFO"]
    assert "is not among those" in record.getMessage()

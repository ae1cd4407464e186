"""Datagrams with programs that are not ours: socat and nc, as peers on the loopback."""

from __future__ import annotations

import asyncio
import shutil
import subprocess

import pytest

import trews
from tests.conftest import absent
from tests.datagrams import LO4, Echo, Peer, on_every_loop
from trews import Server


@pytest.fixture(scope="module")
def socat():
    return shutil.which("socat") or absent("no socat here")


async def run(*command, data=b""):
    process = await asyncio.create_subprocess_exec(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    out, _ = await process.communicate(data)
    return out


@on_every_loop
async def test_socat_as_a_client(socat, tmp_path):
    async with Server(Echo).listen("udp:0", f"unix:{tmp_path}/sock") as server:
        port = server.port
        for address in (f"UDP:127.0.0.1:{port}", f"UDP6:[::1]:{port}"):
            assert await run(socat, "-T0.5", "-", address, data=b"from socat") == b"from socat"
        unix = f"UNIX-SENDTO:{tmp_path}/sock,bind={tmp_path}/own"
        assert await run(socat, "-T0.5", "-", unix, data=b"from socat") == b"from socat"


@on_every_loop
async def test_socat_as_a_server(socat):
    with Peer() as free:
        port = free.address[1]
    process = await asyncio.create_subprocess_exec(socat, "-T9", f"UDP-LISTEN:{port},bind=127.0.0.1", "EXEC:cat")
    try:
        async with trews.connect(f"udp:127.0.0.1:{port}") as client:
            while True:  # until it is there
                client.write(b"to socat")
                try:
                    data, address = await client.read(timeout=0.5)
                except (ConnectionRefusedError, trews.TimedOut):
                    await asyncio.sleep(0.01)
                else:
                    break
            assert (data.replace(b"to socat", b""), address) == (b"", ("127.0.0.1", port))
    finally:
        process.kill()
        await process.wait()


@on_every_loop
async def test_socat_sends_to_a_group(socat):
    class Answering(trews.Datagram):
        def on_read(self, data, address):
            self.write(data.upper(), address)

    async with Server(Answering).listen("udp:239.255.40.11:0?interface=127.0.0.1") as server:
        to = f"UDP4-DATAGRAM:239.255.40.11:{server.port},ip-multicast-if=127.0.0.1"
        assert await run(socat, "-T0.5", "-", to, data=b"group") == b"GROUP"


@on_every_loop
async def test_socat_broadcasts(socat):
    async with Server(Echo).listen("udp:0") as server:
        to = f"UDP4-DATAGRAM:127.255.255.255:{server.port},broadcast"
        assert await run(socat, "-T0.5", "-", to, data=b"to all") == b"to all"


@on_every_loop
async def test_nc_as_a_client():
    nc = shutil.which("nc.openbsd") or absent("no nc.openbsd here")
    async with Server(Echo).listen(LO4) as server:
        command = (nc, "-u", "-w1", "127.0.0.1", str(server.port))
        assert await run(*command, data=b"from nc") == b"from nc"

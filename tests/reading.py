"""What tests of `read()` share: a connection and the socket of its peer, on a loop; a task that waits."""

from __future__ import annotations

import asyncio
import socket

import trews
from tests.clients import LOOPS


def run_on(loop, main, cls=trews.Connection, **settings):
    """Run `main(conn, far)`, a connection and the socket of its peer, on the loop of that name."""
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(_connected(main, cls, settings))


async def _connected(main, cls, settings):
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as server:
        far = socket.create_connection(server.getsockname())
        near, _ = server.accept()
    near.setblocking(False)
    far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    conn = cls()
    for name, value in settings.items():
        setattr(conn, name, value)
    await loop.create_connection(lambda: conn, sock=near)
    try:
        async with asyncio.timeout(20):
            await main(conn, far)
    finally:
        far.close()
        conn.abort()
        await conn.wait_closed()


async def waiting(coroutine):
    """A task that runs it, and waits."""
    task = asyncio.create_task(coroutine)
    for _ in range(3):
        await asyncio.sleep(0)
    assert not task.done()
    return task

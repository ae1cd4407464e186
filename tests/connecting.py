"""For tests that connect: something that listens, and what `open_stream` makes of an endpoint."""

from __future__ import annotations

import asyncio
import socket
from contextlib import contextmanager

from trews import Endpoint
from trews import run as run_really
from trews.testing import no_leaks
from trews.transport.connector import open_stream


def opened(text: str, run=run_really):
    """The socket that `open_stream` gives for an endpoint; leaks are failures."""

    async def main():
        sock, address = await open_stream(Endpoint.parse(text), asyncio.get_running_loop())
        with sock:
            return sock.getsockname(), address, sock.getblocking(), dict(options(sock))

    with no_leaks():
        return run(main())


def options(sock: socket.socket):
    if sock.family == socket.AF_INET:
        for name in ("TCP_NODELAY", "TCP_KEEPIDLE", "TCP_USER_TIMEOUT"):
            if hasattr(socket, name):
                yield name, sock.getsockopt(socket.IPPROTO_TCP, getattr(socket, name))


@contextmanager
def listening(family=socket.AF_INET, address=("127.0.0.1", 0)):
    with socket.socket(family) as sock:
        sock.bind(address)
        sock.listen()
        yield sock.getsockname()

"""What tests of datagrams share: the loops, a peer that is a plain socket, and classes that note what they get."""

from __future__ import annotations

import asyncio
import functools
import socket

import pytest

import trews
from tests.clients import LOOPS

LO4 = "udp:127.0.0.1:0"


def on_every_loop(main):
    """The test is a coroutine function, and runs on the loop of each kind."""

    @pytest.mark.parametrize("loop", LOOPS)
    @functools.wraps(main)
    def test(loop, *args, **kwargs):
        with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
            runner.run(main(*args, **kwargs))

    test.__signature__ = _with_loop(main)
    return test


def _with_loop(main):
    import inspect

    signature = inspect.signature(main)
    parameter = inspect.Parameter("loop", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return signature.replace(parameters=[parameter, *signature.parameters.values()])


class Echo(trews.Datagram):
    def on_read(self, data, address):
        self.write(data, address)


class Noting(trews.Datagram):
    """Keeps on its server, or itself, what happens to it."""

    def __init__(self):
        self.notes = []

    def on_open(self):
        self.notes.append("open")

    def on_read(self, data, address):
        self.notes.append(data)

    def on_error(self, exc):
        self.notes.append(exc)

    def on_close(self, reason):
        self.notes.append(type(reason).__name__)


class Peer:
    """A plain socket at the other end; it blocks, for at most 5 seconds."""

    def __init__(self, family=socket.AF_INET, host="127.0.0.1"):
        self.sock = socket.socket(family, socket.SOCK_DGRAM)
        self.sock.settimeout(5)
        self.sock.bind((host, 0))
        self.address = self.sock.getsockname()[:2]
        self.endpoint = f"udp:[{host}]:{self.address[1]}" if ":" in host else f"udp:{host}:{self.address[1]}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def send(self, data, target):
        """To a server's first endpoint, or a Datagram."""
        address = target.local_address if isinstance(target, trews.Datagram) else ("127.0.0.1", target.port)
        self.sock.sendto(data, address)

    def read(self):
        return self.sock.recvfrom(70_000)

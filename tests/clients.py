"""What tests of clients share: one that notes what it is told, and a server that notes what it is sent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import uvloop

import trews
from tests.servers import NAME, Echo
from trews import Client, Server
from trews.framing import Line

LINES = Line(encoding="utf-8")
LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "trews": trews.EventLoop,
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


class Log(Client):
    """Notes what it is told."""

    def __init__(self, *args, **settings):
        super().__init__(*args, **settings)
        self.notes = []

    def on_up(self, connection):
        self.notes.append("up")

    def on_down(self, reason):
        self.notes.append(f"down {type(reason).__name__}")


class Lines(trews.Connection):
    """Keeps on its server what lines came."""

    framer = Line(encoding="utf-8")

    def on_read(self, line):
        self.server.got.append(line)


class Board(Server):
    def __init__(self, handler=Lines):
        super().__init__(handler)
        self.got = []


def serve(handler=Echo):
    server = handler if isinstance(handler, Server) else Server(handler)
    return server.listen(NAME)


async def silence(seconds=300):
    """Long enough for every wait that there is."""
    await asyncio.sleep(seconds)


def now():
    return asyncio.get_running_loop().time()

"""What tests of servers share: a few connections, and decorators that run a coroutine as a test."""

from __future__ import annotations

import asyncio
import functools

import trews
from trews import Server, testing

NAME = "memory:here"


class Echo(trews.Connection):
    def on_read(self, data):
        self.write(data)


class Noting(trews.Connection):
    """Notes on its server what happens to it."""

    def on_connect(self):
        self.server.notes.append("connect")

    def on_close(self, reason):
        self.server.notes.append(f"close {type(reason).__name__}")


class Notes(Server):
    def __init__(self, *args, **settings):
        super().__init__(*args, **settings)
        self.notes = []

    def on_stop(self):
        self.notes.append("stop")

    def on_error(self, connection, exc):
        self.notes.append(f"error {exc!r}")


async def turns(count: int = 10) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def until(condition) -> None:
    """Let the others run until it holds; pytest's timeout is the bound."""
    while not condition():
        await asyncio.sleep(0.001)


def virtually(main):
    """The test is a coroutine function that runs on the virtual clock."""

    @functools.wraps(main)
    def test(*args, **kwargs):
        testing.run(main(*args, **kwargs))

    return test


def really(main):
    """The same on trews' own loop and the real clock, for real sockets."""

    @functools.wraps(main)
    def test(*args, **kwargs):
        trews.run(main(*args, **kwargs))

    return test

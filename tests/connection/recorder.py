"""What the tests of connections share: one that notes its events, callbacks that fail, a peer that is slow."""

from __future__ import annotations

import asyncio
from typing import Any

import trews
from trews.testing import VirtualLoop
from trews.transport.attach import attach
from trews.transport.memory import memory_pair


class Recorder(trews.Connection):
    """Notes what it is told, as `(name, *arguments)`."""

    events: list[tuple[Any, ...]]

    def __new__(cls, *args: Any, **kwargs: Any) -> Recorder:
        self = super().__new__(cls)
        self.events = []
        return self

    def on_connect(self) -> Any:
        self.events.append(("connect",))

    def on_read(self, message: Any) -> Any:
        self.events.append(("read", message))

    def on_eof(self) -> Any:
        self.events.append(("eof",))

    def on_close(self, reason: trews.ConnectionClosed) -> Any:
        self.events.append(("close", reason))

    def on_full(self) -> None:
        self.events.append(("full",))

    def on_drain(self) -> None:
        self.events.append(("drain",))

    def on_error(self, exc: BaseException) -> Any:
        self.events.append(("error", exc))

    @property
    def names(self) -> list[str]:
        """The names of the events so far."""
        return [event[0] for event in self.events]

    @property
    def messages(self) -> list[Any]:
        """What `on_read` was given."""
        return [event[1] for event in self.events if event[0] == "read"]

    @property
    def errors(self) -> list[BaseException]:
        """What `on_error` was told."""
        return [event[1] for event in self.events if event[0] == "error"]

    @property
    def closes(self) -> list[trews.ConnectionClosed]:
        """What `on_close` was told; never more than one."""
        return [event[1] for event in self.events if event[0] == "close"]


async def oops(*_: Any) -> None:
    raise ValueError("oops")


async def later_oops(*_: Any) -> None:
    await asyncio.sleep(1)
    raise ValueError("oops")


def plain_oops(*_: Any) -> None:
    raise ValueError("oops")


class SlowPeer:
    """A connection whose peer takes only what it is told to take: `take(5)`."""

    def __init__(self, cls: type[trews.Connection], capacity: int = 1000) -> None:
        self.loop = VirtualLoop()
        near, self.far = memory_pair(self.loop, "slow", capacity)
        self.connection: Any = cls()
        self.loop.call_soon(attach, self.loop, near, self.connection, None, _unreachable)
        self.loop.settle()

    def take(self, size: int) -> bytes:
        data = self.far.recv(size)
        self.loop.settle()
        return data

    def advance(self, seconds: float) -> None:
        self.loop.advance(seconds)

    def __enter__(self) -> SlowPeer:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.far.cut()
        self.loop.advance(3600)
        self.loop.close()


def start(w: Any, coroutine: Any) -> Any:
    """Run a coroutine on the loop of a wire as far as it gets; the task."""
    task = w.loop.create_task(coroutine)
    w.loop.settle()
    return task


def _unreachable(exc: BaseException) -> None:
    raise exc

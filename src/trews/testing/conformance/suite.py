"""What the checks are made of: the table of them, a connection that notes what happens, waits that end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakSet

from trews.connection import Connection
from trews.errors import ClosedByPeer, ConnectionReset

if TYPE_CHECKING:
    from trews.errors import ConnectionClosed

OpenPair = Callable[..., AbstractAsyncContextManager[Any]]
Check = Callable[[OpenPair], Coroutine[Any, Any, None]]

KIB = 1024
MIB = 1024 * KIB
WITHIN = 20.0  # seconds after which a wait has failed; what is waited for comes in milliseconds
PATIENCE = 0.01  # seconds between two looks at what nobody notes

CHECKS: dict[str, Check] = {}
SLOW: set[str] = set()

C = TypeVar("C", bound=Check)
T = TypeVar("T")
E = TypeVar("E", bound=BaseException)
_waits: WeakSet[asyncio.Event] = WeakSet()


def check(function: C) -> C:
    """Put a check into the table, under its name."""
    CHECKS[function.__name__] = function
    return function


def slow(function: C) -> C:
    """A check that moves much data or waits for a deadline."""
    SLOW.add(function.__name__)
    return function


class Boom(Exception):
    """What the code of a check raises."""


class Recorder(Connection):
    """Notes what happens to it, as `(name, value)` in `events`."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Any]] = []

    def note(self, name: str, value: Any = None) -> None:
        self.events.append((name, value))
        for wait in list(_waits):
            wait.set()

    def of(self, name: str) -> list[Any]:
        """The values of the events of one name."""
        return [value for noted, value in self.events if noted == name]

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.events]

    @property
    def data(self) -> bytes:
        return b"".join(self.of("read"))

    def on_connect(self) -> Any:
        self.note("connect")

    def on_read(self, message: Any) -> Any:
        self.note("read", message)

    def on_eof(self) -> Any:
        self.note("eof")

    def on_close(self, reason: ConnectionClosed) -> Any:
        self.note("close", reason)

    def on_full(self) -> None:
        self.note("full")

    def on_drain(self) -> None:
        self.note("drain")

    def on_error(self, exc: BaseException) -> Any:
        self.note("error", exc)


class Echo(Recorder):
    """Answers what it reads."""

    def on_read(self, message: Any) -> Any:
        super().on_read(message)
        self.write(message)


async def until(condition: Callable[[], Any]) -> None:
    """Wait until something is so. Looked at after each event of a `Recorder`, and now and then."""
    loop = asyncio.get_running_loop()
    wait = asyncio.Event()
    end = loop.time() + WITHIN
    _waits.add(wait)
    while not condition():
        assert loop.time() < end, "waited in vain"
        timer = loop.call_later(PATIENCE, wait.set)
        await wait.wait()
        timer.cancel()
        wait.clear()


async def closed(*connections: Recorder) -> None:
    """Wait until `on_close` of all of them was called."""
    await until(lambda: all(conn.of("close") for conn in connections))


async def noted(conn: Recorder, name: str, count: int) -> None:
    """Wait until so many events of a name have come."""
    await until(lambda: len(conn.of(name)) >= count)


def same(got: bytes, expected: bytes) -> None:
    """Large data must be equal. (A plain assert would have pytest search for the differences for minutes.)"""
    is_same = got == expected
    assert is_same, f"{len(got)} bytes came, not the {len(expected)} that were expected"


async def soon(awaitable: Awaitable[T]) -> T:
    """Await what must come."""
    return await asyncio.wait_for(awaitable, WITHIN)


async def raised(kind: type[E], awaitable: Awaitable[Any]) -> E:
    """The exception that awaiting this must raise."""
    try:
        await soon(awaitable)
    except kind as exc:
        return exc
    raise AssertionError(f"no {kind.__name__} was raised")


def raised_by(kind: type[E], call: Callable[..., Any], *args: Any) -> E:
    """The exception that a call must raise."""
    try:
        call(*args)
    except kind as exc:
        return exc
    raise AssertionError(f"no {kind.__name__} was raised")


async def turns(count: int = 10) -> None:
    """Let the loop run: time for what must not happen."""
    for _ in range(count):
        await asyncio.sleep(0)


async def fill(conn: Any) -> int:
    """Write until the peer, which does not read, takes no more; returns how many bytes that took."""
    total = 0
    while True:
        assert total < 64 * MIB, "the peer takes everything, or on_full never comes"
        conn.write(bytes(64 * KIB))
        total += 64 * KIB
        await asyncio.sleep(0)
        if len(conn.of("full")) > len(conn.of("drain")):
            await turns(20)
            if len(conn.of("full")) > len(conn.of("drain")):
                return total


async def answers(conn: Any) -> bool:
    """Whether the `Echo` at the other end of `conn` (a plain connection) still answers."""
    conn.write(b"ping")
    return bool(await soon(conn.read(framer=4)) == b"ping")


def ended_by_reset(reason: ConnectionClosed | None, open_pair: OpenPair) -> bool:
    """Whether this is what the peer's `abort()` looks like; some transports know no reset and show an end."""
    if getattr(open_pair, "tells_resets", True):
        return isinstance(reason, ConnectionReset)
    return isinstance(reason, (ConnectionReset, ClosedByPeer))


async def run_check(name: str, open_pair: OpenPair) -> None:
    """Run one check; what reaches the loop's exception handler meanwhile fails it, too.

    Raises:
        AssertionError: the transport does not do what the check says.
    """
    loop = asyncio.get_running_loop()
    handler = loop.get_exception_handler()
    reports: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda loop, context: reports.append(context))
    try:
        await CHECKS[name](open_pair)
        await turns(2)
    finally:
        loop.set_exception_handler(handler)
    assert not reports, f"the loop's exception handler was called: {reports}"


async def check_all(open_pair: OpenPair, *, slow: bool = True) -> None:
    """Run every check, one after the other.

    Args:
        open_pair: `open_pair(client, server, **settings)` is an async context manager; see the package.
        slow: also the checks that take a second or more.

    Raises:
        ExceptionGroup: the checks that failed, each with its name.
    """
    failed = []
    for name in CHECKS:
        if slow or name not in SLOW:
            try:
                await run_check(name, open_pair)
            except Exception as exc:
                exc.add_note(f"conformance check: {name}")
                failed.append(exc)
    if failed:
        raise ExceptionGroup(f"{len(failed)} of {len(CHECKS)} checks failed", failed)

"""A connection that runs the scripts of a `Program` and notes all that happens to it; and what must hold then.

(Past 400 lines: what is noted and what must hold of it are read side by side.)
"""

from __future__ import annotations

import asyncio
import io
import logging
from typing import TYPE_CHECKING, Any

from tests.hostile.program import FRAMERS
from trews import (
    BusyError,
    ClosedByPeer,
    ClosedLocally,
    Connection,
    ConnectionClosed,
    ConnectionReset,
    TimedOut,
    WriteStalled,
)
from trews.handler import connection_class
from trews.inbox import NEED, Inbox
from trews.phase import Consumer

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from tests.hostile.program import Action, Program, Script


class Planned(Exception):
    """What scripts raise."""


class Log(logging.Handler):
    """Collects what is logged as a warning or worse."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def __enter__(self) -> Log:
        for name in ("trews", "asyncio"):
            logger = logging.getLogger(name)
            logger.addHandler(self)
            logger.propagate = False
        return self

    def __exit__(self, *_: object) -> None:
        for name in ("trews", "asyncio"):
            logger = logging.getLogger(name)
            logger.removeHandler(self)
            logger.propagate = True


class Observer:
    """What happened to one connection."""

    def __init__(self, program: Program, second: float = 1.0) -> None:
        self.program = program
        self.second = second  # of the program, in seconds of the loop
        self.problems: list[str] = []
        self.delivered: list[Any] = []
        self.written = bytearray()  # by writes that were not refused
        self.running: str | None = None  # the async callback that is not over
        self.calls: dict[str, int] = {}  # of each callback
        self.raised = 0  # exceptions of ours that must be logged
        self.may_log = False  # a stubborn task was started
        self.closed_by_us = self.was_stopped = False
        self.is_oracle = not program.garbage  # messages are as sent; not once the framing was changed
        self.tasks: list[asyncio.Task[Any]] = []
        self.connection: Any = None

    def wrong(self, text: str) -> None:
        self.problems.append(text)

    def enter(self, name: str) -> Script:
        """A callback is called: what it has to do."""
        calls = self.calls
        if name == "on_connect" and calls:
            self.wrong("on_connect is not the first")
        if name != "on_connect" and not calls:
            self.wrong(f"{name} before on_connect")
        if "on_close" in calls and name != "on_error":
            self.wrong(f"{name} after on_close")
        if self.running and name in ("on_connect", "on_read", "on_eof", "on_close"):
            self.wrong(f"{name} while {self.running} runs")
        if name == "on_read" and "on_eof" in calls:
            self.wrong("on_read after on_eof")
        number = calls.get(name, 0)
        calls[name] = number + 1
        scripts = self.program.scripts.get(name, ())
        return scripts[number] if number < len(scripts) else ()

    # -- what user code does, from callbacks and from outside

    def act(self, action: Action) -> Awaitable[Any] | None:
        """Do it; returns what there is to await."""
        connection: Connection = self.connection
        verb, *args = action
        if verb == "raise":
            self.raised += 1
            raise Planned
        if verb == "write":
            self.write(bytes(args[0]))
        elif verb == "file":
            return self.file(bytes(args[0]))
        elif verb == "peek":
            return self.peek(*args)
        elif verb == "send":
            return self.send(bytes(args[0]))
        elif verb == "pause":
            connection.pause_reading()
        elif verb == "resume":
            connection.resume_reading()
        elif verb == "close":
            self.closed_by_us = True
            connection.close()
        elif verb == "close_write":
            if connection.is_open:
                self.closed_by_us = True
            connection.close_write()
        elif verb == "abort":
            connection.abort()
        elif verb == "stop":
            self.was_stopped = True
            connection._begin_stop()
        elif verb == "framer":
            self.is_oracle = False
            connection.framer = FRAMERS[args[0]]
        elif verb == "spawn":
            self.spawn(args[0])
        elif verb == "read":
            return self.read(*args)
        elif verb == "drain":
            return self.drain()
        elif verb == "wait_closed":
            return connection.wait_closed()
        elif verb == "sleep":
            return asyncio.sleep(args[0] * self.second)
        elif verb == "hang":
            return asyncio.get_running_loop().create_future()
        elif verb == "stubborn":
            return self.stubborn(args[0])
        elif verb == "cancel":
            for task in self.tasks:
                task.cancel()
        return None

    def write(self, data: bytes) -> None:
        connection = self.connection
        was_open = not connection.is_closed
        try:
            connection.write(data)
        except ClosedLocally:
            if not self.closed_by_us:
                self.wrong("write raised though nobody closed")
            return
        if was_open and not connection.is_closed:
            self.written += data

    def file(self, data: bytes) -> Awaitable[None]:
        connection = self.connection
        was_open = not connection.is_closed
        sending = None
        try:
            sending = connection.write_file(io.BytesIO(data))
        except ClosedLocally:
            if not self.closed_by_us:
                self.wrong("write_file raised though nobody closed")
        if sending is not None and was_open and not connection.is_closed:
            self.written += data
        return self.sent(sending)

    async def sent(self, sending: Awaitable[None] | None) -> None:
        try:
            if sending is not None:
                await sending
        except ConnectionClosed as exc:
            self.check_reason(exc)

    async def peek(self, count: int, timeout: float | None) -> None:
        try:
            data = await self.connection.peek(count, timeout=timeout and timeout * self.second)
        except (BusyError, TimedOut):
            return
        except ConnectionClosed as exc:
            self.check_reason(exc)
            return
        if not 0 < len(data) <= count:
            self.wrong(f"peek({count}) gave {data!r}")

    async def send(self, data: bytes) -> None:
        self.write(data)
        await self.drain()

    async def drain(self) -> None:
        try:
            await self.connection.drain()
        except ConnectionClosed as exc:
            self.check_reason(exc)

    async def read(self, timeout: float | None = None, framer: str | None = None) -> None:
        timeout = timeout and timeout * self.second
        try:
            if framer is None:
                message = await self.connection.read(timeout=timeout)
            else:
                self.is_oracle = False
                message = await self.connection.read(framer=FRAMERS[framer], timeout=timeout)
        except (BusyError, TimedOut):
            return
        except ConnectionClosed as exc:
            self.check_reason(exc)
            return
        self.delivered.append(message)

    def check_reason(self, exc: ConnectionClosed) -> None:
        if exc.connection is not self.connection:
            self.wrong(f"{exc!r} has no connection")
        if exc is self.connection.reason:
            self.wrong(f"{exc!r} is not a fresh exception")

    def spawn(self, what: str) -> None:
        async def run() -> None:
            if what == "sleep":
                await asyncio.sleep(3 * self.second)
            elif what == "raise":
                await asyncio.sleep(0.2 * self.second)
                self.raised += 1
                raise Planned
            elif what == "read":
                await self.read()
            else:
                await self.drain()

        try:
            self.connection.spawn(run())
        except ConnectionClosed as exc:
            self.check_reason(exc)

    async def stubborn(self, seconds: float) -> None:
        self.may_log = True
        try:
            await asyncio.sleep(seconds * self.second)
        except asyncio.CancelledError:
            await asyncio.sleep(seconds * self.second)

    def run_plain(self, script: Script) -> None:
        for action in script:
            self.act(action)

    async def run_async(self, name: str, script: Script) -> None:
        """The rest of an async callback; nothing may come between."""
        if name in ("on_connect", "on_read", "on_eof", "on_close"):
            self.running = name
        try:
            for action in script:
                waits = self.act(action)
                if waits is not None:
                    await waits
        finally:
            if self.running == name:
                self.running = None

    # -- what must hold in the end

    def check(self, received: bytes, was_fed: bytes, is_reset: bool) -> None:
        """After everything has ended."""
        if self.calls.get("on_connect") != 1 or self.calls.get("on_close") != 1:
            self.wrong(f"not one on_connect and one on_close: {self.calls}")
        if not bytes(self.written).startswith(received):
            self.wrong(f"the peer received {len(received)} bytes which are not the first of those written")
        reason = self.connection.reason
        if reason is None:
            self.wrong("there is no reason")
        elif reason.is_clean and not is_reset and len(received) != len(self.written):
            self.wrong(f"the end was clean ({reason!r}), {len(received)} of {len(self.written)} bytes were received")
        elif reason.is_clean and not is_reset and self.connection.bytes_out != len(received):
            self.wrong(f"bytes_out is {self.connection.bytes_out}, {len(received)} were received")
        verbs = {step[0] for step in self.program.steps}
        settings = self.program.settings
        is_patient = "write_timeout" not in settings and settings.get("close_timeout", 30) > 1  # the peer takes naps
        if isinstance(reason, WriteStalled) and is_patient and not verbs & {"clog", "advance"}:
            self.wrong(f"the peer always read, and yet: {reason!r}")
        if self.is_oracle and self.program.kind != "deaf":
            self.check_delivered(was_fed, is_whole=isinstance(reason, ClosedByPeer))
            if isinstance(reason, ConnectionReset) and self.takes_rest():
                self.check_rest(was_fed[: self.connection.bytes_in])
        for left in ("_drainers", "_down_waiters", "_end_waiters"):
            if getattr(self.connection, left):
                self.wrong(f"{left} has futures left")

    def check_delivered(self, fed: bytes, is_whole: bool) -> None:
        if self.program.framer == "raw":
            got = b"".join(self.delivered)
            if not fed.startswith(got):
                self.wrong("what was delivered is not how the stream begins")
            if is_whole and self.takes_all() and got != fed:
                self.wrong(f"{len(got)} of {len(fed)} bytes were delivered before the clean end")
            return
        sent = list(self.program.messages)
        got_all = self.delivered[:-1] if self.program.framer == "line" else self.delivered  # the last may be cut short
        if got_all != sent[: len(got_all)]:
            self.wrong(f"delivered {self.delivered!r}, sent {sent!r}")
        if is_whole and self.takes_all() and fed == self.program.stream() and self.delivered != sent:
            self.wrong(f"a clean end, delivered {self.delivered!r}, sent {sent!r}")

    def check_rest(self, arrived: bytes) -> None:
        """What arrived before the network ended it is delivered."""
        inbox = Inbox()
        inbox.feed(arrived)
        expected = []
        framer = FRAMERS[self.program.framer]
        limit = self.program.settings.get("max_message", 65536)
        try:
            while (message := inbox.take(framer, limit)) is not NEED:
                expected.append(message)
        except ConnectionClosed:
            pass  # the rest is refused
        got = self.delivered
        if framer is None:
            got, expected = [b"".join(got)], [arrived]
        elif "on_eof" in self.calls and len(inbox):  # the end made a message of what is left
            got = got[: len(expected)]
        if got != expected:
            self.wrong(f"reset: delivered {got!r} of {expected!r}")

    def takes_rest(self) -> bool:
        """Whether its own code lets everything through, and in time."""
        actions = {action for scripts in self.program.scripts.values() for script in scripts for action in script}
        if self.program.kind == "async" and any(
            action[0] in ("spawn", "read", "peek", "wait_closed", "hang", "stubborn", "cancel")
            or action[1:] in ((2.0,), (20.0,))
            for action in actions
        ):
            return False
        return self.program.kind in ("plain", "async") and not (self.raised or self.closed_by_us or self.was_stopped)

    def takes_all(self) -> bool:
        """Whether its own code takes messages to the end, whatever is done from outside."""
        return self.program.kind in ("plain", "async") and not self.raised

    def check_log(self, records: list[logging.LogRecord]) -> None:
        planned = 0
        for record in records:
            exc = record.exc_info[1] if record.exc_info else None
            if isinstance(exc, Planned):
                planned += 1
            elif "after it was cancelled" in record.getMessage() and self.may_log:
                pass
            else:
                self.wrong(f"logged: {record.getMessage()} {exc!r}")
        if planned > self.raised:
            self.wrong(f"{self.raised} errors of callbacks were logged {planned} times")


def handler_of(observer: Observer) -> Any:
    """The class or function of the program's kind, and nothing about it is shared."""
    kind = observer.program.kind
    return _function(observer) if kind == "handler" else _callbacks(observer, kind)


def _function(observer: Observer) -> Any:
    """A handler function is a class inside: its start, on_close and on_error are observed there."""
    first: list[Script] = []

    async def handler(connection: Connection) -> None:
        await observer.run_async("on_connect", first[0])
        async for message in connection:
            observer.delivered.append(message)
            await observer.run_async("on_read", observer.enter("on_read"))

    base: Any = connection_class(handler, {})

    class Observed(base):  # type: ignore[valid-type, misc]
        def on_connect(self) -> Any:
            observer.connection = self
            first.append(observer.enter("on_connect"))
            return super().on_connect()

        def on_close(self, reason: ConnectionClosed) -> None:
            observer.enter("on_close")

        def on_error(self, exc: BaseException) -> None:
            _check_error(observer, exc)

    Observed._consumer = base._consumer
    return Observed


def _check_error(observer: Observer, exc: BaseException) -> None:
    observer.enter("on_error")
    is_busy = isinstance(exc, BusyError) and observer.program.kind == "handler"  # somebody else reads, too
    if not isinstance(exc, Planned) and not is_busy:
        observer.wrong(f"on_error({exc!r})")


def _callbacks(observer: Observer, kind: str) -> type[Connection]:
    is_async = kind == "async"

    def run(name: str) -> Any:
        script = observer.enter(name)
        if is_async and name not in ("on_full", "on_drain"):
            return observer.run_async(name, script)
        observer.run_plain(script)
        return None

    class Observed(Connection):
        def on_connect(self) -> Any:
            observer.connection = self
            return run("on_connect")

        def on_eof(self) -> Any:
            return run("on_eof")

        def on_close(self, reason: ConnectionClosed) -> Any:
            if reason is not self.reason:
                observer.wrong("on_close was told another reason")
            return run("on_close")

        def on_stop(self) -> Any:
            script = observer.enter("on_stop")
            if is_async:
                return self.stop_after(script)
            observer.run_plain(script)
            return super().on_stop()

        async def stop_after(self, script: Script) -> None:
            await observer.run_async("on_stop", script)
            super().on_stop()

        def on_full(self) -> None:
            run("on_full")

        def on_drain(self) -> None:
            run("on_drain")

        def on_error(self, exc: BaseException) -> Any:
            _check_error(observer, exc)

    if kind in ("plain", "async"):

        class Reading(Observed):
            def on_read(self, message: Any) -> Any:
                observer.delivered.append(message)
                return run("on_read")

        return Reading
    if kind == "reader":
        Observed._consumer = Consumer.READ
    return Observed

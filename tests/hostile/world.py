"""Runs a `Program` on a loop, over a link whose other end is the program's peer, and says what was wrong.

One interpreter for all: in memory on virtual time, in memory or over TCP on any real loop. It holds no clock
against anybody: it waits for conditions, and what has not ended after very many turns never will.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.hostile.observed import Log, Observer, handler_of
from tests.hostile.program import FRAMERS
from trews.handler import connection_class
from trews.testing import VirtualLoop
from trews.timers import wheel_of
from trews.transport.attach import attach
from trews.transport.memory import memory_pair

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.hostile.program import Action, Program

ROUNDS = 400  # of one second each (of the program's seconds)


@dataclass(frozen=True)
class World:
    """Where programs run.

    Attributes:
        second: how long a program's second is on the loop.
        is_virtual: time costs nothing, and deadlines are exact.
        is_tcp: over loopback TCP instead of memory.
    """

    name: str
    loop_factory: Callable[[], asyncio.AbstractEventLoop]
    is_tcp: bool = False
    is_virtual: bool = False

    @property
    def second(self) -> float:
        return 1.0 if self.is_virtual else 0.001

    def __str__(self) -> str:
        return self.name


VIRTUAL = World("virtual", VirtualLoop, is_virtual=True)


class Peer:
    """The other end of the link."""

    def __init__(self, sock: Any, stream: bytes) -> None:
        self.sock = sock
        self.stream = stream
        self.fed = 0
        self.received = bytearray()
        self.is_clogged = self.is_shut = self.is_reset = self.is_over = False

    def feed(self, count: int) -> None:
        if self.is_shut or self.is_reset:
            return
        piece = self.stream[self.fed : self.fed + count]
        if not piece:
            return
        try:
            self.fed += self.sock.send(piece)
        except BlockingIOError:
            pass
        except OSError:
            self.is_shut = True  # nobody is there

    def take(self) -> None:
        """Receive what has come."""
        while not (self.is_clogged or self.is_reset or self.is_over):
            try:
                data = self.sock.recv(65536)
            except BlockingIOError:
                return
            except OSError:
                self.is_over = True
                return
            self.received += data
            self.is_over = not data

    def eof(self) -> None:
        if not (self.is_shut or self.is_reset):
            self.is_shut = True
            try:
                self.sock.shutdown(socket.SHUT_WR)
            except OSError:
                pass

    def reset(self) -> None:
        if not self.is_reset:
            self.is_reset = True
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.sock.close()


class Run:
    """One run of one program."""

    def __init__(self, world: World, program: Program) -> None:
        self.world = world
        self.program = program
        self.observer = Observer(program, world.second)
        self.problems = self.observer.problems

    async def main(self) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: self.observer.wrong(f"the loop was told {context}"))
        ends: tuple[Any, Any] = _tcp_pair() if self.world.is_tcp else memory_pair(loop, "link", self.program.capacity)
        near, far = ends
        if not self.world.is_tcp:
            near.chunk = self.program.chunk
        self.near = near
        self.peer = Peer(far, self.program.stream())
        self.connection = connection_class(handler_of(self.observer), self.settings())()
        attach(loop, near, self.connection, None, lambda exc: self.observer.wrong(f"not attached: {exc!r}"))
        await self.until(lambda: self.observer.connection is not None)
        try:
            for number, step in enumerate(self.program.steps):
                self.step(step)
                for _ in range(number % 4):  # a step may find the loop at any turn
                    await asyncio.sleep(0)
                if step[0] == "advance":
                    await asyncio.sleep(step[1] * self.world.second)
                self.peer.take()
            await self.finish()
        finally:
            self.peer.is_clogged = False
            self.peer.reset()

    def settings(self) -> dict[str, Any]:
        settings = {**self.program.settings, "framer": FRAMERS[self.program.framer]}
        if not self.world.is_virtual:  # deadlines are for the virtual clock, but code that hangs must be ended
            for name in ("write_timeout", "message_timeout", "idle_timeout"):
                settings.pop(name, None)
            settings["close_timeout"] = 0.15
        return settings

    def step(self, step: Action) -> None:
        verb, *args = step
        peer = self.peer
        if verb == "feed":
            peer.feed(args[0])
        elif verb in ("eof", "reset"):
            getattr(peer, verb)()
        elif verb in ("clog", "unclog"):
            peer.is_clogged = verb == "clog"
        elif verb in ("read", "peek", "drain", "file", "wait_closed"):
            self.start(step)
        elif verb == "cancel":
            tasks = self.observer.tasks
            if tasks:
                tasks[args[0] % len(tasks)].cancel()
        elif verb not in ("take", "turn", "advance"):
            self.observer.act(step)

    def start(self, step: Action) -> None:
        async def wait() -> None:
            await self.observer.act(step)  # type: ignore[misc]

        self.observer.tasks.append(asyncio.get_running_loop().create_task(wait()))

    async def finish(self) -> None:
        peer, connection, finale = self.peer, self.connection, self.program.finale
        peer.is_clogged = False
        connection.resume_reading()
        if connection.is_closed:  # by what has happened so far: it must end of itself, hanging code or not
            await self.until(self.is_ended)
            if not self.is_ended():
                self.observer.wrong(f"closed, but never ended: {connection!r}, task {connection._task}")
        await self.until(self.feed_all, 60)
        if finale in ("eof", "reset"):
            getattr(peer, finale)()
        else:
            self.observer.act((finale,))
        await self.until(self.is_ended, 60 if self.may_stay() else ROUNDS)
        if not self.is_ended():
            if not self.may_stay():
                self.observer.wrong(f"never ended: {connection!r}, task {connection._task}")
            connection.abort()
            await self.until(self.is_ended)
            if not self.is_ended():
                self.observer.wrong(f"not even abort() ended it: {connection!r}, task {connection._task}")
        peer.eof()
        await self.until(self.is_gone)
        await self.check()

    def feed_all(self) -> bool:
        self.peer.feed(len(self.peer.stream))
        self.peer.take()
        return self.peer.fed == len(self.peer.stream) or self.peer.is_shut or self.peer.is_reset or self.peer.is_over

    def is_ended(self) -> bool:
        self.peer.take()
        return self.connection._is_ended

    def is_gone(self) -> bool:
        self.peer.take()
        is_closed = self.near._is_closed if not self.world.is_tcp else self.near.fileno() < 0
        return is_closed and all(task.done() for task in self.observer.tasks)

    def may_stay(self) -> bool:
        """Whether the program may leave its connection open for ever, by what its own code does."""
        program = self.program
        if program.finale in ("abort", "close"):
            return False
        if program.settings.get("half_close") or program.kind == "reader":
            return True
        actions = {action[0] for scripts in program.scripts.values() for script in scripts for action in script}
        if program.finale == "stop" and (
            program.kind == "handler" or {"read", "peek"} & (actions | {step[0] for step in program.steps})
        ):
            return True  # who reads in the middle of a message waits for the rest
        return bool(actions & {"hang", "wait_closed", "pause", "close_write"})

    async def until(self, condition: Callable[[], bool], rounds: int = ROUNDS) -> None:
        if rounds == ROUNDS and not self.world.is_virtual:
            rounds *= 50  # real deadlines may have to pass
        for _ in range(rounds):
            for _ in range(50):
                if condition():
                    return
                await asyncio.sleep(0)
            await asyncio.sleep(self.world.second)

    async def check(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)
        peer, observer = self.peer, self.observer
        is_broken = peer.is_reset
        observer.check(bytes(peer.received), peer.stream[: peer.fed], is_broken)
        for task in observer.tasks:
            if not task.done():
                observer.wrong(f"left waiting: {task}")
                task.cancel()
            elif not task.cancelled() and task.exception() is not None:
                observer.wrong(f"{task} raised {task.exception()!r}")
        if not self.is_gone():
            observer.wrong("the socket was not closed")
        left = asyncio.all_tasks() - {asyncio.current_task()} - set(observer.tasks)  # type: ignore[arg-type]
        if left:
            observer.wrong(f"tasks are left: {left}")
        if wheel_of(asyncio.get_running_loop())._count:
            observer.wrong("a deadline is left")


def problems_of(world: World, program: Program) -> list[str]:
    """What is wrong when the program runs there; nothing, if all is well."""
    run = Run(world, program)
    with Log() as log:
        with asyncio.Runner(loop_factory=world.loop_factory) as runner:
            try:
                runner.run(run.main())
            except Exception as exc:
                run.problems.append(f"raised {exc!r}")
    run.observer.check_log(log.records)
    return run.problems


def _tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        far = socket.socket()
        far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        far.connect(listener.getsockname())
        near, _ = listener.accept()
    for sock in (near, far):
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return near, far

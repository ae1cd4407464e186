"""Calling user code: plain or async, one after the other, in the connection's context; and what its errors do."""

from __future__ import annotations

import asyncio
import contextvars
import functools

import pytest

import trews
from tests.connection.recorder import Recorder, oops, start
from trews.calls import Started
from trews.testing import run, wire


class Lines(Recorder):
    framer = b"\n"


class TestSerialised:
    """`on_connect`, `on_read`, `on_eof`, `on_close` are serialised: an async one holds back the next."""

    def test_in_order_and_never_overlapping(self):
        log = []

        class Slow(trews.Connection):
            framer = b"\n"

            async def step(self, name):
                log.append(f"{name} begins")
                await asyncio.sleep(1)
                log.append(f"{name} ends")

            async def on_connect(self):
                await self.step("connect")

            async def on_read(self, message):
                await self.step(message.decode())

            async def on_eof(self):
                await self.step("eof")

            async def on_close(self, reason):
                await self.step("close")

        wire(Slow).feed(b"1\n2\n").eof().advance(10)
        names = ["connect", "1", "2", "eof", "close"]
        assert log == [f"{name} {what}" for name in names for what in ("begins", "ends")]

    def test_plain_ones_wait_for_async_ones(self):
        class Mixed(Lines):
            async def on_connect(self):
                await asyncio.sleep(2)
                self.events.append(("connected",))

        w = wire(Mixed).feed(b"1\n").eof()
        assert w.connection.names == []
        assert w.advance(2).connection.names == ["connected", "read", "eof", "close"]

    def test_the_transport_reads_on_to_read_high(self):
        """So back-pressure reaches the peer."""

        class Slow(Lines):
            async def on_read(self, message):
                await asyncio.sleep(1e6)

        w = wire(Slow, read_high=100_000)
        w.feed(b"1\n" + b"x\n" * 45_000)
        assert w.connection.bytes_in == 90_002
        with pytest.raises(BufferError, match="does not read"):
            w.feed(b"y\n" * 1_000_000)
        assert w.connection.bytes_in <= 100_000 + 256 * 1024

    def test_on_full_and_on_drain_come_even_then(self):
        class Busy(Lines):
            write_high = 5
            write_low = 2

            async def on_read(self, message):
                self.events.append(("read", message))
                self.write(b"x" * 200_000)
                await asyncio.sleep(10)
                self.events.append(("read ends",))

        w = wire(Busy).clog().feed(b"1\n")
        assert w.connection.names == ["connect", "read", "full"]
        assert w.unclog().connection.names == ["connect", "read", "full", "drain"]
        assert w.advance(10).connection.names[-1] == "read ends"

    def test_many_messages_with_an_async_callback_that_never_waits(self):
        class Quick(Lines):
            async def on_read(self, message):
                self.events.append(("read", message))

        w = wire(Quick, read_high=1 << 20).feed(b"x\n" * 5000).settle()
        assert len(w.connection.messages) == 5000


class TestWhatTheyReturn:
    """Plain or async is decided by what they return, so partials and rebinding work."""

    @pytest.mark.parametrize(
        "make",
        [
            lambda f: functools.partial(f),
            lambda f: lambda message: f(message),
            lambda f: lambda message: asyncio.ensure_future(f(message)),
            lambda f: type("Awaitable", (), {"__call__": lambda self, m: f(m)})(),
            lambda f: lambda message: type("Later", (), {"__await__": lambda self: f(message).__await__()})(),
        ],
        ids=["partial", "lambda", "future", "callable object", "awaitable object"],
    )
    def test_whatever_gives_an_awaitable(self, make):
        seen = []

        async def slow(message):
            await asyncio.sleep(1)
            seen.append(message)

        w = wire(Lines)
        w.connection.on_read = make(slow)
        w.feed(b"1\n2\n")
        w.advance(1)
        assert seen == [b"1"]
        w.advance(1)
        assert seen == [b"1", b"2"]

    @pytest.mark.parametrize("value", [None, 0, True, "text", [1], object()])
    def test_other_results_are_ignored(self, value):
        w = wire(Lines)
        w.connection.on_read = lambda message: value
        assert w.feed(b"1\n2\n").connection.is_open
        assert w.connection.errors == []

    @pytest.mark.parametrize(
        ("name", "trigger"),
        [
            ("on_read", lambda w: w.feed(b"1\n")),
            ("on_eof", lambda w: w.eof()),
            ("on_close", lambda w: w.reset()),
            ("on_full", lambda w: (w.clog(), w.connection.write(b"x" * 200_000), w.settle())),
            ("on_drain", lambda w: (w.clog(), w.connection.write(b"x" * 200_000), w.settle(), w.unclog())),
            ("on_error", lambda w: (w.connection.spawn(oops()), w.settle())),
        ],
    )
    @pytest.mark.parametrize("is_async", [False, True])
    def test_any_may_be_rebound_on_the_instance(self, name, trigger, is_async):
        seen = []
        w = wire(Lines)

        async def rebound(*args):
            await asyncio.sleep(1)
            seen.append(name)

        setattr(w.connection, name, rebound if is_async else lambda *args: seen.append(name))
        trigger(w)
        w.advance(1)
        assert seen == [name]

    def test_on_connect_rebound_in_init(self):
        class Early(Lines):
            def __init__(self):
                self.on_connect = lambda: self.events.append(("rebound",))

        assert wire(Early).connection.names == ["rebound"]

    def test_rebound_in_the_middle(self):
        class States(Lines):
            def on_read(self, message):
                self.events.append(("head", message))
                self.on_read = self.on_body

            def on_body(self, message):
                self.events.append(("body", message))

        w = wire(States).feed(b"1\n2\n3\n")
        assert w.connection.events[1:] == [("head", b"1"), ("body", b"2"), ("body", b"3")]


variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


class TestContext:
    """Callbacks run in the connection's own context, entered once; async ones are tasks in that context."""

    @pytest.mark.parametrize("is_async", [False, True])
    def test_what_on_connect_sets_is_visible_later(self, is_async):
        class Setter(Lines):
            on_drain = trews.Connection.on_drain

            def on_connect(self):
                variable.set("mine")
                return asyncio.sleep(1) if is_async else None

            def on_read(self, message):
                self.events.append(variable.get())
                self.spawn(self.look())

            async def look(self):
                self.events.append(variable.get())
                variable.set("spawned")

            def on_full(self):
                self.events.append(variable.get())

            def on_eof(self):
                self.events.append(variable.get())

            async def on_close(self, reason):
                await asyncio.sleep(1)
                self.events.append(variable.get())

        w = wire(Setter, write_high=5).advance(1).feed(b"1\n").clog()
        w.connection.write(b"x" * 200_000)
        w.settle().unclog().eof().advance(5)
        assert w.connection.events == ["mine", "mine", "spawned", "spawned", "spawned"]
        assert variable.get() == "unset"

    def test_what_an_async_on_connect_sets_is_visible_later(self):
        class Setter(Lines):
            async def on_connect(self):
                await asyncio.sleep(1)
                variable.set("mine")

            def on_read(self, message):
                self.events.append(variable.get())

        w = wire(Setter).advance(1).feed(b"1\n")
        assert w.connection.events == ["mine"]

    def test_each_connection_has_its_own(self):
        class Own(Lines):
            def on_connect(self):
                variable.set(f"of {self.id}")

            def on_read(self, message):
                self.events.append(variable.get())

        wires = [wire(Own) for _ in range(3)]
        for w in wires:
            w.feed(b"1\n")
            assert w.connection.events == [f"of {w.connection.id}"]

    def test_a_call_from_inside_goes_straight_through(self):
        class Direct(Lines):
            def on_connect(self):
                variable.set("mine")
                self.greet()

            def greet(self):
                self.on_read(b"first")

            def on_read(self, message):
                self.events.append((message, variable.get()))
                if message == b"first":
                    self.on_eof()

            def on_eof(self):
                self.events.append(("eof", variable.get()))

        w = wire(Direct).feed(b"second\n")
        assert w.connection.events == [(b"first", "mine"), ("eof", "mine"), (b"second", "mine")]

    def test_writing_to_another_connection_from_a_callback(self):
        async def main():
            class Hub(Lines):
                def on_read(self, message):
                    self.server.broadcast(message + b" " + variable.get().encode())

                def on_connect(self):
                    variable.set(f"{len(self.server.connections)}")

            async with trews.Server(Hub).listen("memory:hub"):
                async with (
                    trews.connect("memory:hub", framer=b"\n") as one,
                    trews.connect("memory:hub", framer=b"\n") as other,
                ):
                    one.send(b"hi")
                    return await one.read(), await other.read()

        assert run(main()) == (b"hi 1", b"hi 1")

    def test_asyncio_timeout_as_the_first_statement(self):
        async def handler(conn):
            async with asyncio.timeout(5):
                assert asyncio.current_task() is not None
                await conn.send(await conn.read())

        assert wire(handler).feed(b"hi").sent() == b"hi"

    def test_a_task_group_in_a_handler(self):
        async def handler(conn):
            async with asyncio.TaskGroup() as group:
                for delay in (3, 1, 2):
                    group.create_task(delayed(conn, delay))

        async def delayed(conn, delay):
            await asyncio.sleep(delay)
            conn.write(b"%d" % delay)

        w = wire(handler).advance(3)
        assert w.sent() == b"123"
        assert w.closed


class TestOwnEnd:
    """Any `ConnectionClosed` of its own connection ends a handler, an async callback or a spawned task quietly."""

    @pytest.mark.parametrize("end", ["eof", "reset"])
    def test_a_handler(self, end, caplog):
        async def handler(conn):
            while True:
                await conn.read()

        w = wire(handler).feed(b"x")
        getattr(w, end)()
        assert caplog.records == []
        assert w.connection.is_closed

    def test_a_handler_that_closes_and_reads(self, caplog):
        async def handler(conn):
            conn.close()
            await conn.read()

        assert wire(handler).closed
        assert caplog.records == []

    def test_an_async_callback_and_a_spawned_task(self):
        class Reader(Recorder):
            async def on_connect(self):
                self.spawn(self.drains())
                await self.read()

            async def drains(self):
                while True:
                    await self.drain()
                    await asyncio.sleep(1)

        w = wire(Reader).reset().advance(5)
        assert w.connection.names == ["close"]

    @pytest.mark.parametrize("others", [[], [ValueError("oops")]], ids=["its end only", "another error"])
    def test_in_a_task_group(self, others):
        class Grouped(Recorder):
            async def on_connect(self):
                try:
                    await self.read()
                except trews.ConnectionClosed as exc:
                    raise BaseExceptionGroup("two", [exc, ExceptionGroup("one", [exc, *others])]) from None

        errors = wire(Grouped).reset().connection.errors
        assert [type(error) for error in errors] == [ExceptionGroup] * len(others)

    def test_the_end_of_another_connection_is_an_error(self):
        async def main():
            errors = []

            class Proxy(Recorder):
                async def on_connect(self):
                    async with trews.connect("memory:inner") as inner:
                        await inner.read()

                def on_error(self, exc):
                    errors.append(exc)

            async def inner(conn):
                conn.abort()

            async with trews.Server(inner).listen("memory:inner"), trews.Server(Proxy).listen("memory:outer"):
                async with trews.connect("memory:outer") as conn:
                    await conn.wait_closed()
            return [type(exc) for exc in errors]

        assert run(main()) == [trews.ConnectionReset]

    def test_a_handler_that_returns_closes_flushing(self):
        async def handler(conn):
            await conn.read()
            conn.write(b"x" * 200_000)

        w = wire(handler).clog().feed(b"go")
        assert not w.closed
        assert len(w.unclog().sent()) == 200_000
        assert w.closed
        assert w.reason.is_clean

    def test_a_cancelled_handler_aborts(self):
        tasks = []

        async def handler(conn):
            tasks.append(asyncio.current_task())
            await conn.read()

        w = wire(handler)
        tasks[0].cancel()
        w.settle()
        assert type(w.reason) is trews.Aborted
        assert w.was_reset

    @pytest.mark.parametrize("waits_first", [False, True], ids=["in its first step", "later"])
    def test_abort_cancels_the_handler(self, waits_first):
        seen = []

        async def handler(conn):
            if waits_first:
                await conn.read()
            conn.abort()
            try:
                await asyncio.sleep(1e6)
            except asyncio.CancelledError:
                seen.append("cancelled")
                raise

        w = wire(handler).feed(b"go").settle()
        assert seen == ["cancelled"]
        assert start(w, w.connection.wait_closed()).done()


class TestUsersFramers:
    """A framer of one's own that raises, or a setting that is none."""

    class Raising:
        def decoder(self):
            return self

        def decode(self, buffer, scanned):
            raise LookupError("no such frame")

        def eof(self, buffer):
            return None

        def encode(self, message):
            raise LookupError("no such message")

    def test_an_error_of_its_decoder_is_the_connections(self):
        w = wire(Recorder, framer=self.Raising()).feed(b"x")
        assert [repr(exc) for exc in w.connection.errors] == ["LookupError('no such frame')"]
        assert isinstance(w.reason.__cause__, LookupError)

    def test_an_error_of_its_encode_raises_in_send(self):
        w = wire(Recorder, framer=self.Raising())
        with pytest.raises(LookupError):
            w.connection.send(b"x")
        assert w.connection.is_open

    def test_in_read_it_raises_there(self):
        w = wire(trews.Connection).feed(b"x")
        task = start(w, w.connection.read(framer=self.Raising()))
        assert isinstance(task.exception(), LookupError)
        assert w.connection.is_open

    @pytest.mark.parametrize("garbage", ["\n", 1.5, object(), -1, b"", True, []])
    def test_framer_set_to_garbage_midway(self, garbage):
        class Garbage(Lines):
            def on_read(self, message):
                super().on_read(message)
                self.framer = garbage

        w = wire(Garbage).feed(b"1\n2\n")
        assert w.connection.messages == [b"1"]
        assert [type(exc) for exc in w.connection.errors] in ([TypeError], [ValueError])
        assert w.connection.names[-1] == "close"
        assert w.was_reset


async def wait_for(awaitable):
    await awaitable


class TestStarted:
    """What may be awaited or thrown away: an error that nobody can learn of is the connection's."""

    def test_thrown_away(self):
        w = wire(Recorder)
        Started(w.connection).settle(ValueError("oops"))
        w.settle()
        assert [repr(exc) for exc in w.connection.errors] == ["ValueError('oops')"]
        assert w.was_reset

    def test_awaited(self):
        w = wire(Recorder)
        started = Started(w.connection)
        task = start(w, wait_for(started))
        started.settle(ValueError("oops"))
        w.settle()
        assert isinstance(task.exception(), ValueError)
        del started, task
        assert w.settle().connection.errors == []

    def test_looked_at_late(self):
        w = wire(Recorder)
        started = Started(w.connection)
        started.settle(ValueError("oops"))
        assert w.advance(10).connection.errors == []
        assert isinstance(started.exception(), ValueError)

    def test_its_own_end_is_quiet(self):
        w = wire(Recorder)
        w.reset()
        Started(w.connection).settle(w.reason.fresh())
        assert w.settle().connection.names == ["connect", "close"]

    def test_done_and_cancelled_are_quiet(self):
        w = wire(Recorder)
        Started(w.connection).settle(None)
        cancelled = Started(w.connection)
        cancelled.cancel()
        cancelled.settle(ValueError("oops"))
        del cancelled
        assert w.settle().connection.names == ["connect"]

    def test_after_its_loop(self):
        w = wire(Recorder)
        started = Started(w.connection)
        started.settle(ValueError("oops"))
        w.end()
        del started


class TestSpawned:
    def test_thousands_that_end_at_once_do_not_hand_out_thousands_of_turns(self, monkeypatch):
        class Spawning(Lines):
            framer = 1
            read_high = 1 << 20

            def on_read(self, message):
                super().on_read(message)
                self.spawn(asyncio.sleep(1))
                self._loop.clock.tick += 0.001  # so that a turn is about ten messages

        w = wire(Spawning).feed(b"x" * 1000)
        assert len(w.connection.messages) == 1000
        pumps = []
        pump = Spawning._pump
        monkeypatch.setattr(Spawning, "_pump", lambda self: (pumps.append(1), pump(self)))
        w.advance(5)
        assert len(pumps) < 10

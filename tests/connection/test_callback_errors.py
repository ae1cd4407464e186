"""Callbacks that raise, plain and async, in every `on_*`; `KeyboardInterrupt` and `SystemExit` among them."""

from __future__ import annotations

import asyncio
import logging

import pytest

import trews
from tests.connection.recorder import Recorder, later_oops, oops, plain_oops, start
from trews.testing import VirtualLoop, run, wire


class Lines(Recorder):
    framer = b"\n"


CALLBACKS = [
    ("on_connect", lambda w: None),
    ("on_read", lambda w: w.feed(b"1\n")),
    ("on_eof", lambda w: w.eof()),
    ("on_close", lambda w: w.reset()),
    ("on_full", lambda w: (w.clog(), w.connection.write(b"x" * 200_000), w.settle())),
    ("on_drain", lambda w: (w.clog(), w.connection.write(b"x" * 200_000), w.settle(), w.unclog())),
]


def broken(name, how):
    """A class whose callback of that name raises."""
    return type("Broken", (Lines,), {name: lambda self, *args: how()})


class TestErrors:
    """When a callback raises, `on_error` is told; then the connection is always aborted."""

    @pytest.mark.parametrize(("name", "trigger"), CALLBACKS)
    @pytest.mark.parametrize("how", [plain_oops, oops, later_oops], ids=["plain", "async", "async later"])
    def test_in_every_callback(self, name, trigger, how):
        w = wire(broken(name, how))
        trigger(w)
        w.advance(1)
        assert [repr(exc) for exc in w.connection.errors] == ["ValueError('oops')"]
        if name != "on_close":
            reason = w.connection.closes[0]
            assert type(reason) is trews.Aborted
            assert reason.__cause__ is w.connection.errors[0]
            assert "oops" in str(reason)
            assert w.was_reset
        assert w.connection.is_closed

    @pytest.mark.parametrize("how", [plain_oops, oops, later_oops], ids=["plain", "async", "async later"])
    def test_on_error_is_told_before_on_close(self, how):
        w = wire(broken("on_read", how)).feed(b"1\n").advance(1)
        assert w.connection.names == ["connect", "error", "close"]

    @pytest.mark.parametrize("how", [plain_oops, oops, later_oops], ids=["plain", "async", "async later"])
    def test_in_on_read_without_a_framer(self, how):
        w = wire(broken("on_read", how), framer=None).feed(b"x").feed(b"y").advance(1)
        assert w.connection.names == ["connect", "error", "close"]
        assert type(w.reason) is trews.Aborted

    def test_the_messages_behind_it_are_not_delivered(self):
        class Picky(Lines):
            def on_read(self, message):
                super().on_read(message)
                raise ValueError(message)

        w = wire(Picky).feed(b"1\n2\n3\n")
        assert w.connection.messages == [b"1"]
        assert len(w.connection.errors) == 1

    def test_what_waits_is_dropped(self):
        w = wire(broken("on_read", plain_oops), capacity=10).clog()
        w.connection.write(b"x" * 100)
        w.feed(b"1\n")
        assert w.unclog().was_reset

    def test_a_handler_functions_error(self, caplog):
        with wire(later_oops) as w:
            with pytest.raises(ValueError, match="oops"):
                w.advance(1)
            assert type(w.reason) is trews.Aborted
            assert isinstance(w.reason.__cause__, ValueError)
            assert w.was_reset
            assert "oops" in caplog.text

    def test_the_default_logs_with_traceback_and_connection(self, caplog):
        class Quiet(trews.Connection):
            def on_read(self, message):
                raise ValueError("oops")

        with wire(Quiet) as w, pytest.raises(ValueError, match="oops"):
            w.feed(b"1")
        (record,) = caplog.records
        assert record.levelno == logging.ERROR
        assert record.exc_info[0] is ValueError
        assert f"Quiet #{w.connection.id}" in record.getMessage()

    @pytest.mark.parametrize("is_async", [False, True])
    def test_the_default_tells_the_server(self, is_async):
        told = []

        class Watched(trews.Server):
            def on_error(self, conn, exc):
                told.append((type(conn).__name__, repr(exc)))
                return asyncio.sleep(0) if is_async else None

        class Broken(trews.Connection):
            def on_read(self, message):
                raise ValueError("oops")

        async def main():
            async with Watched(Broken).listen("memory:told"):
                async with trews.connect("memory:told") as conn:
                    conn.write(b"x")
                    await conn.wait_closed()

        run(main())
        assert told == [("Broken", "ValueError('oops')")]

    def test_the_servers_default_logs(self, caplog):
        class Broken(trews.Connection):
            def on_read(self, message):
                raise ValueError("oops")

        async def main():
            async with trews.Server(Broken).listen("memory:logs"):
                async with trews.connect("memory:logs") as conn:
                    conn.write(b"x")
                    await conn.wait_closed()

        run(main())
        assert [record.exc_info[0] for record in caplog.records] == [ValueError]
        assert "Broken #" in caplog.text

    def test_async_on_error_is_awaited_before_on_close(self):
        class Reporter(Lines):
            on_read = plain_oops

            async def on_error(self, exc):
                await asyncio.sleep(5)
                self.events.append(("error", exc))

        w = wire(Reporter).feed(b"1\n")
        assert w.was_reset
        assert w.connection.names == ["connect"]
        assert w.advance(5).connection.names == ["connect", "error", "close"]

    def test_async_on_error_of_on_close_is_awaited_before_the_connection_has_ended(self):
        class Reporter(Recorder):
            def on_close(self, reason):
                raise ValueError("oops")

            async def on_error(self, exc):
                await asyncio.sleep(5)
                self.events.append(("error", exc))

        w = wire(Reporter)
        waiting = start(w, w.connection.wait_closed())
        w.eof()
        assert not waiting.done()
        w.advance(5)
        assert waiting.done()
        assert w.connection.names == ["connect", "eof", "error"]

    @pytest.mark.parametrize("how", [plain_oops, oops, later_oops], ids=["plain", "async", "async later"])
    def test_on_error_that_raises_is_logged_and_the_connection_aborted(self, how, caplog):
        class Hopeless(Lines):
            def on_read(self, message):
                raise KeyError("first")

            def on_error(self, exc):
                return how()

        with wire(Hopeless) as w:
            w.feed(b"1\n").advance(5)
            assert w.was_reset
            assert w.connection.names == ["connect", "close"]
            assert isinstance(w.reason.__cause__, KeyError)
        assert "on_error failed" in caplog.text
        assert [repr(r.exc_info[1]) for r in caplog.records] == ["ValueError('oops')"]

    def test_nothing_else_is_touched(self):
        async def main():
            class Fragile(trews.Connection):
                framer = b"\n"

                def on_read(self, message):
                    if message == b"die":
                        raise ValueError("oops")
                    self.send(message)

                def on_error(self, exc):
                    pass

            async with trews.Server(Fragile).listen("memory:fragile"):
                async with trews.connect("memory:fragile", framer=b"\n") as one:
                    async with trews.connect("memory:fragile", framer=b"\n") as other:
                        other.send(b"die")
                        await other.wait_closed()
                    one.send(b"alive?")
                    return await one.read()

        assert run(main()) == b"alive?"

    def test_base_exceptions_other_than_those_two_are_errors(self):
        class Odd(BaseException): ...

        def odd():
            raise Odd

        w = wire(broken("on_read", odd)).feed(b"1\n")
        assert [type(exc) for exc in w.connection.errors] == [Odd]
        assert w.was_reset


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
class TestExits:
    """`KeyboardInterrupt` and `SystemExit` are never swallowed; they leave a legal state."""

    @staticmethod
    def check(w, error, trigger):
        with pytest.raises(error):
            trigger(w)
            w.advance(1)
        w.settle()
        # Legal: whatever it is now, it can be ended, once; and the loop runs.
        w.connection.abort()
        w.advance(100)
        assert len(w.connection.closes) <= 1
        assert start(w, w.connection.wait_closed()).done()
        assert w.loop.run_until_complete(asyncio.sleep(1, "alive")) == "alive"

    @pytest.mark.parametrize(("name", "trigger"), CALLBACKS[1:])
    @pytest.mark.parametrize("kind", ["plain", "async", "async later"])
    def test_from_every_callback(self, name, trigger, kind, error):
        def plain():
            raise error

        async def at_once():
            raise error

        async def later():
            await asyncio.sleep(1)
            raise error

        how = {"plain": plain, "async": at_once, "async later": later}[kind]
        with wire(broken(name, how)) as w:
            self.check(w, error, trigger)

    @pytest.mark.parametrize("kind", ["plain", "async", "async later"])
    def test_from_on_read_without_a_framer(self, kind, error):
        def plain():
            raise error

        async def at_once():
            raise error

        async def later():
            await asyncio.sleep(1)
            raise error

        with wire(broken("on_read", {"plain": plain, "async": at_once, "async later": later}[kind]), framer=None) as w:
            self.check(w, error, lambda w: w.feed(b"x"))

    def test_from_a_users_framer(self, error):
        class Exiting:
            exits = True

            def decoder(self):
                return self

            def decode(self, buffer, scanned):
                if self.exits:
                    self.exits = False
                    raise error
                return len(buffer) + 1

            def eof(self, buffer):
                return None

            def encode(self, message):
                return message

        with wire(Recorder, framer=Exiting()) as w:
            self.check(w, error, lambda w: w.feed(b"x"))

    def test_from_on_error_and_the_connection_is_aborted_all_the_same(self, error):
        class Exits(Lines):
            on_read = plain_oops

            def on_error(self, exc):
                raise error

        with wire(Exits) as w:
            with pytest.raises(error):
                w.feed(b"1\n")
            assert w.settle().was_reset
            assert w.connection.names == ["connect", "close"]

    @pytest.mark.parametrize("waits_first", [False, True], ids=["in its first step", "later"])
    def test_a_handler_that_exits_leaves_no_connection_open(self, waits_first, error):
        class Handled(Lines):
            async def on_connect(self):
                await asyncio.sleep(1)

            async def on_read(self, message):
                if waits_first:
                    await asyncio.sleep(1)
                raise error

        with wire(Handled) as w:
            w.advance(1)
            with pytest.raises(error):
                w.feed(b"1\n").advance(1)
            w.settle()
            assert w.was_reset
            assert len(w.connection.closes) == 1

    def test_others_on_the_loop_go_on(self, error):
        seen = []

        async def main():
            class Mixed(Lines):
                def on_read(self, message):
                    if message == b"exit":
                        raise error
                    seen.append(message)

            server = trews.Server(Mixed).listen("memory:mixed")
            await server.start()
            one = await trews.connect("memory:mixed", framer=b"\n")
            other = await trews.connect("memory:mixed", framer=b"\n")
            return server, one, other

        async def go_on(one, server):
            one.send(b"still here")
            await asyncio.sleep(1)
            one.close()
            await server.stop(0)

        loop = VirtualLoop()
        server, one, other = loop.run_until_complete(main())
        other.send(b"exit")
        with pytest.raises(error):
            loop.run_until_complete(asyncio.sleep(1))
        loop.run_until_complete(go_on(one, server))
        loop.run_until_complete(other.wait_closed())
        loop.run_until_complete(asyncio.sleep(5))
        loop.close()
        assert seen == [b"still here"]

"""`close_timeout`: what a flush without progress gets, and code that runs on after the end."""

from __future__ import annotations

import asyncio

import pytest

import trews
from tests.connection.recorder import Recorder, SlowPeer, start
from trews.phase import Phase
from trews.testing import wire

MOMENT = 0.01


class Closing(Recorder):
    close_timeout = 10


class TestCloseTimeoutWhileFlushing:
    """`close_timeout`: without progress while flushing on `close()`."""

    def test_no_progress(self):
        with SlowPeer(Closing) as peer:
            peer.connection.write(b"x" * 5000)
            peer.advance(5)
            peer.connection.close()
            peer.advance(10 - MOMENT)
            assert peer.connection._phase is Phase.FLUSHING
            peer.advance(MOMENT)
            assert type(peer.connection.reason) is trews.WriteStalled
            assert peer.connection.names == ["connect", "close"]

    def test_the_default_is_thirty_seconds(self):
        with SlowPeer(Recorder) as peer:
            peer.connection.write(b"x" * 5000)
            peer.connection.close()
            peer.advance(30 - MOMENT)
            assert peer.connection._phase is Phase.FLUSHING
            peer.advance(MOMENT)
            assert type(peer.connection.reason) is trews.WriteStalled

    def test_progress_begins_it_anew(self):
        with SlowPeer(Closing) as peer:
            peer.connection.write(b"x" * 1050)
            peer.connection.close()
            got = b""
            for _ in range(50):
                peer.advance(9)
                got += peer.take(1)
            peer.advance(9)
            got += peer.take(5000)
            peer.loop.settle()
            assert got == b"x" * 1050
            assert type(peer.connection.reason) is trews.ClosedLocally

    @pytest.mark.parametrize(("write_timeout", "close_timeout"), [(5, 50), (50, 5), (None, 5)])
    def test_it_takes_the_place_of_write_timeout(self, write_timeout, close_timeout):
        cls = type("Both", (Recorder,), {"write_timeout": write_timeout, "close_timeout": close_timeout})
        with SlowPeer(cls) as peer:
            peer.connection.write(b"x" * 5000)
            peer.connection.close()
            peer.advance(close_timeout - MOMENT)
            assert peer.connection._phase is Phase.FLUSHING
            peer.advance(MOMENT)
            assert peer.connection.names == ["connect", "close"]

    def test_none_is_no_limit(self):
        with SlowPeer(type("Patient", (Recorder,), {"close_timeout": None})) as peer:
            peer.connection.write(b"x" * 5000)
            peer.connection.close()
            peer.advance(1e6)
            assert peer.connection._phase is Phase.FLUSHING

    def test_assigned_on_the_instance(self):
        with SlowPeer(Recorder) as peer:
            peer.connection.write(b"x" * 5000)
            peer.connection.close_timeout = 5
            peer.connection.close()
            peer.advance(5)
            assert type(peer.connection.reason) is trews.WriteStalled

    def test_idle_timeout_no_longer_counts(self):
        with SlowPeer(type("Idle", (Recorder,), {"idle_timeout": 2, "close_timeout": 10})) as peer:
            peer.connection.write(b"x" * 5000)
            peer.connection.close()
            peer.advance(5)
            assert peer.connection._phase is Phase.FLUSHING


class Worker(Closing):
    """Its async `on_connect` goes on after the end, and notes when it was cancelled."""

    cancels = 0
    patience = 0  # cancellations that it ignores

    async def on_connect(self):
        self.release = asyncio.Event()
        while True:
            try:
                await self.release.wait()
                return
            except asyncio.CancelledError:
                self.cancels += 1
                if self.cancels > self.patience:
                    raise


class TestCloseTimeoutAfterTheEnd:
    """A callback or handler still running gets `close_timeout`, then is cancelled, then `on_close` runs."""

    @pytest.mark.parametrize("end", [lambda w: w.reset(), lambda w: w.connection.close()], ids=["lost", "closed"])
    def test_it_gets_close_timeout_then_is_cancelled(self, end):
        w = wire(Worker)
        end(w)
        w.advance(10 - MOMENT)
        assert (w.connection.cancels, w.connection.names) == (0, [])
        w.advance(MOMENT)
        assert (w.connection.cancels, w.connection.names) == (1, ["close"])
        assert w.connection.errors == []

    def test_who_returns_in_time_is_not_cancelled(self):
        w = wire(Worker).reset().advance(9)
        w.connection.release.set()
        assert w.settle().connection.names == ["close"]
        assert w.connection.cancels == 0

    def test_it_may_clean_up_for_another_close_timeout(self):
        class Tidy(Closing):
            async def on_connect(self):
                try:
                    await asyncio.sleep(1e6)
                finally:
                    await asyncio.sleep(8)
                    self.events.append(("tidied",))

        w = wire(Tidy).reset().advance(17.9)
        assert w.connection.names == []
        assert w.advance(0.1).connection.names == ["tidied", "close"]

    def test_code_that_ignores_it_is_left_behind_with_a_line_in_the_log(self, caplog):
        with wire(type("Deaf", (Worker,), {"patience": 9})) as w:
            w.reset().advance(20 - MOMENT)
            assert w.connection.names == []
            assert caplog.records == []
            w.advance(MOMENT)
            assert w.connection.names == ["close"]
            assert len(caplog.records) == 1
            assert "after it was cancelled" in caplog.text
            assert start(w, w.connection.wait_closed()).done()
            w.connection.release.set()
            assert w.settle().connection.names == ["close"]

    def test_assigned_while_it_runs(self):
        w = wire(Worker)
        w.connection.close_timeout = 5
        assert w.reset().advance(5).connection.names == ["close"]

    def test_none_is_no_limit(self):
        w = wire(Worker, close_timeout=None).reset().advance(1e6)
        assert w.connection.names == []
        w.connection.release.set()
        assert w.settle().connection.names == ["close"]

    def test_an_async_on_close_has_a_close_timeout_of_its_own(self):
        class Slow(Worker):
            async def on_close(self, reason):
                self.events.append(("close", reason))
                try:
                    await asyncio.sleep(1e6)
                finally:
                    self.events.append(("cancelled",))

        w = wire(Slow).reset().advance(20 - MOMENT)
        task = start(w, w.connection.wait_closed())
        assert w.connection.names == ["close"]
        w.advance(2 * MOMENT)
        assert w.connection.names == ["close", "cancelled"]
        assert task.done()

    def test_an_async_on_close_that_ignores_its_cancellation_is_left_behind(self, caplog):
        release = asyncio.Event()

        class Deaf(Closing):
            async def on_close(self, reason):
                while not release.is_set():
                    try:
                        await release.wait()
                    except asyncio.CancelledError:
                        self.events.append(("cancelled",))

        with wire(Deaf) as w:
            task = start(w, w.connection.wait_closed())
            w.reset().advance(20 - MOMENT)
            assert not task.done()
            w.advance(MOMENT)
            assert task.done()
            assert w.connection.names == ["connect", "cancelled"]
            assert "after it was cancelled" in caplog.text
            release.set()

    @pytest.mark.parametrize("name", ["on_read", "on_eof"])
    def test_a_callback_that_starts_after_the_end_is_bounded_too(self, name):
        class Late(Closing):
            framer = b"\n"

            def on_read(self, message):
                super().on_read(message)
                if message == b"1":
                    self.pause_reading()

        async def hang(*args):
            await asyncio.sleep(1e6)

        w = wire(Late).feed(b"1\n2\n")
        if name == "on_eof":
            w.eof()
        setattr(w.connection, name, hang)
        w.reset()
        w.connection.write(b"x")
        w.advance(21)
        assert w.connection.names[-1] == "close"

    def test_a_spawned_task_is_cancelled_at_once_and_bounded(self):
        cancels = []
        release = asyncio.Event()

        async def deaf():
            while not release.is_set():
                try:
                    await release.wait()
                except asyncio.CancelledError:
                    cancels.append(1)

        with wire(Closing) as w:
            w.connection.spawn(deaf())
            w.settle().reset()
            assert cancels == [1]
            w.advance(20)
            assert w.connection.names == ["connect", "close"]
            release.set()

    def test_slot_and_socket_are_freed_at_once(self):
        """A connection that is lost frees fd and slot at once."""
        w = wire(Worker).reset()
        assert w._near._is_closed
        assert w.connection.names == []

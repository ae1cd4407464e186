"""The wheel behind the deadlines of connections, and the clock that it reads."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trews.testing import VirtualLoop
from trews.timers import Wheel, clock_of, wheel_of


class Entry:
    """What a wheel holds: notes when it was asked, and answers with the next of its deadlines."""

    wheel_slot = 0.0

    def __init__(self, *dues):
        self.dues = list(dues)
        self.asked = []

    def on_deadline(self, now):
        self.asked.append(now)
        while self.dues and self.dues[0] <= now:
            self.dues.pop(0)
        return self.dues[0] if self.dues else 0.0


class CoarseLoop(VirtualLoop):
    """A virtual loop with slots as on the real clock."""

    deadline_granularity = 0.1


class TestWheel:
    """Never early, late by at most 250 ms; exact under the virtual clock."""

    @given(st.lists(st.floats(0.001, 500), min_size=1, max_size=30))
    def test_never_early_and_hardly_late(self, delays):
        loop = CoarseLoop()
        wheel = Wheel(loop)
        now = loop.time()
        entries = [Entry(now + delay) for delay in delays]
        for entry in entries:
            wheel.arm(entry, entry.dues[0])
        loop.advance(501)
        for entry, delay in zip(entries, delays, strict=True):
            assert entry.dues == []
            assert now + delay <= entry.asked[-1] <= now + delay + 0.25
        loop.close()

    def test_exact_under_the_virtual_clock(self):
        loop = VirtualLoop()
        wheel = Wheel(loop)
        entry = Entry(loop.time() + 1.2345)
        due = entry.dues[0]
        wheel.arm(entry, due)
        loop.advance(10)
        assert entry.asked == [due]
        loop.close()

    @pytest.mark.parametrize("cls", [VirtualLoop, CoarseLoop])
    def test_a_later_deadline_is_armed_again(self, cls):
        loop = cls()
        wheel = Wheel(loop)
        now = loop.time()
        entry = Entry(now + 1, now + 5, now + 9)
        wheel.arm(entry, now + 1)
        loop.advance(20)
        assert len(entry.asked) == 3
        loop.close()

    def test_arming_later_than_it_is_armed_changes_nothing(self):
        loop = VirtualLoop()
        wheel = Wheel(loop)
        now = loop.time()
        entry = Entry()
        wheel.arm(entry, now + 1)
        wheel.arm(entry, now + 5)
        loop.advance(10)
        assert entry.asked == [now + 1]
        loop.close()

    def test_arming_earlier_moves_it(self):
        loop = VirtualLoop()
        wheel = Wheel(loop)
        now = loop.time()
        entry = Entry()
        wheel.arm(entry, now + 5)
        wheel.arm(entry, now + 1)
        loop.advance(10)
        assert entry.asked == [now + 1]
        loop.close()

    def test_disarm(self):
        loop = VirtualLoop()
        wheel = Wheel(loop)
        now = loop.time()
        entries = [Entry() for _ in range(3)]
        for entry in entries:
            wheel.arm(entry, now + 1)
        wheel.disarm(entries[1])
        wheel.disarm(entries[1])
        loop.advance(10)
        assert [len(entry.asked) for entry in entries] == [1, 0, 1]
        loop.close()

    def test_an_empty_wheel_leaves_no_timer_in_the_loop(self):
        loop = VirtualLoop()
        wheel = Wheel(loop)
        entry = Entry()
        wheel.arm(entry, loop.time() + 100)
        wheel.disarm(entry)
        before = loop.time()
        loop.call_soon(loop.stop)
        loop.run_forever()
        assert loop.time() == before
        assert [handle for handle in loop._scheduled if not handle.cancelled()] == []
        loop.close()

    def test_one_that_disarms_another_of_its_slot(self):
        loop = VirtualLoop()
        wheel = Wheel(loop)
        now = loop.time()
        entries = [Entry() for _ in range(2)]

        class Jealous(Entry):
            def on_deadline(self, now):
                for entry in entries:
                    wheel.disarm(entry)
                return super().on_deadline(now)

        jealous = [Jealous() for _ in range(2)]
        for entry in (jealous[0], *entries, jealous[1]):
            wheel.arm(entry, now + 1)
        loop.advance(5)
        assert [entry.asked for entry in entries] == [[], []]
        later = Entry()
        wheel.arm(later, now + 10)
        loop.advance(10)
        assert later.asked == [now + 10]
        loop.close()

    def test_there_is_one_a_loop(self):
        one, other = VirtualLoop(), VirtualLoop()
        assert wheel_of(one) is wheel_of(one)
        assert wheel_of(one) is not wheel_of(other)
        one.close()
        other.close()

    def test_it_does_not_keep_its_loop_alive(self):
        loop = VirtualLoop()
        wheel_of(loop).arm(Entry(), loop.time() + 100)
        loop.close()
        ref = weakref.ref(loop)
        del loop
        gc.collect()
        assert ref() is None


def test_the_clock_of_any_loop():
    ours, stock = VirtualLoop(), asyncio.SelectorEventLoop()
    assert clock_of(ours).tick == ours.time()
    before = stock.time()
    assert clock_of(stock).tick >= before
    ours.close()
    stock.close()

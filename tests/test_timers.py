"""Timers for users: `soon`, `after` and `every`. The wheel behind deadlines is in tests/connection/test_wheel.py."""

from __future__ import annotations

import asyncio
import contextvars
from itertools import pairwise

import pytest

import trews
from trews.testing import VirtualLoop, run


class Log(list):
    """Notes `(what, seconds since the start)`."""

    def __init__(self, loop=None):
        self.loop = loop or asyncio.get_running_loop()
        self.began = self.loop.time()

    def note(self, what="tick"):
        self.append((what, round(self.loop.time() - self.began, 6)))

    async def slow(self, what, seconds):
        self.note(what)
        await asyncio.sleep(seconds)


class TestSoon:
    def test_in_the_next_turn_in_order(self):
        async def main():
            seen = []
            for number in range(3):
                trews.soon(seen.append, number)
            assert seen == []
            await asyncio.sleep(0)
            return seen

        assert run(main()) == [0, 1, 2]

    def test_async(self):
        async def main():
            log = Log()
            trews.soon(log.slow, "soon", 1)
            await asyncio.sleep(2)
            return log

        assert run(main()) == [("soon", 0)]

    def test_cancel(self):
        async def main():
            seen = []
            timer = trews.soon(seen.append, 1)
            assert timer.is_active
            timer.cancel()
            assert not timer.is_active
            await asyncio.sleep(1)
            return seen

        assert run(main()) == []


class TestAfter:
    def test_once_and_never_earlier(self):
        async def main():
            log = Log()
            timer = trews.after(5, log.note, "five")
            await asyncio.sleep(4.99)
            assert timer.is_active
            await asyncio.sleep(100)
            assert not timer.is_active
            return log

        assert run(main()) == [("five", 5)]

    def test_in_order_of_time_then_of_asking(self):
        async def main():
            seen = []
            for seconds, what in ((3, "c"), (1, "a"), (2, "b"), (3, "d"), (0, "now")):
                trews.after(seconds, seen.append, what)
            await asyncio.sleep(10)
            return seen

        assert run(main()) == ["now", "a", "b", "c", "d"]

    def test_zero_is_the_next_turn(self):
        async def main():
            seen = []
            trews.after(0, seen.append, 1)
            assert seen == []
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            return seen

        assert run(main()) == [1]

    @pytest.mark.parametrize("when", [0, 4.99])
    def test_cancel_before(self, when):
        async def main():
            seen = []
            timer = trews.after(5, seen.append, 1)
            await asyncio.sleep(when)
            timer.cancel()
            timer.cancel()
            await asyncio.sleep(10)
            return seen

        assert run(main()) == []

    def test_cancel_stops_an_async_function_that_runs(self):
        async def main():
            seen = []

            async def slow():
                try:
                    await asyncio.sleep(1e6)
                finally:
                    seen.append("stopped")

            timer = trews.after(1, slow)
            await asyncio.sleep(2)
            assert timer.is_active
            timer.cancel()
            await asyncio.sleep(0)
            return seen

        assert run(main()) == ["stopped"]

    def test_cancel_after_it_has_fired_is_harmless(self):
        async def main():
            timer = trews.after(1, int)
            await asyncio.sleep(2)
            timer.cancel()

        run(main())

    def test_it_may_cancel_itself(self):
        async def main():
            seen = []

            async def work():
                timer.cancel()
                await asyncio.sleep(1)
                seen.append("went on")

            timer = trews.after(1, work)
            await asyncio.sleep(5)
            return seen

        assert run(main()) == ["went on"]

    def test_an_error_is_logged(self, caplog):
        async def main():
            trews.after(1, int, "not a number")
            await asyncio.sleep(2)

        run(main())
        (record,) = caplog.records
        assert record.exc_info[0] is ValueError
        assert "int" in record.getMessage()

    def test_an_error_of_an_async_one_is_logged(self, caplog):
        async def fail():
            await asyncio.sleep(1)
            raise ValueError("oops")

        async def main():
            trews.after(1, fail)
            await asyncio.sleep(3)

        run(main())
        assert [record.exc_info[0] for record in caplog.records] == [ValueError]

    @pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
    def test_exits_are_not_swallowed(self, error):
        def fail():
            raise error

        loop = VirtualLoop()

        async def main():
            trews.after(1, fail)
            await asyncio.sleep(10)

        task = loop.create_task(main())
        with pytest.raises(error):
            loop.run_until_complete(task)
        loop.run_until_complete(task)
        loop.close()


class TestEvery:
    """Monotonic, drift-free; an async `fn` never overlaps itself; `every(0)` is every turn."""

    def test_first_in_one_period(self):
        async def main():
            log = Log()
            timer = trews.every(2, log.note)
            await asyncio.sleep(7)
            timer.cancel()
            await asyncio.sleep(7)
            return log

        assert run(main()) == [("tick", 2), ("tick", 4), ("tick", 6)]

    def test_now(self):
        async def main():
            log = Log()
            timer = trews.every(2, log.note, now=True)
            assert log == []
            await asyncio.sleep(5)
            timer.cancel()
            return log

        assert run(main()) == [("tick", 0), ("tick", 2), ("tick", 4)]

    def test_arguments(self):
        async def main():
            log = Log()
            timer = trews.every(1, log.note, "tock")
            await asyncio.sleep(1)
            timer.cancel()
            return log

        assert run(main()) == [("tock", 1)]

    def test_no_drift_over_an_hour(self):
        async def main():
            log = Log()
            timer = trews.every(0.1, log.note)
            await asyncio.sleep(3600.05)
            timer.cancel()
            return log

        log = run(main())
        assert len(log) == 36_000
        assert log[-1] == ("tick", 3600)

    def test_an_async_function_never_overlaps_itself(self):
        async def main():
            log = Log()
            timer = trews.every(1, log.slow, "tick", 2.5)
            await asyncio.sleep(10.1)
            timer.cancel()
            await asyncio.sleep(0)
            return log

        # Due at 1, 2, 3 …: those that fell into the call are left out, the grid stays.
        assert run(main()) == [("tick", 1), ("tick", 4), ("tick", 7), ("tick", 10)]

    def test_an_async_function_that_takes_exactly_a_period(self):
        async def main():
            log = Log()
            timer = trews.every(1, log.slow, "tick", 1)
            await asyncio.sleep(4.5)
            timer.cancel()
            await asyncio.sleep(0)
            return [at for _, at in log]

        times = run(main())
        assert times[0] == 1
        assert all(later - earlier >= 1 for earlier, later in pairwise(times))
        assert set(times) <= {1, 2, 3, 4}

    def test_cancel_inside_itself(self):
        async def main():
            seen = []

            def work():
                seen.append(1)
                if len(seen) == 3:
                    timer.cancel()

            timer = trews.every(1, work)
            await asyncio.sleep(10)
            assert not timer.is_active
            return seen

        assert run(main()) == [1, 1, 1]

    def test_cancel_inside_itself_async(self):
        async def main():
            seen = []

            async def work():
                timer.cancel()
                await asyncio.sleep(1)
                seen.append("went on")

            timer = trews.every(1, work)
            await asyncio.sleep(10)
            return seen

        assert run(main()) == ["went on"]

    def test_cancel_stops_a_call_that_runs(self):
        async def main():
            log = Log()
            timer = trews.every(1, log.slow, "tick", 1e6)
            await asyncio.sleep(5)
            timer.cancel()
            await asyncio.sleep(5)
            return log

        assert run(main()) == [("tick", 1)]

    @pytest.mark.parametrize("is_async", [False, True])
    def test_an_error_is_logged_and_the_timer_goes_on(self, is_async, caplog):
        async def main():
            log = Log()

            def fail():
                log.note()
                raise ValueError("oops")

            async def fail_async():
                fail()

            timer = trews.every(1, fail_async if is_async else fail)
            await asyncio.sleep(3.5)
            timer.cancel()
            return log

        assert run(main()) == [("tick", 1), ("tick", 2), ("tick", 3)]
        assert [record.exc_info[0] for record in caplog.records] == [ValueError] * 3

    def test_zero_is_every_turn(self):
        async def main():
            seen = []
            timer = trews.every(0, seen.append, 1)
            counts = []
            for _ in range(5):
                await asyncio.sleep(0)
                counts.append(len(seen))
            timer.cancel()
            await asyncio.sleep(0)
            return counts, len(seen)

        counts, after = run(main())
        assert counts == list(range(counts[0], counts[0] + 5))
        assert after == counts[-1]

    def test_zero_async_does_not_overlap(self):
        async def main():
            log = Log()
            timer = trews.every(0, log.slow, "tick", 2)
            await asyncio.sleep(5)
            timer.cancel()
            await asyncio.sleep(0)
            return log

        assert run(main()) == [("tick", 0), ("tick", 2), ("tick", 4)]

    def test_zero_does_not_starve_the_others(self):
        async def main():
            timer = trews.every(0, int)
            try:
                async with asyncio.timeout(None):
                    reader = await trews.connect("memory:echo")
                    await reader.send(b"x")
                    answer = await reader.read()
                    reader.close()
                    await reader.wait_closed()
                    return answer
            finally:
                timer.cancel()

        async def echo(conn):
            async for data in conn:
                await conn.send(data)

        async def served():
            async with trews.Server(echo).listen("memory:echo"):
                return await main()

        assert run(served()) == b"x"


class LateLoop(VirtualLoop):
    """A loop whose turns may be late: `late` is added to its time."""

    late = 0.0

    def time(self):
        return super().time() + self.late


class TestLateness:
    """Late turns do not shift what comes after."""

    def test_a_late_call_does_not_move_the_grid(self):
        loop = LateLoop()
        log = Log(loop)

        def work():
            log.note()
            if len(log) == 2:
                loop.late += 0.7  # the loop was busy

        async def main():
            timer = trews.every(1, work)
            await asyncio.sleep(5.5)
            timer.cancel()

        loop.run_until_complete(main())
        loop.close()
        assert [at for _, at in log] == [1, 2, 3, 4, 5]

    def test_calls_that_could_not_be_made_in_time_are_left_out(self):
        loop = LateLoop()
        log = Log(loop)

        def work():
            log.note()
            if len(log) == 2:
                loop.late += 3.5

        async def main():
            timer = trews.every(1, work)
            await asyncio.sleep(8.5)
            timer.cancel()

        loop.run_until_complete(main())
        loop.close()
        assert [at for _, at in log] == [1, 2, 6, 7, 8]


class TestMisuse:
    @pytest.mark.parametrize(
        "call",
        [lambda: trews.soon(int), lambda: trews.after(1, int), lambda: trews.every(1, int)],
        ids=["soon", "after", "every"],
    )
    def test_outside_a_running_loop_they_name_on_start(self, call):
        with pytest.raises(RuntimeError, match=r"Server\.on_start"):
            call()

    @pytest.mark.parametrize("seconds", [-1, -0.001, float("nan"), float("inf"), float("-inf")])
    @pytest.mark.parametrize("make", [trews.after, trews.every])
    def test_impossible_times(self, make, seconds):
        async def main():
            make(seconds, int)

        with pytest.raises(ValueError, match="finite number of seconds"):
            run(main())

    @pytest.mark.parametrize("make", [trews.after, trews.every])
    def test_no_number(self, make):
        async def main():
            make("1", int)

        with pytest.raises(TypeError):
            run(main())


class TestTimer:
    def test_repr(self):
        async def main():
            def work(): ...

            timer = trews.after(1, work)
            before = repr(timer)
            timer.cancel()
            return before, repr(timer)

        before, after = run(main())
        assert "work active" in before
        assert "work done" in after

    def test_it_runs_in_the_context_of_who_asked(self):
        variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")

        async def main():
            seen = []

            async def look():
                seen.append(variable.get())

            variable.set("mine")
            trews.after(1, lambda: seen.append(variable.get()))
            trews.after(2, look)
            variable.set("changed")
            await asyncio.sleep(3)
            return seen

        assert run(main()) == ["mine", "mine"]

    def test_whatever_gives_an_awaitable(self):
        async def main():
            log = Log()
            trews.after(1, lambda: log.slow("lambda", 1))
            trews.after(2, lambda: asyncio.ensure_future(log.slow("future", 1)))
            await asyncio.sleep(4)
            return log

        assert run(main()) == [("lambda", 1), ("future", 2)]

    def test_on_start_of_a_server_is_the_place(self):
        class Clock(trews.Server):
            def on_start(self):
                self.timer = trews.every(1, self.broadcast, b"tick ")

            def on_stop(self):
                self.timer.cancel()

        class Listener(trews.Connection): ...

        async def main():
            async with Clock(Listener).listen("memory:clock"):
                async with trews.connect("memory:clock") as conn:
                    await asyncio.sleep(2.5)
                    return await conn.read()

        assert run(main()) == b"tick tick "


@pytest.mark.parametrize("seconds", [print, "1", None, True])
def test_a_time_that_is_none_is_told_where_it_stands(seconds):
    async def main():
        for call in (trews.after, trews.every):
            with pytest.raises(TypeError, match="a time is a number of seconds, and comes before the function"):
                call(seconds, print)

    run(main())

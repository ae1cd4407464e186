"""Happy Eyeballs, on the virtual clock, with attempts that are told what to do."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress

import pytest

from tests.clients import LOOPS
from tests.servers import virtually
from trews import testing
from trews.testing import no_leaks
from trews.transport.eyeballs import DELAY, first_of, interleave

HANGS = 1e9


class Network:
    """Addresses, each with what happens there: `(seconds, True or False)`; False is a refusal."""

    def __init__(self, **fates):
        self.fates = fates
        self.started = []  # (seconds since the beginning, name)
        self.open = set()
        self.running = set()
        self.begin = asyncio.get_running_loop().time()

    def elapsed(self):
        return asyncio.get_running_loop().time() - self.begin

    async def attempt(self, name):
        self.started.append((self.elapsed(), name))
        self.running.add(name)
        try:
            seconds, answers = self.fates[name]
            if seconds:
                await asyncio.sleep(seconds)
            if not answers:
                raise ConnectionRefusedError(name)
            self.open.add(name)
            return name
        finally:
            self.running.discard(name)

    async def first(self):
        return await first_of(list(self.fates), self.attempt, self.open.remove)


# what happens at a, b, c; who wins, when; when each began
TABLE = [
    ("one answers", {"a": (1, True)}, "a", 1, [0]),
    ("one refuses", {"a": (1, False)}, None, 1, [0]),
    ("the first answers at once", {"a": (0, True), "b": (0, True)}, "a", 0, [0]),
    ("the first answers in time", {"a": (0.2, True), "b": (0, True)}, "a", 0.2, [0]),
    ("all refuse at once", {"a": (0, False), "b": (0, False), "c": (0, False)}, None, 0, [0, 0, 0]),
    ("all refuse late", {"a": (1, False), "b": (1, False)}, None, 1.25, [0, 0.25]),
    ("a refusal starts the next at once", {"a": (0.1, False), "b": (0.1, True)}, "b", 0.2, [0, 0.1]),
    ("the first hangs, the second wins", {"a": (HANGS, True), "b": (0.1, True)}, "b", 0.35, [0, 0.25]),
    ("the first is slow and wins all the same", {"a": (0.3, True), "b": (0.1, True)}, "a", 0.3, [0, 0.25]),
    ("the second refuses, the third wins", {"a": (HANGS, 1), "b": (0.1, 0), "c": (0, 1)}, "c", 0.35, [0, 0.25, 0.35]),
    ("the last is the slow one", {"a": (5, True), "b": (0, False), "c": (0, False)}, "a", 5, [0, 0.25, 0.25]),
    ("both succeed in one turn", {"a": (0.3, True), "b": (0.05, True)}, "a", 0.3, [0, 0.25]),
    ("the last chance is waited for", {"a": (0, False), "b": (9, True)}, "b", 9, [0, 0]),
    ("nobody is there to ask", {}, None, 0, []),
]


@pytest.mark.parametrize(("fates", "winner", "seconds", "starts"), [r[1:] for r in TABLE], ids=[r[0] for r in TABLE])
def test_table(fates, winner, seconds, starts):
    async def main():
        network = Network(**fates)
        assert await network.first() == winner
        assert network.elapsed() == pytest.approx(seconds)
        assert [when for when, _ in network.started] == pytest.approx(starts)
        assert network.open == ({winner} if winner else set())
        assert not network.running

    testing.run(main())


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
@pytest.mark.parametrize("winner", ["a", "b", None])
def test_on_every_loop(loop, winner):
    async def main():
        answered = asyncio.get_running_loop().create_future()

        async def attempt(name):
            if name == winner:
                answered.set_result(None)
                return name
            if winner is None:
                raise OSError(name)
            await asyncio.get_running_loop().create_future()

        assert await first_of(["a", "b"] if winner != "b" else ["b", "a"], attempt, [].remove, 0.001) == winner

    with no_leaks(), asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())


@virtually
async def test_of_two_that_succeed_in_one_turn_the_first_is_kept_and_the_other_discarded():
    discarded = []
    go = asyncio.Event()

    async def attempt(name):
        await go.wait()
        return name

    task = asyncio.create_task(first_of(["a", "b", "c"], attempt, discarded.append))
    await asyncio.sleep(1)
    go.set()
    assert await task == "a"
    assert sorted(discarded) == ["b", "c"]


@virtually
async def test_cancelled_in_the_middle_it_cancels_all_and_keeps_nothing():
    network = Network(a=(HANGS, True), b=(HANGS, True), c=(HANGS, True))
    task = asyncio.create_task(network.first())
    await asyncio.sleep(0.3)
    assert network.running == {"a", "b"}
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not network.running
    assert not network.open
    assert [name for _, name in network.started] == ["a", "b"]


@virtually
async def test_a_deadline_in_the_middle():
    network = Network(a=(HANGS, True), b=(1, False), c=(HANGS, True))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(5):
            await network.first()
    assert network.elapsed() == 5
    assert not network.running


@pytest.mark.parametrize("turn", range(8))
@pytest.mark.parametrize("count", [1, 2])
@virtually
async def test_cancelled_in_any_turn_around_success_it_leaves_nothing_open(turn, count):
    network = Network(**dict([("a", (HANGS, True)), ("b", (0, True))][-count:]))
    task = asyncio.create_task(network.first())
    await asyncio.sleep(DELAY if count == 2 else 0)
    for _ in range(turn):
        await asyncio.sleep(0)
    task.cancel()
    with suppress(asyncio.CancelledError):
        network.open.remove(await task)
    await asyncio.sleep(1)
    assert not network.open
    assert not network.running


@virtually
async def test_what_is_no_failure_of_the_network_is_raised_when_all_have_ended():
    network = Network(a=(HANGS, True), b=(0, True))

    async def attempt(name):
        if name == "b":
            raise ValueError("a mistake")
        return await network.attempt(name)

    with pytest.raises(ValueError, match="a mistake"):
        await first_of(["a", "b"], attempt, network.open.remove)
    assert not network.running


@virtually
async def test_the_delay_can_be_chosen():
    network = Network(a=(HANGS, True), b=(0, True))
    assert await first_of(["a", "b"], network.attempt, network.open.remove, 2) == "b"
    assert network.elapsed() == 2


def test_any_fates_at_all():
    """Nothing is left running or open; who wins has answered, and nobody's answer came earlier by more than a turn."""
    dice = random.Random(8305)

    async def main():
        fates = {
            str(n): (dice.choice([0, 0.1, 0.25, 0.3, 1, HANGS]), dice.random() < 0.4) for n in range(dice.randrange(9))
        }
        network = Network(**fates)
        try:
            async with asyncio.timeout(60):
                winner = await network.first()
        except TimeoutError:
            winner = None
            assert HANGS in {seconds for seconds, _ in fates.values()}
        assert network.open == ({winner} if winner else set())
        assert not network.running
        answers = [when + fates[name][0] for when, name in network.started if fates[name][1]]
        if winner:
            assert network.elapsed() == pytest.approx(min(answers))

    for _ in range(200):
        testing.run(main())


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("", ""),
        ("a", "a"),
        ("aaa", "aaa"),
        ("AAaa", "AaAa"),  # the family that comes first stays first: RFC 6724 has sorted them
        ("aaAA", "aAaA"),
        ("AAAa", "AaAA"),
        ("aAAAA", "aAAAA"),
    ],
)
def test_families_take_turns(given, expected):
    assert "".join(interleave(given, str.isupper)) == expected


def test_within_a_family_the_order_stays():
    assert interleave([1, 3, 5, 2, 4], lambda number: number % 2) == [1, 2, 3, 4, 5]

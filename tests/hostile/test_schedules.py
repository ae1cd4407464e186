"""Random schedules: whatever the peer, the clock, other tasks and callbacks do, in whatever order, a connection
is opened and closed once, its callbacks keep their order, what it delivers is the beginning of what was sent,
everything that waits is released, and nothing is left.

A failure prints the program, made as small as it gets. `make(seed)` makes it again.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from typing import Any

import pytest

import trews
from tests.hostile.observed import Log, Observer, handler_of
from tests.hostile.program import FRAMERS, KINDS, Program, make, shrink
from tests.hostile.world import ROUNDS, VIRTUAL, World, problems_of
from trews.handler import connection_class
from trews.testing import VirtualLoop, no_leaks, pair
from trews.timers import wheel_of

LOOPS: dict[str, Any] = {"trews": trews.EventLoop, "asyncio": asyncio.SelectorEventLoop}
try:
    import uvloop
except ImportError:  # no wheel for this system
    pass
else:
    LOOPS["uvloop"] = uvloop.new_event_loop

REAL = [
    World(f"{name}-{'tcp' if is_tcp else 'memory'}", factory, is_tcp)
    for name, factory in LOOPS.items()
    for is_tcp in (False, True)
]


def hold(world: World, seeds: range) -> None:
    """Run the programs of these seeds; fail with the smallest form of the first that fails."""
    with no_leaks():
        for seed in seeds:
            problems = problems_of(world, make(seed))
            if problems:
                small = shrink(make(seed), lambda program: bool(problems_of(world, program)), 150)
                listed = "\n".join(problems_of(world, small) or problems)
                pytest.fail(f"on {world}:\n{listed}\n{small}", pytrace=False)


@pytest.mark.parametrize("start", range(0, 400, 100))
def test_schedules_hold_on_virtual_time(start: int) -> None:
    hold(VIRTUAL, range(start, start + 100))


@pytest.mark.parametrize("world", REAL, ids=str)
def test_schedules_hold_on_every_loop(world: World) -> None:
    hold(world, range(15))


def once(kind: str, steps: tuple[Any, ...], framer: str = "three", finale: str = "eof", **scripts: Any) -> Program:
    calls: dict[str, Any] = {name: (script,) * 3 for name, script in scripts.items()}
    return Program(0, kind, framer, {"close_timeout": 1.0}, (b"abc",) * 5, b"", calls, steps, finale)


# What failed once, by hand or by seed.
FAILED_ONCE = {
    "abort in the first step of an async callback": once(
        "async", (("feed", 3), ("advance", 0.1)), on_read=(("abort",), ("hang",)), finale="abort"
    ),
    "abort in the first step of a handler": once("handler", (), on_connect=(("abort",), ("hang",)), finale="abort"),
    "too much written in the first step of an async callback": replace(
        once("async", (("clog",), ("feed", 3)), on_read=(("write", 200_000), ("write", 1), ("hang",)), finale="abort"),
        settings={"close_timeout": 1.0, "write_limit": 10},
    ),
    "waiting for the end in the first step": once("async", (("feed", 3),), on_read=(("close",), ("wait_closed",))),
    "code that hangs for each message after a loss": once(
        "async", (("feed", 15), ("turn",), ("reset",), ("write", 1), ("write", 1)), on_read=(("hang",),), finale="abort"
    ),
    "messages that wait when the connection is lost": once(
        "async", (("feed", 15), ("turn",), ("reset",), ("advance", 0.1)), on_read=(("sleep", 0.1),)
    ),
    "closed right after a reset": once("deaf", (("reset",), ("close",)), finale="close"),
    "closed for writing right after a reset": once("deaf", (("reset",), ("close_write",)), finale="close"),
}


@pytest.mark.parametrize("world", [VIRTUAL, *REAL], ids=str)
@pytest.mark.parametrize("program", FAILED_ONCE.values(), ids=FAILED_ONCE)
def test_what_failed_once_holds(world: World, program: Program) -> None:
    with no_leaks():
        assert problems_of(world, program) == []


@pytest.mark.slow
@pytest.mark.parametrize("start", range(1000, 13_000, 2000))
def test_thousands_of_schedules_hold_on_virtual_time(start: int) -> None:
    hold(VIRTUAL, range(start, start + 2000))


@pytest.mark.slow
@pytest.mark.parametrize("start", range(1000, 1600, 100))
@pytest.mark.parametrize("world", REAL, ids=str)
def test_hundreds_of_schedules_hold_on_every_loop(world: World, start: int) -> None:
    hold(world, range(start, start + 100))


def test_the_programs_reach_every_end_and_every_callback() -> None:
    """Else the schedules would prove little."""
    from tests.hostile.world import Run

    seen: set[str] = set()
    for seed in range(300):
        run = Run(VIRTUAL, make(seed))
        with Log(), asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(run.main())
        seen |= {*run.observer.calls, type(run.connection.reason).__name__, run.program.kind, run.program.framer}
    ends = """ClosedByPeer ClosedLocally ConnectionReset Aborted WriteBufferFull WriteStalled IdleTooLong MessageTooSlow
        MessageTooLong FramingError IncompleteMessage"""
    calls = "on_connect on_read on_eof on_close on_full on_drain on_stop on_error"
    assert {*ends.split(), *calls.split(), *KINDS, *FRAMERS} <= seen


def test_a_failing_program_is_made_small() -> None:
    def fails(program: Program) -> bool:
        return ("eof",) in program.steps and "on_read" in program.scripts

    seed = next(seed for seed in range(1000) if fails(make(seed)))
    small = shrink(make(seed), fails)
    assert small.steps == (("eof",),)
    assert small.scripts == {"on_read": ((),) * len(small.scripts["on_read"])}
    assert not small.messages
    assert not small.settings


# -- two connections, joined


LINK_STEPS = ("clog", "unclog", "chunk", "cut")


async def _run_pair(seed: int) -> list[str]:
    rng = random.Random(seed)
    kinds = [rng.choice(("plain", "async")) for _ in range(2)]
    programs = [
        replace(make(rng.randrange(1 << 30)), kind=kind, framer="raw", messages=(), garbage=b"") for kind in kinds
    ]
    programs = [
        program if program.kind == "async" else replace(program, scripts=_plain_only(program)) for program in programs
    ]
    observers = [Observer(program) for program in programs]
    problems: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: problems.append(f"the loop was told {context}"))
    classes = [
        connection_class(handler_of(observer), {**observer.program.settings, "framer": None}) for observer in observers
    ]
    steps = [
        (i, step)
        for i in (0, 1)
        for step in programs[i].steps
        if step[0] not in ("feed", "eof", "reset", "read", "peek")
    ]
    rng.shuffle(steps)
    async with pair(*classes, capacity=rng.choice((64, 1000, 65536))) as link:
        connections = (link.a, link.b)
        for number, (side, step) in enumerate(steps):
            if step[0] in ("clog", "unclog"):
                getattr(link, step[0])()
            elif step[0] == "advance":
                await asyncio.sleep(step[1])
            elif step[0] in ("drain", "file", "wait_closed"):
                observers[side].tasks.append(loop.create_task(_waiting(observers[side], step)))
            elif step[0] not in ("take", "turn", "framer", "cancel"):
                observers[side].act(step)
            if rng.random() < 0.05:
                link.chunk = rng.choice((None, 64, 1000))
            if rng.random() < 0.01:
                link.cut()
            for _ in range(number % 4):
                await asyncio.sleep(0)
        link.chunk = None
        link.unclog()
        for connection in connections:
            connection.resume_reading()
        for observer in rng.sample(observers, 2):
            observer.act(("close",))
            await asyncio.sleep(rng.choice((0, 0, 1)))
        for _ in range(ROUNDS):
            if all(connection._is_ended for connection in connections):
                break
            await asyncio.sleep(1)
        else:
            problems.append(f"never ended: {connections}")
    for here, there in (observers, observers[::-1]):
        here.check(b"".join(there.delivered), bytes(there.written), is_reset=True)
        problems += here.problems
    tasks = [task for observer in observers for task in observer.tasks]
    await asyncio.sleep(30)  # what lingers
    problems += [f"left waiting: {task}" for task in tasks if not task.done()]
    left = asyncio.all_tasks() - {asyncio.current_task()}  # type: ignore[arg-type]
    problems += [f"left: {task}" for task in left - set(tasks)]
    if wheel_of(loop)._count:
        problems.append("a deadline is left")
    return problems


def _plain_only(program: Program) -> dict[str, Any]:
    """Scripts without what only async code can do."""
    waits = {"sleep", "read", "peek", "drain", "file", "send", "wait_closed", "stubborn", "hang"}
    return {
        name: tuple(tuple(action for action in script if action[0] not in waits) for script in scripts)
        for name, scripts in program.scripts.items()
    }


async def _waiting(observer: Observer, step: tuple[Any, ...]) -> None:
    waits = observer.act(step)
    if waits is not None:
        await waits


def hold_pairs(seeds: range) -> None:
    for seed in seeds:
        with Log() as log:
            problems = trews.testing.run(_run_pair(seed))
        problems += [
            record.getMessage() for record in log.records if "after it was cancelled" not in record.getMessage()
        ]
        assert not problems, f"pair of seed {seed}:\n" + "\n".join(problems)


def test_joined_connections_hold() -> None:
    hold_pairs(range(150))


@pytest.mark.slow
@pytest.mark.parametrize("start", range(1000, 9000, 2000))
def test_thousands_of_joined_connections_hold(start: int) -> None:
    hold_pairs(range(start, start + 2000))

"""Programs of operations on one connection: made from a seed, interpreted by a `World`, shrunk when they fail.

A program is data: settings, a script for each callback, and steps that the peer, the clock and other tasks take.
`observed.py` has the connection that runs the scripts and notes what happens to it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from trews.framing import JSONLines, Line, Netstring, Prefixed, Varint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Action = tuple[Any, ...]
Script = tuple[Action, ...]

FRAMERS: dict[str, Any] = {
    "raw": None,
    "three": 3,
    "line": Line(),
    "delimiter": b"||",
    "netstring": Netstring(),
    "prefixed": Prefixed("!H"),
    "varint": Varint(),
    "json": JSONLines(),
}

# plain and async callbacks; a handler function; a Connection on which others call read(); one that ignores input
KINDS = ("plain", "async", "handler", "reader", "deaf")

_CALLBACKS = ("on_connect", "on_read", "on_eof", "on_close", "on_full", "on_drain", "on_stop", "on_error")


@dataclass(frozen=True)
class Program:
    """What is done to one connection, and what its own code does."""

    seed: int
    kind: str
    framer: str
    settings: dict[str, Any]
    messages: tuple[Any, ...]  # what the peer sends, if it gets so far
    garbage: bytes  # instead of messages
    scripts: dict[str, tuple[Script, ...]]  # of the first, second ... call of each callback
    steps: tuple[Action, ...]
    finale: str
    capacity: int = 65536
    chunk: int | None = None

    def stream(self) -> bytes:
        """The bytes that the peer sends."""
        framer = FRAMERS[self.framer]
        if self.garbage:
            return self.garbage
        if framer is None or framer == 3:
            return b"".join(self.messages)
        if framer == b"||":
            return b"".join(message + b"||" for message in self.messages)
        return b"".join(framer.encode(message) for message in self.messages)

    def __str__(self) -> str:
        lines = [f"seed {self.seed}: {self.kind}, framer {self.framer}, {self.settings}, finale {self.finale}"]
        lines.append(f"  capacity {self.capacity}, chunk {self.chunk}, garbage {self.garbage!r}")
        lines.append(f"  messages {self.messages!r}")
        lines += [f"  {name}: {scripts}" for name, scripts in self.scripts.items()]
        lines += [f"  {number:3}. {step}" for number, step in enumerate(self.steps)]
        return "\n".join(lines)


def make(seed: int) -> Program:
    """The program of a seed."""
    rng = random.Random(seed)
    kind = rng.choice(KINDS)
    framer = rng.choice(list(FRAMERS))
    garbage = rng.randbytes(rng.randint(1, 200)) if rng.random() < 0.15 else b""
    messages = tuple(_message(rng, framer) for _ in range(rng.randint(0, 25)))
    scripts = {}
    for name in _CALLBACKS:
        if rng.random() < (0.6 if name == "on_read" else 0.3):
            is_async = kind in ("async", "handler") and name not in ("on_full", "on_drain")
            scripts[name] = tuple(_script(rng, is_async) for _ in range(rng.randint(1, 4)))
    return Program(
        seed=seed,
        kind=kind,
        framer=framer,
        settings=_settings(rng),
        messages=messages,
        garbage=garbage,
        scripts=scripts,
        steps=_steps(rng),
        finale=rng.choice(("eof", "eof", "reset", "close", "abort", "stop")),
        capacity=rng.choice((64, 1000, 65536, 65536)),
        chunk=rng.choice((None, None, 1, 7)),
    )


def _message(rng: random.Random, framer: str) -> Any:
    if framer == "three":
        return rng.randbytes(3)
    if framer == "json":
        return rng.choice(({"n": rng.randint(0, 9)}, [1, None], "text", 5, ""))
    size = rng.choice((0, 1, 2, 5, 30, 300))
    if framer == "raw":
        size = max(size, 1)
    return bytes(rng.choices(b"abcdefgh", k=size))


def _settings(rng: random.Random) -> dict[str, Any]:
    found: dict[str, Any] = {"close_timeout": rng.choice((1.0, 5.0))}
    choices: dict[str, tuple[Any, ...]] = {
        "read_high": (0, 1, 10, 1000),
        "write_high": (0, 1, 100),
        "write_low": (0, 1, 50),
        "write_limit": (0, 10, 1000),
        "write_timeout": (1.0, 3.0),
        "message_timeout": (1.0, 3.0, None),
        "idle_timeout": (1.0, 4.0),
        "half_close": (True,),
        "max_message": (400, 20),
    }
    for name, values in choices.items():
        if rng.random() < 0.25:
            found[name] = rng.choice(values)
    return found


def _script(rng: random.Random, is_async: bool) -> Script:
    actions: list[Callable[[], Action]] = [
        lambda: ("write", rng.choice((1, 10, 500, 5000))),
        lambda: ("write", rng.choice((0, 1, 200_000))),
        lambda: ("pause",),
        lambda: ("resume",),
        lambda: ("spawn", rng.choice(("sleep", "read", "raise", "drain"))),
    ]
    rare: list[Callable[[], Action]] = [
        lambda: ("raise",),
        lambda: ("close",),
        lambda: ("abort",),
        lambda: ("close_write",),
        lambda: ("cancel",),
    ]
    if is_async:
        actions += [
            lambda: ("sleep", rng.choice((0, 0.5, 2.0, 20.0))),
            lambda: ("read", rng.choice((None, 0.5))),
            lambda: ("drain",),
            lambda: ("send", 100),
            lambda: ("file", rng.choice((0, 100, 100_000))),
            lambda: ("peek", rng.choice((1, 2)), rng.choice((None, 0.5))),
        ]
        rare += [lambda: ("wait_closed",), lambda: ("stubborn", 0.5), lambda: ("hang",)]
        if rng.random() < 0.1:  # it ends its connection, and goes on
            end = rng.choice((("close",), ("abort",), ("write", 5000), ("close_write",)))
            return end, rng.choice((("hang",), ("wait_closed",), ("stubborn", 0.5), ("read", None)))
    return tuple(rng.choice(rare if rng.random() < 0.08 else actions)() for _ in range(rng.randint(1, 3)))


# What is unlikely to come together by chance.
_TOGETHER: tuple[tuple[Action, ...], ...] = (
    (("feed", 50), ("pause",), ("feed", 50), ("turn",), ("reset",), ("write", 10), ("write", 10)),
    (("feed", 1000), ("eof",), ("reset",)),
    (("feed", 1000), ("turn",), ("turn",), ("turn",), ("reset",), ("advance", 0.1)),
    (("pause",), ("feed", 50), ("eof",), ("resume",)),
    (("close",), ("feed", 50), ("eof",)),
    (("clog",), ("write", 100_000), ("close",), ("advance", 0.5)),
    (("clog",), ("write", 100_000), ("close_write",), ("feed", 50), ("eof",)),
    (("read", None, None), ("feed", 50), ("cancel", 0), ("read", 0.3, None)),
    (("feed", 1000), ("stop",), ("feed", 1000)),
    (("eof",), ("write", 100_000), ("reset",), ("write", 10)),
)


def _steps(rng: random.Random) -> tuple[Action, ...]:
    steps: list[Action] = []
    for _ in range(rng.randint(1, 40)):
        steps += rng.choice(_TOGETHER) if rng.random() < 0.02 else (_step(rng),)
    return tuple(steps)


def _step(rng: random.Random) -> Action:
    feeds: list[Callable[[], Action]] = [lambda: ("feed", rng.choice((1, 2, 5, 50, 1000)))]
    often: list[Callable[[], Action]] = [
        lambda: ("advance", rng.choice((0.1, 0.5, 1.5))),
        lambda: ("pause",),
        lambda: ("resume",),
        lambda: ("clog",),
        lambda: ("unclog",),
        lambda: ("take",),
        lambda: ("write", rng.choice((1, 50, 3000))),
        lambda: ("write", rng.choice((0, 100, 100_000))),
        lambda: ("read", rng.choice((None, None, 0.3)), rng.choice((None, None, "raw", "three"))),
        lambda: ("cancel", rng.randint(0, 5)),
        lambda: ("drain",),
        lambda: ("file", rng.choice((1, 3000, 300_000))),
        lambda: ("peek", rng.choice((1, 2)), rng.choice((None, 0.3))),
        lambda: ("wait_closed",),
        lambda: ("spawn", rng.choice(("sleep", "read", "raise", "drain"))),
        lambda: ("turn",),
    ]
    rare: list[Callable[[], Action]] = [
        lambda: ("eof",),
        lambda: ("reset",),
        lambda: ("close",),
        lambda: ("abort",),
        lambda: ("close_write",),
        lambda: ("stop",),
        lambda: ("framer", rng.choice(list(FRAMERS))),
    ]
    number = rng.random()
    return rng.choice(feeds if number < 0.35 else often if number < 0.95 else rare)()


def shrink(program: Program, fails: Callable[[Program], bool], attempts: int = 400) -> Program:
    """A smaller program that fails too: drops what can be dropped, until nothing more can."""
    progress = True
    while progress and attempts:
        progress = False
        for candidate in _smaller(program):
            attempts -= 1
            if not attempts:
                break
            if fails(candidate):
                program, progress = candidate, True
                break
    return program


def _smaller(program: Program) -> Iterator[Program]:
    steps = program.steps
    for size in (len(steps) // 2, 4, 1):
        if size:
            for at in range(0, len(steps), size):
                yield replace(program, steps=steps[:at] + steps[at + size :])
    for name in program.scripts:
        yield replace(program, scripts={other: s for other, s in program.scripts.items() if other != name})
    for name in program.settings:
        yield replace(program, settings={other: v for other, v in program.settings.items() if other != name})
    for name, scripts in program.scripts.items():
        for at, script in enumerate(scripts):
            for index in range(len(script)):
                short = (*scripts[:at], script[:index] + script[index + 1 :], *scripts[at + 1 :])
                yield replace(program, scripts={**program.scripts, name: short})
    for at in range(len(program.messages)):
        yield replace(program, messages=program.messages[:at] + program.messages[at + 1 :])
    if program.capacity != 65536:
        yield replace(program, capacity=65536)
    if program.chunk is not None:
        yield replace(program, chunk=None)

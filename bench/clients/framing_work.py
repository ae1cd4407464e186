"""What framing costs: `framing_work.py FRAMER many|one SECONDS`. Prints names and numbers.

It is the engine itself, `trews.inbox.Inbox`, fed and emptied as a connection does it, without the connection: what
a message costs beyond the events is in the benchmark `raw`. Where bytes come from is no part of it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from struct import Struct
from typing import Any

PAYLOAD = b"a message of thirty-two bytes..."
READ = 64 * 1024  # bytes that a full read brings
LIMIT = 64 * 1024  # max_message


def cases() -> dict[str, tuple[Any, Any]]:
    """A framer and a message for it, by name."""
    from trews import framing

    return {
        "Line": (framing.Line(), PAYLOAD),
        "Line-utf8": (framing.Line(encoding="utf-8"), PAYLOAD.decode()),
        "Delimiter": (framing.Delimiter(b"\r\n\r\n"), PAYLOAD),
        "Exactly": (framing.Exactly(len(PAYLOAD)), PAYLOAD),
        "Packed": (framing.Packed(Struct("!IIQQQ")), (1, 2, 3, 4, 5)),
        "Netstring": (framing.Netstring(), PAYLOAD),
        "Prefixed": (framing.Prefixed("!H"), PAYLOAD),
        "Varint": (framing.Varint(), PAYLOAD),
        "JSONLines": (framing.JSONLines(), {"name": "a message", "n": 12}),
    }


def engine(name: str, is_many: bool) -> tuple[Callable[[], None], int]:
    """One read's worth of work, and how many messages are in it."""
    from trews.inbox import NEED, Inbox

    framer, message = cases()[name]
    wire = framer.encode(message)
    messages = READ // len(wire) if is_many else 1
    data = wire * messages
    inbox = Inbox()

    def work() -> None:
        inbox.feed(data)
        while inbox.take(framer, LIMIT) is not NEED:
            pass

    inbox.feed(wire)
    if inbox.take(framer, LIMIT) != message:
        raise SystemExit(f"the framer {name} does not give back what it was given")
    return work, messages


def split(is_many: bool) -> tuple[Callable[[], None], int]:
    """The least that Python can do for lines."""
    wire = PAYLOAD + b"\n"
    messages = READ // len(wire) if is_many else 1
    data = wire * messages

    def work() -> None:
        for _ in data.split(b"\n"):
            pass

    return work, messages


def main(name: str, many: str, seconds: float) -> None:
    """Work for so many seconds on the CPU, and say how much was done."""
    is_many = many == "many"
    work, messages = split(is_many) if name == "split" else engine(name, is_many)
    batch = 20 if is_many else 2000
    done, start = 0, time.process_time()
    while (used := time.process_time() - start) < seconds:
        for _ in range(batch):
            work()
        done += batch * messages
    print("requests", done)
    print("seconds", used)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))

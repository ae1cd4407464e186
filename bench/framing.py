"""framing: what a message of 32 bytes costs in the engine that cuts messages out of a stream, without a network.

It drives `trews.inbox.Inbox` as a connection does. Where a read brings many messages, the rest of a connection's cost
is shared among them, and this is what is left.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from bench.benchmark import Benchmark, Column, Measures, Row
from bench.loads import finished
from bench.measure import Sample
from bench.programs import HERE, Command, Lab

SETTINGS = {"64 KiB a read": "many", "one message a read": "one"}
FRAMERS = {
    "Line()": "Line",
    'Line(encoding="utf-8")': "Line-utf8",
    'Delimiter(b"\\r\\n\\r\\n")': "Delimiter",
    "Exactly(32)": "Exactly",
    'Packed("!IIQQQ")': "Packed",
    "Netstring()": "Netstring",
    'Prefixed("!H")': "Prefixed",
    "Varint()": "Varint",
    "JSONLines()": "JSONLines",
}
FLOOR = 'bytes.split(b"\\n")'


def work(name: str) -> Command:
    """The command that does it; what comes behind it is the setting."""
    return lambda lab, port: [lab.python, str(HERE / "clients" / "framing_work.py"), name]


@contextmanager
def session(lab: Lab, row: Row) -> Iterator[Measures]:
    """In a process of its own each; there is no server."""
    yield {setting: partial(measured, lab, row, word) for setting, word in SETTINGS.items()}


def measured(lab: Lab, row: Row, word: str) -> Sample:
    """Microseconds on the CPU for a message, and messages in a second of it."""
    command = [*row.command(lab, 0), word, str(lab.seconds)]
    seen = dict(line.split() for line in finished(lab, command, lab.seconds, row.is_pure).splitlines())
    rate = float(seen["requests"]) / float(seen["seconds"])
    return {"cpu": 1e6 / rate, "rate": rate}


BENCHMARK = Benchmark(
    name="framing",
    title="messages of 32 bytes, in the framing engine",
    rows=(
        Row(FLOOR, work("split")),
        *(Row(name, work(word), is_trews=True) for name, word in FRAMERS.items()),
    ),
    columns=(Column("cpu", "CPU µs/message", 3), Column("rate", "messages/CPU second")),
    session=session,
    floor=FLOOR,
    settings=list(SETTINGS),
)

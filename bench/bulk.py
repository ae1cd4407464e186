"""bulk: 20 MB in one write, again and again on one connection; what moving bytes costs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bench.benchmark import Benchmark, Column, Measures, Row
from bench.loads import native_sample
from bench.measure import Sample
from bench.programs import Lab, native, script

SIZE = 20_000_000  # bytes of one write, as in servers/options.py
SETTING = "20 MB, one connection"

FLOOR = Row("C loop", native("bulk", str(SIZE)))


def with_throughput(sample: Sample) -> Sample:
    """With MB a second: on the CPU, and by the clock on the wall."""
    megabytes = SIZE / 1e6
    return sample | {"MB/CPU s": megabytes / sample["cpu"] * 1e6, "MB/s": megabytes * sample["rate"]}


@contextmanager
def session(lab: Lab, row: Row) -> Iterator[Measures]:
    """The client throws away what it gets, without copying it."""
    with lab.serving(row.command, row.is_pure) as server:
        native_sample(lab, server, "bulkload", SIZE, lab.warm_up)
        yield {SETTING: lambda: with_throughput(native_sample(lab, server, "bulkload", SIZE, lab.seconds))}


COLUMNS = (Column("cpu", "CPU µs/write"), Column("MB/CPU s", "MB/CPU second"), Column("MB/s", "MB/s"))

BENCHMARK = Benchmark(
    name="bulk",
    title="20 MB in one write, one connection",
    rows=(
        FLOOR,
        Row("uvloop Protocol", script("protocol", "uvloop", "--bulk", package="uvloop")),
        Row("asyncio Protocol", script("protocol", "asyncio", "--bulk")),
        Row("trews callbacks", script("trews_server", "callbacks", "--bulk"), is_trews=True),
        Row("gevent StreamServer", script("gevent_server", "--bulk", package="gevent")),
        Row("Twisted Protocol", script("twisted_server", "--bulk", package="twisted")),
    ),
    columns=COLUMNS,
    session=session,
    floor=FLOOR.name,
    settings=[SETTING],
)

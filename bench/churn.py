"""churn: a new connection for each request; what connecting and closing cost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bench import raw
from bench.benchmark import Benchmark, Measures, Row
from bench.loads import native_sample
from bench.programs import Lab

CONCURRENCY = 64
SETTING = f"{CONCURRENCY} at a time"


@contextmanager
def session(lab: Lab, row: Row) -> Iterator[Measures]:
    """A connection, a request, an answer, an end; the client closes first."""
    with lab.serving(row.command, row.is_pure) as server:
        native_sample(lab, server, "churn", CONCURRENCY, lab.warm_up)
        yield {SETTING: lambda: native_sample(lab, server, "churn", CONCURRENCY, lab.seconds)}


BENCHMARK = Benchmark(
    name="churn",
    title="connect, one request, close",
    rows=[row for row in raw.ROWS if row.name not in ("trews framer", "uvloop streams read()")],
    columns=raw.COLUMNS,
    session=session,
    floor=raw.FLOOR.name,
    settings=[SETTING],
)

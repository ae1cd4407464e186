"""raw: a canned answer of 13 bytes on connections that are kept; what the plumbing costs, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from bench.benchmark import Benchmark, Column, Measures, Row
from bench.loads import warm_up, wrk_sample
from bench.programs import Lab, native, script

CONNECTIONS = (1, 64, 1000)

FLOOR = Row("C epoll floor", native("floor"))
PROTOCOLS = (
    Row("uvloop Protocol", script("protocol", "uvloop", package="uvloop")),
    Row("asyncio Protocol", script("protocol", "asyncio")),
)
CALLBACKS = Row("trews callbacks", script("trews_server", "callbacks"), is_trews=True)
AWAIT = Row("trews await read()", script("trews_server", "await"), is_trews=True)
ROWS = (
    FLOOR,
    *PROTOCOLS,
    CALLBACKS,
    Row("trews framer", script("trews_server", "framer"), is_trews=True),
    AWAIT,
    Row("trews await read(end)", script("trews_server", "await-framer"), is_trews=True),
    Row("uvloop streams read()", script("streams", "uvloop", "--any", package="uvloop")),
    Row("uvloop streams", script("streams", "uvloop", package="uvloop")),
    Row("asyncio streams", script("streams", "asyncio")),
    Row("gevent StreamServer", script("gevent_server", package="gevent")),
    Row("Twisted Protocol", script("twisted_server", package="twisted")),
)

COLUMNS = (
    Column("cpu", "CPU µs/request", 2),
    Column("rate", "requests/s"),
    Column("p50", "p50 µs"),
    Column("p99", "p99 µs"),
)


def setting(connections: int) -> str:
    """Its name in the tables."""
    return f"{connections:,} connection{'s' if connections > 1 else ''}"


@contextmanager
def session(lab: Lab, row: Row) -> Iterator[Measures]:
    """All numbers of connections, on one server."""
    with lab.serving(row.command, row.is_pure) as server:
        warm_up(server)
        yield {setting(count): partial(wrk_sample, lab, server, count, lab.seconds) for count in CONNECTIONS}


BENCHMARK = Benchmark(
    name="raw",
    title="a canned answer of 13 bytes, keep-alive",
    rows=ROWS,
    columns=COLUMNS,
    session=session,
    floor=FLOOR.name,
    settings=[setting(count) for count in CONNECTIONS],
    passes={setting(64): 4},  # which is what is judged
)

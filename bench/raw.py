"""raw: a canned answer of 13 bytes on connections that are kept; what the plumbing costs, and nothing else."""

from __future__ import annotations

from bench.benchmark import Benchmark, Column, Row, Samples
from bench.loads import wrk, wrk_sample
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


def sample(lab: Lab, row: Row) -> Samples:
    """All numbers of connections, one after another, on one server."""
    with lab.serving(row.command, row.is_pure) as server:
        wrk(lab, server.port, 64, lab.warm_up)
        return {setting(count): wrk_sample(lab, server, count, lab.seconds) for count in CONNECTIONS}


BENCHMARK = Benchmark(
    name="raw",
    title="a canned answer of 13 bytes, keep-alive",
    rows=ROWS,
    columns=COLUMNS,
    sample=sample,
    floor=FLOOR.name,
    settings=[setting(count) for count in CONNECTIONS],
)

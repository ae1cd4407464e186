"""latency: how long an answer takes at half load, in an open loop.

Half load is half of what uvloop's Protocol serves in a second on the CPU when it is saturated, measured once a run;
the rate is the same for all, so a server that costs more has less air. (A second on the CPU, and not on the wall, of
which others on this machine take their part.)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

from bench import raw
from bench.benchmark import Benchmark, Column, Measures, Row
from bench.loads import native_sample, warm_up, wrk_sample
from bench.programs import Lab

CONNECTIONS = 64
SETTING = "half load"
REFERENCE = raw.PROTOCOLS[0]


def half_load(lab: Lab) -> float:
    """Requests a second."""
    if "half load" not in lab.remembered:
        with lab.serving(REFERENCE.command) as server:
            warm_up(server)
            # The median of three: a single one said 40,700 in one run and 72,500 in the next.
            costs = [wrk_sample(lab, server, CONNECTIONS, lab.seconds)["cpu"] for _ in range(3)]
            lab.remembered["half load"] = 1e6 / median(costs) / 2
    return lab.remembered["half load"]


def note(lab: Lab) -> str:
    """The rate."""
    return f"{half_load(lab):,.0f} requests a second for all: half of what {REFERENCE.name} serves in a CPU second"


@contextmanager
def session(lab: Lab, row: Row) -> Iterator[Measures]:
    """The percentiles, and what was on the CPU meanwhile."""
    rate = half_load(lab)
    with lab.serving(row.command, row.is_pure) as server:
        warm_up(server)
        yield {SETTING: lambda: native_sample(lab, server, "openload", CONNECTIONS, lab.seconds, rate)}


BENCHMARK = Benchmark(
    name="latency",
    title="percentiles at half load, open loop",
    rows=(raw.FLOOR, *raw.PROTOCOLS, raw.CALLBACKS, raw.AWAIT),
    columns=(
        Column("p99", "p99 µs"),
        Column("p50", "p50 µs"),
        Column("p999", "p99.9 µs"),
        Column("most", "most µs"),
        Column("cpu", "CPU µs/request", 2),
    ),
    session=session,
    floor=raw.FLOOR.name,
    settings=[SETTING],
    passes={SETTING: 5},  # percentiles are noisier than what a request costs
    note=note,
)

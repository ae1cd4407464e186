"""What is measured: time on the CPU, and what several rounds of it say. No I/O but /proc."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import NamedTuple

PROC = Path("/proc")

# Of one server, in one setting, in one round: the value of each figure, such as {"cpu": 4.2, "p99": 310.0}.
Sample = dict[str, float]


class Spread(NamedTuple):
    """What the rounds gave."""

    middle: float
    least: float
    most: float


def spread(values: Sequence[float]) -> Spread:
    """The median of at least one value, and how far they lie apart."""
    return Spread(median(values), min(values), max(values))


def cpu_seconds(pid: int, proc: Path = PROC) -> float:
    """Time that a process and its descendants have been on a CPU, in seconds.

    Of the scheduler's own account in nanoseconds (`schedstat`), not the ticks of 10 ms in `stat`. What runs at this
    moment is counted up to the last tick (4 ms); what waits, exactly. Threads and children that have ended are not in
    it.
    """
    total = 0
    tasks = proc / str(pid) / "task"
    with suppress(FileNotFoundError, ProcessLookupError):  # it ends while we look
        for task in os.listdir(tasks):
            total += int((tasks / task / "schedstat").read_text().split()[0])
    return total / 1e9 + sum(cpu_seconds(child, proc) for child in children(pid, proc))


def children(pid: int, proc: Path = PROC) -> list[int]:
    """The processes that a process has started."""
    found: list[int] = []
    with suppress(FileNotFoundError, ProcessLookupError):
        for task in os.listdir(proc / str(pid) / "task"):
            found += map(int, (proc / str(pid) / "task" / task / "children").read_text().split())
    return found


def descendants(pid: int, proc: Path = PROC) -> list[int]:
    """The processes that a process has started, and those that they have."""
    found = children(pid, proc)
    return found + [below for child in found for below in descendants(child, proc)]


def cpu_of(pid: int, work: Callable[[], object]) -> float:
    """Seconds on the CPU that a process took while `work` ran."""
    before = cpu_seconds(pid)
    work()
    return cpu_seconds(pid) - before


def resident_bytes(pid: int, proc: Path = PROC) -> int:
    """Memory of one process that is in RAM now."""
    return int((proc / str(pid) / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

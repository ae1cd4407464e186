"""import: what `import trews` costs a program that has imported asyncio, in fresh processes."""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from bench.benchmark import PURE_SUFFIX, Benchmark, Column, Measures, Row
from bench.loads import finished
from bench.measure import Sample
from bench.programs import Command, Failed, Lab

SETTING = "beyond import asyncio"

# What it brings. No TLS context is made at import: one costs 10 ms where the system's certificates are loaded.
_BROUGHT = """
import asyncio, gc, ssl, sys
before = set(sys.modules)
import {}
print(*sorted(set(sys.modules) - before))
print(sum(isinstance(o, ssl.SSLContext) for o in gc.get_objects()))
"""
# What `import trews` must not bring: what the command stands on, and what only some users want.
HEAVY = ("click", "rich", "http", "trews.http", "trews.cli")


def importing(module: str, package: str | None = None) -> Command:
    """The command of a process that imports it."""

    def command(lab: Lab, port: int) -> list[str]:
        if package:
            lab.package(package)
        return [lab.python, "-c", f"import asyncio, {module}"]

    return command


def milliseconds(lab: Lab, command: list[str], is_pure: bool = False) -> float:
    """Time on the CPU, the user's and the system's, of one process from its start to its end."""
    process = lab.start(command, lab.server_core, is_pure, subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise Failed(f"{command[-1]!r} ended with status {process.returncode}")
    return (usage.ru_utime + usage.ru_stime) * 1e3


def brought(lab: Lab, row: Row) -> tuple[list[str], int]:
    """The modules that an import adds to asyncio's, and how many TLS contexts it makes."""
    module = row.name.removesuffix(PURE_SUFFIX).split()[1]
    lines = finished(lab, [lab.python, "-c", _BROUGHT.format(module)], 1, row.is_pure).splitlines()
    return lines[0].split(), int(lines[1])


@contextmanager
def session(lab: Lab, row: Row) -> Iterator[Measures]:
    """There is no server."""
    yield {SETTING: lambda: sample(lab, row)}


def sample(lab: Lab, row: Row) -> Sample:
    """asyncio and then this, so that both have the machine in the same mood."""
    command = list(row.command(lab, 0))
    modules, contexts = brought(lab, row)  # and the byte code is there afterwards
    alone, both = [], []
    for _ in range(7):  # the least of seven each: by the least of three one run said 12.2 ms, and the next 15.9
        alone.append(milliseconds(lab, [lab.python, "-c", "import asyncio"]))
        both.append(milliseconds(lab, command, row.is_pure))
    heavy = contexts + sum(name in HEAVY for name in modules)
    return {"ms": min(both) - min(alone), "whole": min(both), "modules": len(modules), "heavy": heavy}


def note(lab: Lab) -> str:
    """Where the modules come from."""
    modules, contexts = brought(lab, TREWS)
    heavy = [name for name in modules if name in HEAVY] + ["a TLS context"] * contexts
    packages = Counter(name.partition(".")[0] for name in modules)
    listed = ", ".join(f"{name} ({number})" if number > 1 else name for name, number in packages.most_common())
    return f"import trews brings {listed}; too heavy: {', '.join(heavy) or 'nothing'}"


TREWS = Row("import trews", importing("trews"), is_trews=True)

BENCHMARK = Benchmark(
    name="import",
    title="what it costs to import, in CPU time beyond `import asyncio`",
    rows=(
        TREWS,
        Row("import uvloop", importing("uvloop", "uvloop")),
        Row("import gevent", importing("gevent", "gevent")),
        Row("import twisted.internet.reactor", importing("twisted.internet.reactor", "twisted")),
    ),
    columns=(
        Column("ms", "CPU ms beyond asyncio", 1),
        Column("whole", "CPU ms of the process", 1),
        Column("modules", "modules"),
        Column("heavy", "too heavy"),
    ),
    session=session,
    floor=None,
    settings=[SETTING],
    least_rounds=15,
    note=note,
)

"""CPython's own event-loop tests on trews' loop, judged against the stock loop beside it.

Run as `PYTHONPATH=src python tools/loop_suite.py [FACTORY…]`; a FACTORY is `module:function`, or the
name of a poller (`poll`, `select`) that our loop is to use; `trews:new_event_loop` unless given. The
suite itself lies in the shared folder (`../shared`, or where TREWS_SHARED says). The loops run at
the same time, with this interpreter. Exit status 1 if one fails, crashes, hangs or skips where the
stock loop does not.
"""

from __future__ import annotations

import ast
import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

STOCK = "asyncio:SelectorEventLoop"
OURS = "trews:new_event_loop"
POLLERS = ("epoll", "kqueue", "poll", "select")
ROOT = Path(__file__).resolve().parent.parent

BAD = re.compile(r"^(fail|hang|crash) (\S+) ?(.*)$", re.MULTILINE)
TOTALS = re.compile(r"^\S+ [\d.]+\S* cases (\d+) (\{.*\})$", re.MULTILINE)


@dataclass(frozen=True)
class Result:
    """One loop's run: how many cases of each kind, and what went wrong in those that are not ok."""

    cases: int
    kinds: dict[str, int]
    bad: dict[str, str]  # test id → "fail TypeError: …"


def parse(output: str) -> Result | None:
    """The suite's output as a Result, or None if it did not come to its last line."""
    totals = TOTALS.search(output)
    if totals is None:
        return None
    bad = {test: f"{kind} {error}".strip() for kind, test, error in BAD.findall(output)}
    return Result(int(totals[1]), ast.literal_eval(totals[2]), bad)


def worse(ours: Result, stock: Result) -> list[str]:
    """What ours does worse than the stock loop, a sentence each."""
    found = [f"{test}: {error}" for test, error in ours.bad.items() if test not in stock.bad]
    if ours.cases != stock.cases:
        found.append(f"{ours.cases} cases ran, {stock.cases} on the stock loop")
    if ours.kinds.get("skip", 0) > stock.kinds.get("skip", 0):
        found.append(f"{ours.kinds['skip']} cases skipped, {stock.kinds.get('skip', 0)} on the stock loop")
    return found


def __getattr__(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    """The factories of this module that the suite may be given: a poller's name."""
    if name not in POLLERS:
        raise AttributeError(name)
    import trews

    return lambda: trews.EventLoop(name)


def factory(argument: str) -> str:
    """What the suite takes as its factory: `module:function`."""
    return argument if ":" in argument else f"tools.loop_suite:{argument}"


def unavailable(suite: Path) -> str | None:
    if not suite.is_file():
        return f"no {suite}"
    probe = subprocess.run([sys.executable, "-c", "import test.test_asyncio"], capture_output=True, check=False)
    return "this Python comes without its test package" if probe.returncode else None


def main() -> int:
    factories = [factory(argument) for argument in sys.argv[1:]] or [OURS]
    beside = ROOT.parent / "shared"
    suite = Path(os.environ.get("TREWS_SHARED") or beside) / "tools" / "loop_suite.py"
    why = unavailable(suite)
    if why:
        print(f"loop suite SKIPPED: {why}")
        return 1 if os.environ.get("CI") == "true" else 0
    path = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), str(ROOT))))
    runs = {
        name: subprocess.Popen(
            [sys.executable, "-W", "ignore", str(suite), name],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env={**os.environ, "PYTHONPATH": path},
        )
        for name in (STOCK, *factories)
    }
    results = {}
    for name, run in runs.items():
        output = run.communicate()[0]
        result = parse(output)
        if result is None:
            print(output, f"\n{name}: the suite did not come to its end (status {run.returncode})")
            continue
        results[name] = result
        print(f"{name}: {result.cases} cases {result.kinds}")
    if len(results) < len(runs):
        return 1
    found = [f"{name}: {what}" for name in factories for what in worse(results[name], results[STOCK])]
    print(*found, sep="\n", end="\n" if found else "")
    print(f"loop suite on {sys.version.split()[0]}: {len(found)} worse than the stock loop")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

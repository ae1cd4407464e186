"""CPython's own event-loop tests on trews' loop, judged against the stock loop beside it.

Run as `PYTHONPATH=src python tools/loop_suite.py [FACTORY]`; FACTORY is `trews:new_event_loop` unless
given. The suite itself lies in the shared folder (`../shared`, or where TREWS_SHARED says). Both
loops run at the same time, with this interpreter. Exit status 1 if ours fails, crashes, hangs or
skips where the stock loop does not.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

STOCK = "asyncio:SelectorEventLoop"
OURS = "trews:new_event_loop"

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


def unavailable(suite: Path) -> str | None:
    if not suite.is_file():
        return f"no {suite}"
    probe = subprocess.run([sys.executable, "-c", "import test.test_asyncio"], capture_output=True, check=False)
    return "this Python comes without its test package" if probe.returncode else None


def main() -> int:
    factory = sys.argv[1] if len(sys.argv) > 1 else OURS
    beside = Path(__file__).resolve().parents[2] / "shared"
    suite = Path(os.environ.get("TREWS_SHARED") or beside) / "tools" / "loop_suite.py"
    why = unavailable(suite)
    if why:
        print(f"loop suite SKIPPED: {why}")
        return 1 if os.environ.get("CI") == "true" else 0
    runs = {
        name: subprocess.Popen(
            [sys.executable, "-W", "ignore", str(suite), name],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        for name in (STOCK, factory)
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
    found = worse(results[factory], results[STOCK])
    print(*found, sep="\n", end="\n" if found else "")
    print(f"loop suite on {sys.version.split()[0]}: {len(found)} worse than the stock loop")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

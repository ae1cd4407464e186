"""`python -m bench [NAME...]`: compare trews with its peers on this machine, and judge it by its targets."""

from __future__ import annotations

import argparse
import math
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from bench import asgi, bulk, churn, framing, http, idle, imports, latency, raw, report, table, tls, udp, wsgi
from bench.programs import Lab, Missing, may_run_in_real_time
from bench.rounds import run
from bench.targets import Verdict, verdicts

_ALL = (raw, churn, idle, latency, bulk, tls, udp, http, wsgi, asgi, imports, framing)
BENCHMARKS = {module.BENCHMARK.name: module.BENCHMARK for module in _ALL}
JUDGED_ROUNDS = 5  # fewer say little; the design judges by at least so many


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence, without the usage before it."""

    def error(self, message: str) -> NoReturn:
        refuse(message)


def refuse(message: str) -> NoReturn:
    """End the command because of what was typed, or of what this machine is."""
    print(f"bench: {message}", file=sys.stderr)
    sys.exit(2)


def positive(text: str) -> float:
    """A number of seconds."""
    value = float(text)
    if not (0 < value < math.inf):
        raise argparse.ArgumentTypeError(f"it must be more than 0, not {text}")
    return value


def count(text: str) -> int:
    """A number of rounds."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"it must be at least 1, not {text}")
    return value


def interpreter(text: str) -> str:
    """A Python that can be started."""
    path = shutil.which(text)
    if path is None:
        raise argparse.ArgumentTypeError(f"there is no program {text}")
    return path


def parser() -> argparse.ArgumentParser:
    """What can be typed."""
    found = Parser(prog="python -m bench", description="Compare trews with its peers on this machine.", epilog=EPILOG)
    found.add_argument("names", nargs="*", metavar="NAME", help=f"all by default: {', '.join(BENCHMARKS)}")
    found.add_argument("--list", action="store_true", help="say what there is, and end")
    found.add_argument("--rounds", type=count, default=JUDGED_ROUNDS, help="default 5, the least to judge by")
    found.add_argument("--seconds", type=positive, default=1.0, help="that each load runs, default 1 (wrk: whole ones)")
    found.add_argument("--python", type=interpreter, default=sys.executable, help="whose packages are compared")
    found.add_argument("--results", type=Path, default=report.RESULTS, help="where the files go")
    found.add_argument("--real-time", action=argparse.BooleanOptionalAction, help="by default where the system lets us")
    found.add_argument("--check", action="store_true", help="exit with status 1 if a must is missed")
    return found


EPILOG = "bench/README.md says what each figure means."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; its exit status is returned."""
    told = parser().parse_args(arguments)
    if told.list:
        for benchmark in BENCHMARKS.values():
            print(f"{benchmark.name:8} {benchmark.title}")
        return 0
    for name in told.names:
        if name not in BENCHMARKS:
            refuse(f"there is no benchmark {name!r}; there are {', '.join(BENCHMARKS)}")
    if not sys.platform.startswith("linux"):
        refuse("the benchmarks need Linux: no other system accounts time on the CPU in /proc/PID/task/*/schedstat")
    names = list(dict.fromkeys(told.names)) or list(BENCHMARKS)
    with tempfile.TemporaryDirectory(prefix="trews-bench-") as folder:
        lab = Lab(told.python, told.seconds, Path(folder), told.real_time)
        if told.real_time and not may_run_in_real_time():
            refuse("the system allows no real-time priority; root has it, and --no-real-time goes without")
        try:
            about = report.machine(lab, told.rounds)
            into = report.folder_for(about, told.results)
        except (Missing, OSError) as exc:
            refuse(str(exc))
        print(report.caption(about), end="\n\n", flush=True)
        results = []
        judged: list[Verdict] = []
        for name in names:
            result = run(BENCHMARKS[name], lab, told.rounds, tell)
            tell("")
            results.append(result)
            judged += verdicts(result)
            print(*table.lines(result), sep="\n", end="\n\n", flush=True)
    print(*judged, sep="\n")
    if judged and told.rounds < JUDGED_ROUNDS:
        print(f"(Fewer than {JUDGED_ROUNDS} rounds: a hint, no judgement.)")
    if judged and not lab.facts.native:
        print("(The targets are meant for the compiled build; this is the pure one.)")
    report.save(results, about, into)
    print(f"Written to {into}")
    return 1 if told.check and any(verdict.misses_must for verdict in judged) else 0


def tell(what: str) -> None:
    """Say on the terminal what is going on; nothing in a log."""
    if sys.stderr.isatty():
        print(f"\r\033[K{what}", end="", file=sys.stderr, flush=True)


def stop(number: int, frame: object) -> NoReturn:
    """End, and the servers with it; once: `timeout` signals twice, and the second would leave the servers running."""
    signal.signal(number, signal.SIG_IGN)
    sys.exit(128 + number)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, stop)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)  # as a shell reports Ctrl-C

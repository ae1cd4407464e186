"""Fuzzes the codec: `python -m fuzz.run --seconds 3600` has each target run its share, and says how often it ran.

A target is a module of this folder with `check(data)`, which raises if the invariant in its first line does not hold.
`fuzz/seeds/TARGET` is what it begins with, and is kept in git; what it finds beyond that goes to `build/fuzz/TARGET`,
and what breaks it to `build/fuzz/TARGET-crash-…`. What did is kept as a seed: tests/test_fuzz.py runs them all.
Needs atheris (`pip install ".[fuzz]"`), which is for Linux, and counts what is interpreted only; so what is compiled is
compared with its source, by the target `compiled`, which is passed over where nothing is.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
TARGETS = ("request", "chunked", "response", "writer", "compiled")
MAX_LEN = 2048  # bytes of an input: beyond that only the limits are, which tests have


def target_of(name: str) -> Any:
    return importlib.import_module(f"fuzz.{name}")


def seeds_of(name: str) -> list[bytes]:
    return [file.read_bytes() for file in sorted((HERE / "seeds" / name).iterdir())]


def can_run(target: Any) -> bool:
    return not getattr(target, "NEEDS_COMPILED", False) or target.IS_COMPILED


def instrument(module: ModuleType, atheris: Any) -> None:
    """Have atheris see which lines run; of what is compiled it cannot."""
    things = [*vars(module).values()]
    things += [value for thing in things if isinstance(thing, type) for value in vars(thing).values()]
    for thing in things:
        if isinstance(thing, FunctionType) and thing.__module__ == module.__name__:
            atheris.instrument_func(thing)


def fuzz(name: str, seconds: int) -> None:
    """Run one target in this process; libFuzzer ends it."""
    import atheris

    target = target_of(name)
    for module in (target, *target.MODULES):
        instrument(module, atheris)
    found = ROOT / "build" / "fuzz" / name
    found.mkdir(parents=True, exist_ok=True)
    arguments = [f"-max_total_time={seconds}", f"-max_len={MAX_LEN}", "-print_final_stats=1", "-timeout=20"]
    arguments += [f"-artifact_prefix={found}-", str(found), str(HERE / "seeds" / name)]
    atheris.Setup([sys.argv[0], *arguments], target.check)
    atheris.Fuzz()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m fuzz.run", description="Fuzz the codec.")
    parser.add_argument("--seconds", type=int, default=3600, help="for all targets together (default: an hour)")
    parser.add_argument("--one", action="store_true", help="run one target in this process")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)} (default: all)")
    chosen = parser.parse_args()
    unknown = [name for name in chosen.targets if name not in TARGETS]
    if unknown:
        print(f"no target {', '.join(unknown)}; there are {', '.join(TARGETS)}", file=sys.stderr)
        return 2
    if importlib.util.find_spec("atheris") is None:
        print("atheris is not installed: pip install '.[fuzz]'", file=sys.stderr)
        return 2
    if chosen.one:
        fuzz(chosen.targets[0], chosen.seconds)
        return 0
    names = [name for name in chosen.targets or TARGETS if can_run(target_of(name))]
    status = 0
    for name in names:
        command = [sys.executable, "-m", "fuzz.run", "--one", name, "--seconds", str(chosen.seconds // len(names))]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, errors="replace")
        count = re.search(r"number_of_executed_units: (\d+)", done.stderr)
        print(f"{name}: {count[1] if count else 'no'} executions", flush=True)
        if done.returncode:
            status = 1
            print(done.stdout[-4000:], done.stderr[-8000:], flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())

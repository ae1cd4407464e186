"""Where and with what it was measured, and the files that a run leaves."""

from __future__ import annotations

import datetime
import json
import os
import platform
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from bench import picture, web
from bench.benchmark import Result
from bench.programs import Lab
from bench.targets import verdicts

RESULTS = Path(__file__).parent / "results"


def machine(lab: Lab, rounds: int) -> dict[str, Any]:
    """All that a reader needs to know of a run, by name."""
    facts = lab.facts
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "processor": processor(Path("/proc/cpuinfo")),
        "cores": os.cpu_count(),
        "pinned": {"server": lab.server_core, "load": lab.load_core},
        "real_time": lab.real_time,
        "system": platform.platform(),
        "python": facts.python,
        "build": build(lab),
        "compiled": list(facts.native),
        "versions": facts.versions | {"its OpenSSL": facts.openssl} | programs(),
        "rounds": rounds,
        "seconds": lab.seconds,
    }


def build(lab: Lab) -> str:
    """Which build of trews is measured."""
    if not lab.facts.native:
        return "pure Python"
    return "compiled, and pure Python beside it" if lab.has_two_builds else "compiled"


def processor(info: Path) -> str:
    """Its name."""
    try:
        found = re.search(r"^model name\s*:\s*(.*)$", info.read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.machine()


def programs() -> dict[str, str]:
    """Versions of the programs that are here."""
    found = {}
    for name, option in (("wrk", "-v"), ("nginx", "-v"), ("cc", "--version"), ("openssl", "version")):
        if path := shutil.which(name):
            done = subprocess.run([path, option], capture_output=True, text=True, timeout=10)
            found[name] = (done.stdout or done.stderr).splitlines()[0]
    return found


def caption(about: dict[str, Any]) -> str:
    """The same in a line."""
    return (
        f"Python {about['python']}, trews {about['build']}, {about['processor']}, {about['system'].split('-with')[0]}, "
        f"{'real-time' if about['real_time'] else 'normal'} priority, {about['date'][:10]}"
    )


def as_json(results: list[Result], about: dict[str, Any]) -> str:
    """Every sample of every round, and the verdicts."""
    found = [
        {
            "benchmark": result.benchmark.name,
            "title": result.benchmark.title,
            "floor": result.benchmark.floor,
            "note": result.note,
            "rounds": result.rounds,
            "skipped": result.skipped,
            "failed": result.failed,
            "verdicts": [str(verdict) for verdict in verdicts(result)],
        }
        for result in results
    ]
    return json.dumps({"about": about, "results": found}, indent=1, ensure_ascii=False) + "\n"


def folder_for(about: dict[str, Any], results: Path) -> Path:
    """Make the folder of a run."""
    into: Path = results / about["date"].replace(":", "").partition("+")[0]
    into.mkdir(parents=True, exist_ok=True)
    return into


def save(results: list[Result], about: dict[str, Any], into: Path) -> None:
    """Write the JSON, a picture of each, and one of all HTTP servers."""
    (into / "results.json").write_text(as_json(results, about), "utf-8")
    for result in results:
        if any(result.rounds):
            (into / f"{result.benchmark.name}.svg").write_text(picture.svg(result, caption(about)), "utf-8")
    of_servers = [result for result in results if result.benchmark.session is web.session and any(result.rounds)]
    if of_servers:
        settings = [setting.name for setting in web.JUDGED]
        drawn = picture.rates(of_servers, settings, "HTTP servers, one core", caption(about))
        (into / "servers.svg").write_text(drawn, "utf-8")

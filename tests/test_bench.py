"""The benchmarks: what is made of samples, what is said of what is missing, and one short run of two servers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench import __main__ as command
from bench import loads, measure, picture, raw, report, table, targets
from bench.benchmark import Benchmark, Column, Result, Row, run
from bench.measure import Spread
from bench.programs import Facts, Failed, Lab, Missing, free_port, native, script
from tests.conftest import absent

ROOT = Path(__file__).resolve().parent.parent
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the benchmarks need Linux")


# --- measure


def proc(tmp_path, tree):
    """A /proc: `{pid: {task: (nanoseconds, "children")}}`."""
    for pid, tasks in tree.items():
        for task, (nanoseconds, children) in tasks.items():
            folder = tmp_path / str(pid) / "task" / str(task)
            folder.mkdir(parents=True)
            (folder / "schedstat").write_text(f"{nanoseconds} 77 3\n")
            (folder / "children").write_text(children)
    return tmp_path


def test_time_on_the_cpu_is_that_of_all_threads_and_descendants(tmp_path):
    tree = {
        10: {10: (1_000_000_000, "20 "), 11: (500_000_000, "")},
        20: {20: (250_000_000, "30")},
        30: {30: (125_000_000, "")},
        40: {40: (9_000_000_000, "")},
    }
    assert measure.cpu_seconds(10, proc(tmp_path, tree)) == 1.875


def test_a_child_that_has_just_ended_costs_nothing(tmp_path):
    assert measure.cpu_seconds(10, proc(tmp_path, {10: {10: (1_000_000_000, "20")}})) == 1


def test_without_lists_of_children_the_process_itself_is_counted(tmp_path):
    root = proc(tmp_path, {10: {10: (1_000_000_000, "")}})
    (root / "10/task/10/children").unlink()
    assert measure.cpu_seconds(10, root) == 1


@linux
def test_work_is_charged_to_the_process_that_does_it():
    before = time.process_time()

    def work():
        while time.process_time() < before + 0.05:  # of a thread that runs, the account is brought up to date by ticks
            pass

    assert 0 < measure.cpu_of(os.getpid(), work) < 10
    assert measure.resident_bytes(os.getpid()) > 1_000_000


@pytest.mark.parametrize(
    ("values", "expected"),
    [([3.0], Spread(3, 3, 3)), ([1.0, 9.0, 2.0], Spread(2, 1, 9)), ([1.0, 2.0, 3.0, 9.0], Spread(2.5, 1, 9))],
)
def test_a_spread_is_the_median_with_least_and_most(values, expected):
    assert measure.spread(values) == expected


# --- a result, as made by three rounds; the machine is twice as slow in the second


def never(lab, port):
    raise AssertionError("not to be started")


ROWS = (Row("floor", never), Row("peer", never), Row("ours", never, is_trews=True))
BENCHMARK = Benchmark(
    name="raw",
    title="a test",
    rows=ROWS,
    columns=(Column("cpu", "CPU µs", 2), Column("rate", "a second")),
    sample=lambda lab, row: {},
    floor="floor",
    settings=["64"],
)


def result_of(**figures):
    """A result with a list of CPU figures for each row, one a round; None where the round failed."""
    result = Result(BENCHMARK)
    for numbers in zip(*figures.values(), strict=True):
        given = {name: cpu for name, cpu in zip(figures, numbers, strict=True) if cpu is not None}
        result.rounds.append({name: {"64": {"cpu": cpu, "rate": 1e6 / cpu}} for name, cpu in given.items()})
    return result


SLOW_SECOND = result_of(floor=[4.0, 8.0, 4.0], peer=[5.0, 10.0, 5.0], ours=[6.0, 12.0, 6.4])


def test_ratios_are_made_within_a_round():
    assert SLOW_SECOND.spread("64", "ours", "cpu") == Spread(6.4, 6, 12)
    assert SLOW_SECOND.ratio("64", "ours", "floor", "cpu") == Spread(1.5, 1.5, 1.6)


def test_a_round_that_failed_for_one_of_them_is_in_no_ratio():
    result = result_of(floor=[4.0, 4.0, 4.0], ours=[None, 8.0, 6.0])
    assert result.ratio("64", "ours", "floor", "cpu") == Spread(1.75, 1.5, 2)
    assert result.ratio("64", "ours", "peer", "cpu") is None
    assert result.spread("64", "peer", "cpu") is None


# --- table


def test_the_table():
    assert list(table.lines(SLOW_SECOND)) == [
        "raw: a test",
        "",
        "  64     CPU µs (least–most)  × floor  a second",
        "  -----  -------------------  -------  --------",
        "  floor     4.00 (4.00–8.00)     1.00   250,000",
        "  peer     5.00 (5.00–10.00)     1.25   200,000",
        "  ours     6.40 (6.00–12.00)     1.50   156,250",
    ]


def test_what_is_not_in_the_table_is_said_below_it_once_for_each_reason():
    result = result_of(floor=[4.0])
    result.skipped = {"peer": "gevent is not installed", "ours": "no wrk", "other": "gevent is not installed"}
    result.failed = ["ours, round 1: it ended"]
    result.note = "A note."
    assert list(table.lines(result))[5:] == [
        "  A note.",
        "  SKIPPED peer, other: gevent is not installed",
        "  SKIPPED ours: no wrk",
        "  FAILED ours, round 1: it ended",
    ]


def test_the_floor_may_be_missing():
    assert "-" in table.cells(result_of(ours=[6.0]), "64", "ours")


# --- picture


def test_the_picture_is_an_svg_with_a_bar_for_each_row():
    root = ElementTree.fromstring(picture.svg(SLOW_SECOND, "here <& now>"))
    words = ["".join(element.itertext()) for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "raw: a test" in words
    assert any("here <& now>" in word for word in words)
    assert "1.50 ×   6.40" in words
    bars = list(root.iter("{http://www.w3.org/2000/svg}rect"))[1:]
    lengths = [float(bar.attrib["width"]) for bar in bars]
    assert lengths == pytest.approx([lengths[0], lengths[0] * 1.25, lengths[0] * 1.5], abs=0.1)
    assert [bar.attrib["fill"] for bar in bars] == [picture.FLOOR, picture.PEER, picture.TREWS]


def test_the_bars_are_the_figures_where_there_is_no_floor():
    result = result_of(ours=[6.0])
    result.benchmark = replace(BENCHMARK, floor=None)
    assert [bar.label for bar in picture.bars(result, "64")] == ["6.00"]


# --- targets


@pytest.mark.parametrize(
    ("target", "line", "misses"),
    [
        (targets.Target("raw", "64", "ours", 1.5, 1.4, "floor"), "must ≤ 1.5 met, goal ≤ 1.4 missed", False),
        (targets.Target("raw", "64", "ours", 1.49, 1.4, "floor"), "must ≤ 1.49 MISSED, goal ≤ 1.4 missed", True),
        (targets.Target("raw", "64", "ours", 1.25, None, "peer"), "must ≤ 1.25 met", False),
        (targets.Target("raw", "64", "ours", None, 1.0, "peer"), "goal ≤ 1 missed", False),
        (targets.Target("raw", "64", "ours", 7, 6), "must ≤ 7 met, goal ≤ 6 missed", False),
        (
            targets.Target("raw", "64", "ours", 0.5, 0.9, "floor", "rate", at_least=True),
            "must ≥ 0.5 met, goal ≥ 0.9 missed",
            False,
        ),
        (targets.Target("raw", "64", "ours", 0.7, 0.9, "floor", "rate", at_least=True), "must ≥ 0.7 MISSED", True),
        (targets.Target("raw", "64", "other", 1, None, "floor"), "not measured", True),
        (targets.Target("raw", "64", "other", None, 1, "floor"), "not measured", False),
    ],
)
def test_a_verdict(target, line, misses):
    verdict = targets.Verdict(target, target.value(SLOW_SECOND))
    assert line in str(verdict)
    assert verdict.misses_must is misses


def test_a_verdict_says_what_is_held_against_what():
    target = targets.Target("raw", "64", "ours", 1.5, None, "floor")
    assert str(targets.Verdict(target, target.value(SLOW_SECOND))) == (
        "raw, 64: ours / floor = 1.5 (1.5–1.6): must ≤ 1.5 met"
    )


def test_targets_name_what_the_benchmarks_have():
    for target in targets.TARGETS:
        benchmark = command.BENCHMARKS[target.benchmark]
        names = {row.name for row in benchmark.rows}
        assert target.setting in benchmark.settings
        assert target.row in names
        assert target.other is None or target.other in names


@pytest.mark.parametrize("benchmark", command.BENCHMARKS.values(), ids=lambda benchmark: benchmark.name)
def test_benchmarks_are_whole(benchmark):
    names = [row.name for row in benchmark.rows]
    assert len(names) == len(set(names))
    assert benchmark.floor is None or benchmark.floor in names
    assert any(row.is_trews for row in benchmark.rows)


# --- running


class Bench(Lab):
    """One that knows what it finds without asking."""

    found = Facts("3.13.0", "OpenSSL 3", (), {"trews": "0.1.0"})
    has_two_builds = False

    @property
    def facts(self):
        return self.found


@pytest.fixture
def lab(tmp_path):
    return Bench(sys.executable, 0.2, tmp_path)


def starts(lab, port):
    return ["true"]


@linux
def test_every_row_has_its_turn_in_every_round(lab):
    turns = []

    def sample(lab, row):
        turns.append(row.name)
        return {"64": {"cpu": 1.0, "rate": 1.0}}

    rows = [replace(row, command=starts) for row in ROWS]
    result = run(replace(BENCHMARK, rows=rows, sample=sample, note=lambda lab: "noted"), lab, 2, lambda what: None)
    assert turns == ["floor", "peer", "ours"] * 2
    assert (len(result.rounds), result.note) == (2, "noted")


@linux
def test_a_benchmark_may_want_more_rounds(lab):
    sample = {"64": {"cpu": 1.0}}
    one = replace(BENCHMARK, rows=[Row("floor", starts)], sample=lambda lab, row: sample, least_rounds=4)
    assert len(run(one, lab, 1, lambda what: None).rounds) == 4


@linux
def test_where_there_are_two_builds_trews_is_measured_in_both(lab):
    lab.has_two_builds = True
    turns = []

    def sample(lab, row):
        turns.append((row.name, row.is_pure))
        return {}

    rows = [replace(row, command=starts) for row in ROWS]
    run(replace(BENCHMARK, rows=rows, sample=sample), lab, 1, lambda what: None)
    assert turns == [("floor", False), ("peer", False), ("ours", False), ("ours, pure", True)]


@linux
def test_what_is_missing_skips_its_rows_and_nothing_else(lab, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)

    def sample(lab, row):
        lab.program("wrk") if row.name == "client" else None
        return {"64": {"cpu": 1.0, "rate": 1.0}}

    rows = [
        Row("gevent", script("gevent_server", package="gevent")),
        Row("C", native("floor")),
        Row("client", starts),
        Row("floor", starts),
    ]
    result = run(replace(BENCHMARK, rows=rows, sample=sample), lab, 2, lambda what: None)
    assert result.skipped == {
        "gevent": 'gevent is not installed; pip install -e ".[bench]"',
        "C": "cc is not installed; apt install gcc libc6-dev",
        "client": "wrk is not installed; apt install wrk",
    }
    assert result.rows == ["floor"]
    assert result.failed == []


@linux
def test_a_round_that_goes_wrong_is_told_and_the_next_is_run(lab):
    outcomes = iter([Failed("it ended"), {"64": {"cpu": 1.0, "rate": 1.0}}])

    def sample(lab, row):
        outcome = next(outcomes)
        if isinstance(outcome, Failed):
            raise outcome
        return outcome

    result = run(replace(BENCHMARK, rows=[Row("floor", starts)], sample=sample), lab, 2, lambda what: None)
    assert result.failed == ["floor, round 1: it ended"]
    assert result.values("64", "floor", "cpu") == [1.0]


@linux
def test_a_server_that_does_not_start_says_why(lab):
    def broken(lab, port):
        return [sys.executable, "-c", "raise SystemExit('no such thing')"]

    with pytest.raises(Failed, match="the server does not start: no such thing"), lab.serving(broken):
        pass


@linux
def test_a_server_is_stopped_whatever_happens(lab):
    serve = "import socket, sys; s = socket.create_server(('127.0.0.1', int(sys.argv[1]))); [*iter(s.accept, 0)]"

    def accepting(lab, port):
        return [sys.executable, "-c", serve, str(port)]

    with pytest.raises(KeyError), lab.serving(accepting) as server:
        assert os.sched_getaffinity(server.pid) == {lab.server_core}
        raise KeyError
    with pytest.raises(ProcessLookupError):
        os.kill(server.pid, 0)


@linux
def test_an_interpreter_without_trews_is_missing_it(tmp_path):
    folder = tmp_path / "empty"
    folder.mkdir()
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "$@"\n')
    python.chmod(0o755)
    with pytest.raises(Missing, match=r'cannot import trews \(ModuleNotFoundError.*pip install -e "\.\[bench\]"'):
        _ = Lab(str(python), 1, tmp_path).facts


def test_a_free_port_is_not_one_that_the_system_gives_to_clients():
    assert 20_000 <= free_port() < 32_000


# --- wrk's report

WRK = """\
Running 1s test @ http://127.0.0.1:20001/
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   320.11us  210.55us   4.77ms   92.67%
    Req/Sec   189.60k     9.04k  199.51k    80.00%
  Latency Distribution
     50%  296.00us
     75%  351.00us
     90%    1.42ms
     99%    1.20s
  188703 requests in 1.00s, 9.18MB read
Requests/sec: 188549.83
Transfer/sec:      9.17MB
"""


def test_what_wrk_says_is_read():
    assert loads.parse_wrk(WRK) == loads.Load(188_703, 188_549.83, 296.0, 1_200_000.0)


@pytest.mark.parametrize(
    ("output", "sentence"),
    [
        (WRK + "  Socket errors: connect 0, read 3, write 0, timeout 0\n", "read 3"),
        (WRK + "  Non-2xx or 3xx responses: 7\n", "responses: 7"),
        (WRK.replace("188703 requests", "0 requests"), "no requests"),
        ("", "no requests"),
    ],
)
def test_a_run_of_wrk_with_errors_is_no_sample(output, sentence):
    with pytest.raises(Failed, match=sentence):
        loads.parse_wrk(output)


# --- the command


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["wrong"], "there is no benchmark 'wrong'; there are raw, churn, idle, latency, bulk, tls, udp, import, fram"),
        (["--rounds", "0"], "argument --rounds: it must be at least 1, not 0"),
        (["--rounds", "x"], "argument --rounds: invalid count value: 'x'"),
        (["--seconds", "-1"], "argument --seconds: it must be more than 0, not -1"),
        (["--seconds", "nan"], "argument --seconds: it must be more than 0, not nan"),
        (["--python", "/nowhere/python"], "argument --python: there is no program /nowhere/python"),
        (["--wrong"], "unrecognized arguments: --wrong"),
    ],
)
def test_bad_input_is_one_sentence_and_status_2(arguments, sentence, capsys):
    with pytest.raises(SystemExit) as caught:
        command.main(arguments)
    assert caught.value.code == 2
    output, errors = capsys.readouterr()
    assert output == ""
    assert errors.startswith(f"bench: {sentence}")
    assert errors.count("\n") == 1


def test_the_list(capsys):
    assert command.main(["--list"]) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert names == ["raw", "churn", "idle", "latency", "bulk", "tls", "udp", "import", "framing"]


@linux
@pytest.mark.parametrize(("check", "status"), [([], 0), (["--check"], 1)])
def test_a_missed_must_is_a_status_for_those_who_ask(check, status, monkeypatch, capsys, tmp_path):
    def sample(lab, row):
        return {raw.setting(64): {"cpu": 9.0 if row.is_trews else 3.0, "rate": 1.0}}

    rows = [replace(row, command=starts) for row in raw.ROWS]
    monkeypatch.setitem(command.BENCHMARKS, "raw", replace(raw.BENCHMARK, rows=rows, sample=sample))
    assert command.main(["raw", "--results", str(tmp_path), *check]) == status
    assert (
        "trews callbacks / C epoll floor = 3 (3–3): must ≤ 1.25 MISSED, goal ≤ 1.15 missed" in capsys.readouterr().out
    )


@pytest.mark.slow
@linux
def test_a_short_run_of_two_servers(monkeypatch, capsys, tmp_path):
    for program in ("wrk", "cc"):
        if shutil.which(program) is None:
            absent(f"no {program}")
    rows = [row for row in raw.ROWS if row.name in ("C epoll floor", "trews callbacks")]
    monkeypatch.setitem(command.BENCHMARKS, "raw", replace(raw.BENCHMARK, rows=rows))
    assert command.main(["raw", "--rounds", "1", "--seconds", "0.3", "--results", str(tmp_path)]) == 0
    output = capsys.readouterr().out
    assert "FAILED" not in output
    assert "SKIPPED" not in output
    assert "Fewer than 5 rounds" in output
    (folder,) = tmp_path.iterdir()
    found = json.loads((folder / "results.json").read_text("utf-8"))
    sample = found["results"][0]["rounds"][0]["trews callbacks"]["1,000 connections"]
    assert 0 < sample["cpu"] < 10_000
    assert found["about"]["build"] == report.build(Lab(sys.executable, 1, tmp_path))
    ElementTree.parse(folder / "raw.svg")


@pytest.mark.slow
@linux
@pytest.mark.parametrize("name", [path.stem for path in sorted((ROOT / "bench" / "c").glob("*.c"))])
def test_c_compiles_without_a_warning(name, tmp_path):
    if shutil.which("cc") is None:
        absent("no C compiler")
    source = ROOT / "bench" / "c" / f"{name}.c"
    done = subprocess.run(
        ["cc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", tmp_path / name, source], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr

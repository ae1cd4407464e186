"""The benchmarks: what is made of samples. How they are run is in test_bench_run.py."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from bench import __main__ as command
from bench import measure, picture, table, targets
from bench.benchmark import PURE_SUFFIX, Benchmark, Column, Result, Row
from bench.measure import Spread

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


def test_descendants_are_those_of_children_too(tmp_path):
    tree = {10: {10: (0, "20 "), 11: (0, "40")}, 20: {20: (0, "30")}, 30: {30: (0, "")}, 50: {50: (0, "")}}
    assert sorted(measure.descendants(10, proc(tmp_path, tree))) == [20, 30, 40]


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
    session=never,
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
        "raw: a test; 3 rounds",
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


def test_a_picture_of_several_comparisons_has_the_most_first():
    other = result_of(floor=[5.0], third=[2.0])
    root = ElementTree.fromstring(picture.rates([SLOW_SECOND, other], ["64", "none"], "Servers", "here"))
    words = ["".join(element.itertext()) for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert words[0] == "Servers"
    assert words[2:] == ["64", "third", "500,000", "floor", "200,000", "peer", "200,000", "ours", "156,250"]


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
        names |= {row.name + PURE_SUFFIX for row in benchmark.rows if row.is_trews}
        assert target.setting in benchmark.settings
        assert target.row in names
        assert target.other is None or target.other in names


@pytest.mark.parametrize("benchmark", command.BENCHMARKS.values(), ids=lambda benchmark: benchmark.name)
def test_benchmarks_are_whole(benchmark):
    names = [row.name for row in benchmark.rows]
    assert len(names) == len(set(names))
    assert benchmark.floor is None or benchmark.floor in names
    assert any(row.is_trews for row in benchmark.rows)

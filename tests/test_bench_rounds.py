"""The rounds of a benchmark: who has a turn and when, what becomes of rows that fail, and that all sessions end."""

from __future__ import annotations

import itertools
import shutil
import sys
from contextlib import contextmanager
from dataclasses import replace

import pytest

from bench import __main__ as command
from bench.benchmark import Benchmark, Column, Row
from bench.programs import Facts, Failed, Lab, Missing, native, script
from bench.rounds import ordered, run

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the benchmarks need Linux")


def starts(lab, port):
    return ["true"]


class Sessions:
    """Sessions without servers, which write down what happens.

    Args:
        fails: what is raised when something happens for the time given, such as ("measure", "peer", "64", 2).
    """

    def __init__(self, fails=None):
        self.fails = fails or {}
        self.said = []
        self.seen = {}
        self.open = set()
        self.most = 0

    def say(self, *what):
        self.said.append(what)
        self.seen[what] = self.seen.get(what, 0) + 1
        if problem := self.fails.get((*what, self.seen[what])):
            raise problem

    @contextmanager
    def __call__(self, lab, row):
        self.say("open", row.name)
        self.open.add(row.name)
        self.most = max(self.most, len(self.open))
        try:
            yield {setting: lambda setting=setting: self.measured(row, setting) for setting in ("1", "64")}
            self.say("end", row.name)  # as a server says that it has ended before its time
        finally:
            self.open.remove(row.name)

    def measured(self, row, setting):
        assert row.name in self.open
        self.say("measure", row.name, setting)
        return {"cpu": float(self.seen["measure", row.name, setting])}

    def turns(self, setting):
        """The names of the rows in the order in which they were measured."""
        return [what[1] for what in self.said if what[0] == "measure" and what[2] == setting]


def benchmark(sessions, **changes):
    found = Benchmark(
        name="raw",
        title="a test",
        rows=(Row("floor", starts), Row("peer", starts), Row("ours", starts, is_trews=True)),
        columns=(Column("cpu", "CPU µs", 2),),
        session=sessions,
        floor="floor",
        settings=["1", "64"],
    )
    return replace(found, **changes)


THREE = {"passes": {"64": 3}}


class Bench(Lab):
    """One that knows what it finds without asking."""

    found = Facts("3.13.0", "OpenSSL 3", (), {"trews": "0.1.0"})
    has_two_builds = False

    @property
    def facts(self):
        return self.found


@pytest.fixture
def lab(tmp_path):
    if not sys.platform.startswith("linux"):
        pytest.skip("the benchmarks need Linux")
    return Bench(sys.executable, 0.2, tmp_path)


def quiet(what):
    pass


# --- turns


@pytest.mark.parametrize("count", [1, 2, 3, 6, 7, 16])
def test_each_row_has_each_place_once_in_as_many_turns(count):
    rows = list(range(count))
    turns = [ordered(rows, turn) for turn in range(count)]
    assert all(sorted(turn) == rows for turn in turns)
    assert all(sorted(places) == rows for places in zip(*turns, strict=True))


@pytest.mark.parametrize("count", [2, 6, 16])
def test_rows_that_are_even_in_number_follow_each_other_once(count):
    pairs = [pair for turn in range(count) for pair in itertools.pairwise(ordered(list(range(count)), turn))]
    assert len(pairs) == len(set(pairs)) == count * (count - 1)


@pytest.mark.parametrize("count", [3, 7, 13])
def test_no_row_follows_the_same_more_than_twice(count):
    pairs = [pair for turn in range(count) for pair in itertools.pairwise(ordered(list(range(count)), turn))]
    assert max(map(pairs.count, pairs)) <= 2


@pytest.mark.parametrize("passes", [{}, THREE["passes"]])
def test_every_row_has_its_turns_in_every_round(lab, passes):
    sessions = Sessions()
    result = run(benchmark(sessions, passes=passes, note=lambda lab: "noted"), lab, 2, quiet)
    for setting in ("1", "64"):
        turns = sessions.turns(setting)
        assert len(turns) == 2 * 3 * passes.get(setting, 1)
        for begin in range(0, len(turns), 3):
            assert sorted(turns[begin : begin + 3]) == ["floor", "ours", "peer"]
    assert (len(result.rounds), result.note) == (2, "noted")
    assert sessions.open == set()


def test_another_row_is_the_first_in_each_pass_and_each_round(lab):
    sessions = Sessions()
    run(benchmark(sessions, passes={"64": 3}, settings=["64"]), lab, 2, quiet)
    assert sessions.turns("64")[::3] == ["peer", "ours", "floor", "ours", "floor", "peer"]
    sessions = Sessions()
    run(benchmark(sessions), lab, 3, quiet)
    assert sessions.turns("64")[::3] == ["peer", "ours", "floor"]


def test_servers_are_up_together_only_where_there_are_several_passes(lab):
    alone, together = Sessions(), Sessions()
    run(benchmark(alone), lab, 1, quiet)
    run(benchmark(together, **THREE), lab, 1, quiet)
    assert (alone.most, together.most) == (1, 3)
    assert [what[0] for what in alone.said] == ["open", "measure", "measure", "end"] * 3
    assert [what[0] for what in together.said] == ["open"] * 3 + ["measure"] * 12 + ["end"] * 3


def test_the_figures_of_a_round_are_those_of_its_best_pass(lab):
    figures = iter([5.0, 1.0, 9.0, 9.0, 2.0, 4.0, 6.0])

    @contextmanager
    def session(lab, row):
        yield {"1": lambda: {"cpu": next(figures)}, "64": lambda: {"cpu": (cpu := next(figures)), "rate": 10 - cpu}}

    settings = ["64", "1"]
    few = benchmark(session, **THREE, settings=settings, rows=[Row("floor", starts)])
    result = run(few, lab, 1, quiet)
    # All of one pass: a rate and a cost that belong together.
    assert result.rounds == [{"floor": {"64": {"cpu": 1.0, "rate": 9.0, "cpu, median": 5.0}, "1": {"cpu": 9.0}}}]
    assert next(figures) == 2


def test_a_benchmark_may_want_more_rounds(lab):
    assert len(run(benchmark(Sessions(), least_rounds=4), lab, 1, quiet).rounds) == 4


def test_where_there_are_two_builds_trews_is_measured_in_both(lab):
    lab.has_two_builds = True
    seen = []

    @contextmanager
    def session(lab, row):
        seen.append((row.name, row.is_pure))
        yield {"64": lambda: {"cpu": 1.0}}

    run(benchmark(session, settings=["64"]), lab, 1, quiet)
    assert sorted(seen) == [("floor", False), ("ours", False), ("ours, pure", True), ("peer", False)]


@pytest.mark.parametrize("found", command.BENCHMARKS.values(), ids=lambda found: found.name)
def test_passes_are_of_settings_that_there_are(found):
    assert set(found.passes) <= set(found.settings)


def test_a_row_is_not_asked_for_a_setting_that_it_cannot(lab):
    @contextmanager
    def session(lab, row):
        yield {setting: lambda: {"cpu": 1.0} for setting in (["64"] if row.name == "peer" else ["1", "64"])}

    result = run(benchmark(session, **THREE), lab, 1, quiet)
    assert {name: sorted(samples) for name, samples in result.rounds[0].items()} == {
        "floor": ["1", "64"],
        "peer": ["64"],
        "ours": ["1", "64"],
    }
    assert result.failed == []


# --- what goes wrong


def test_what_is_missing_skips_its_rows_and_nothing_else(lab, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)

    @contextmanager
    def session(lab, row):
        if row.name == "server":
            raise Missing("no server")
        yield {"64": lambda: {"cpu": 1.0} if row.name == "floor" else lab.program("wrk")}

    rows = [
        Row("gevent", script("gevent_server", package="gevent")),
        Row("C", native("floor")),
        Row("server", starts),
        Row("client", starts),
        Row("floor", starts),
    ]
    result = run(benchmark(session, rows=rows, settings=["64"]), lab, 2, quiet)
    assert result.skipped == {
        "gevent": 'gevent is not installed; pip install -e ".[bench]"',
        "C": "cc is not installed; apt install gcc libc6-dev",
        "server": "no server",
        "client": "wrk is not installed; apt install wrk",
    }
    assert result.rows == ["floor"]
    assert [len(samples) for samples in result.rounds] == [1, 1]
    assert result.failed == []


@pytest.mark.parametrize("passes", [{}, THREE["passes"]])
@pytest.mark.parametrize(
    "when", [("open", "peer", 1), ("measure", "peer", "1", 1), ("measure", "peer", "64", 1), ("end", "peer", 1)]
)
@pytest.mark.parametrize("problem", [Failed("it ended"), ConnectionResetError("it ended")], ids=["Failed", "OSError"])
def test_a_row_that_fails_is_out_of_that_round_and_the_others_are_in_it(lab, passes, when, problem):
    sessions = Sessions({when: problem})
    result = run(benchmark(sessions, passes=passes), lab, 2, quiet)
    assert result.failed == ["peer, round 1: it ended"]
    assert [sorted(samples) for samples in result.rounds] == [["floor", "ours"], ["floor", "ours", "peer"]]
    assert sessions.turns("64").count("floor") == 2 * passes.get("64", 1)
    assert sessions.open == set()


def test_a_row_that_fails_in_a_later_pass_is_stopped_at_once_and_not_measured_again(lab):
    sessions = Sessions({("measure", "peer", "64", 2): Failed("it ended")})
    result = run(benchmark(sessions, **THREE), lab, 1, quiet)
    assert result.failed == ["peer, round 1: it ended"]
    assert sorted(result.rounds[0]) == ["floor", "ours"]
    assert (sessions.turns("64").count("peer"), sessions.turns("64").count("ours")) == (2, 3)
    mine = [number for number, what in enumerate(sessions.said) if what[1] == "peer"]
    assert sessions.said[mine[-2]] == ("measure", "peer", "64")
    assert sessions.said[mine[-2] + 1] == ("end", "peer")


def test_a_server_that_has_ended_is_told_beside_what_the_client_saw(lab):
    problems = {("measure", "peer", "64", 1): Failed("no answer"), ("end", "peer", 1): Failed("the server ended")}
    result = run(benchmark(Sessions(problems), **THREE), lab, 1, quiet)
    assert result.failed == ["peer, round 1: no answer", "peer, round 1: the server ended"]


def test_rounds_in_which_all_fail_are_told(lab):
    problems = {("open", name, number): Failed("it ended") for name in ("floor", "peer", "ours") for number in (1, 2)}
    result = run(benchmark(Sessions(problems), **THREE), lab, 2, quiet)
    assert result.rounds == [{}, {}]
    assert len(result.failed) == 6


@pytest.mark.parametrize("problem", [KeyboardInterrupt(), SystemExit(143), ValueError("a mistake")], ids=repr)
@pytest.mark.parametrize("when", [("open", "ours", 1), ("measure", "ours", "64", 2), ("end", "peer", 1)])
def test_all_servers_are_stopped_when_the_run_is(lab, problem, when):
    sessions = Sessions({when: problem})
    with pytest.raises(type(problem)):
        run(benchmark(sessions, **THREE), lab, 1, quiet)
    assert sessions.most >= 2
    assert sessions.open == set()

"""How the rows take turns: in every round each is measured as often as the benchmark says, close to the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from statistics import median
from typing import TypeVar

from bench.benchmark import PURE_SUFFIX, Benchmark, Measures, Result, Row, Samples
from bench.measure import Sample
from bench.programs import Failed, Lab, Missing

T = TypeVar("T")
Tell = Callable[[str], None]


def run(benchmark: Benchmark, lab: Lab, rounds: int, tell: Tell) -> Result:
    """Measure. Rows for which something is missing, and rounds of a row that go wrong, are in the result."""
    result = Result(benchmark)
    present = []
    for row in both_builds(benchmark.rows, lab):
        try:
            row.command(lab, 0)
        except Missing as exc:
            result.skipped[row.name] = str(exc)
        else:
            present.append(row)
    rounds = max(rounds, benchmark.least_rounds)
    for number in range(1, rounds + 1):
        this = Round(result, number, f"{benchmark.name}, round {number} of {rounds}", tell)
        for rows in [present] if benchmark.is_together else [[row] for row in ordered(present, number)]:
            this.measure(rows, lab)
        result.rounds.append(this.samples())
        present = [row for row in present if row.name not in result.skipped]
    if benchmark.note and result.rows:
        try:
            result.note = benchmark.note(lab)
        except Failed as exc:
            result.failed.append(f"the note below the table: {exc}")
    return result


def both_builds(rows: Sequence[Row], lab: Lab) -> Iterator[Row]:
    """The rows; where trews is compiled, its own as plain Python, too."""
    for row in rows:
        yield row
        if row.is_trews and lab.has_two_builds:
            yield replace(row, name=row.name + PURE_SUFFIX, is_pure=True)


def ordered(rows: Sequence[T], turn: int) -> list[T]:
    """In the order of a turn: in as many turns as there are rows, each has each place once.

    Rows that only begin one further each time would follow the same row for ever. These go to and fro (a Williams
    square): where they are even in number, each follows each other once.
    """
    zigzag = [(place + 1) // 2 * (1 if place % 2 else -1) for place in range(len(rows))]  # 0, 1, -1, 2, -2, …
    return [rows[(turn + step) % len(rows)] for step in zigzag]


@dataclass
class Round:
    """One round, and what has been measured in it.

    Args:
        result: takes the reasons why a row is not in it.
        number: 1 is the first.
        title: for those who wait.
        tell: says so to them.
    """

    result: Result
    number: int
    title: str
    tell: Tell
    # By the names of row and setting, a sample of each pass. A row that is not in it has failed.
    taken: dict[str, dict[str, list[Sample]]] = field(default_factory=dict)

    def measure(self, rows: Sequence[Row], lab: Lab) -> None:
        """Start the servers of these rows, measure them in turns, stop them."""
        benchmark = self.result.benchmark
        measures: dict[str, Measures] = {}
        sessions: dict[str, ExitStack] = {}
        with ExitStack() as stack:
            for row in rows:
                self.tell(f"{self.title}: {row.name}")
                self.taken[row.name] = {}
                with ExitStack() as opening:
                    # Left after the session: what goes wrong when it ends is this row's failure, and no other's.
                    opening.enter_context(self.attempt(row))
                    measures[row.name] = opening.enter_context(benchmark.session(lab, row))
                    sessions[row.name] = stack.enter_context(opening.pop_all())
            for turn, setting in enumerate(benchmark.turns, self.number):
                for row in ordered([row for row in rows if row.name in self.taken], turn):
                    if setting not in measures[row.name]:
                        continue  # nothing that this one does
                    self.tell(f"{self.title}: {setting}, {row.name}")
                    with self.attempt(row):
                        sample = measures[row.name][setting]()
                        self.taken[row.name].setdefault(setting, []).append(sample)
                    if row.name not in self.taken:
                        sessions[row.name].close()  # now: what has gone wrong may take the core from the others

    @contextmanager
    def attempt(self, row: Row) -> Iterator[None]:
        """What goes wrong takes this row out of the round, and no other."""
        try:
            yield
        except Missing as exc:
            self.result.skipped[row.name] = str(exc)
        except (Failed, OSError) as exc:  # OSError: a server that ends while it is looked at
            self.result.failed.append(f"{row.name}, round {self.number}: {exc}")
        else:
            return
        self.taken.pop(row.name, None)

    def samples(self) -> dict[str, Samples]:
        """Of each row and setting the best pass, as far as it has several."""
        return {
            row: {setting: self.sample(passes) for setting, passes in settings.items()}
            for row, settings in self.taken.items()
        }

    def sample(self, passes: Sequence[Sample]) -> Sample:
        """Of one row in one setting."""
        return best(passes, self.result.benchmark.columns[0].figure) if len(passes) > 1 else passes[0]


def best(passes: Sequence[Sample], figure: str) -> Sample:
    """The pass that was disturbed least: what else runs on a machine makes a pass dearer.

    Args:
        passes: at least one.
        figure: what is compared: less is better. Its median over the passes stands beside it.
    """
    least = min(passes, key=lambda sample: sample[figure])
    return {**least, f"{figure}, median": median(sample[figure] for sample in passes)}

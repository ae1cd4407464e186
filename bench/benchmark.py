"""What one comparison is, and how its rows take turns: in every round each row once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from bench.measure import Sample, Spread, spread
from bench.programs import Command, Failed, Lab, Missing

PURE_SUFFIX = ", pure"  # behind the name of a row of trews that is measured in both builds


@dataclass(frozen=True)
class Row:
    """One of those compared.

    Args:
        name: as it stands in the table, and in `targets`.
        command: starts it; what is missing is found by asking for it.
        is_trews: measured in both builds, where there are two.
        is_pure: as plain Python, though there is a compiled build.
    """

    name: str
    command: Command
    is_trews: bool = False
    is_pure: bool = False


class Column(NamedTuple):
    """A figure in the table."""

    figure: str
    heading: str  # with its unit
    decimals: int = 0


# What one row gives in one round: a sample of each setting, by the setting's name.
Samples = dict[str, Sample]


@dataclass(frozen=True)
class Benchmark:
    """One comparison.

    Args:
        name: what it is called on the command line.
        title: what is compared, in a line.
        rows: all that take part.
        columns: what is told of them; the first is what is compared.
        sample: measures one row, once.
        floor: the name of the row with which all are compared, if any.
        settings: in which it is measured, in the order of the tables.
        least_rounds: fewer are not asked of it.
        note: a sentence for below the table, known after the rounds.
    """

    name: str
    title: str
    rows: Sequence[Row]
    columns: Sequence[Column]
    sample: Callable[[Lab, Row], Samples]
    floor: str | None
    settings: Sequence[str]
    least_rounds: int = 1
    note: Callable[[Lab], str] | None = None


@dataclass
class Result:
    """What came out, and what did not."""

    benchmark: Benchmark
    rounds: list[dict[str, Samples]] = field(default_factory=list)  # each by the name of the row
    skipped: dict[str, str] = field(default_factory=dict)  # why, by the name of the row
    failed: list[str] = field(default_factory=list)
    note: str = ""

    def values(self, setting: str, row: str, figure: str) -> list[float]:
        """Of every round that has it."""
        return [r[row][setting][figure] for r in self.rounds if figure in r.get(row, {}).get(setting, {})]

    def spread(self, setting: str, row: str, figure: str) -> Spread | None:
        """None if it was not measured."""
        values = self.values(setting, row, figure)
        return spread(values) if values else None

    def ratio(self, setting: str, row: str, other: str, figure: str) -> Spread | None:
        """How many times the other's, in each round; noise that lasts longer than a round cancels out."""
        ratios = []
        for samples in self.rounds:
            one = samples.get(row, {}).get(setting, {}).get(figure)
            two = samples.get(other, {}).get(setting, {}).get(figure)
            if one is not None and two:
                ratios.append(one / two)
        return spread(ratios) if ratios else None

    @property
    def rows(self) -> list[str]:
        """The names of those that were measured, in the order of the benchmark."""
        return list(dict.fromkeys(name for samples in self.rounds for name in samples))


def both_builds(rows: Sequence[Row], lab: Lab) -> Iterator[Row]:
    """The rows; where trews is compiled, its own as plain Python, too."""
    for row in rows:
        yield row
        if row.is_trews and lab.has_two_builds:
            yield replace(row, name=row.name + PURE_SUFFIX, is_pure=True)


def run(benchmark: Benchmark, lab: Lab, rounds: int, tell: Callable[[str], None]) -> Result:
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
        samples: dict[str, Samples] = {}
        for row in present:
            tell(f"{benchmark.name}, round {number} of {rounds}: {row.name}")
            try:
                samples[row.name] = benchmark.sample(lab, row)
            except Missing as exc:
                result.skipped[row.name] = str(exc)
            except (Failed, OSError) as exc:  # OSError: a server that ends while it is looked at
                result.failed.append(f"{row.name}, round {number}: {exc}")
        present = [row for row in present if row.name not in result.skipped]
        result.rounds.append(samples)
    if benchmark.note and result.rows:
        try:
            result.note = benchmark.note(lab)
        except Failed as exc:
            result.failed.append(f"the note below the table: {exc}")
    return result

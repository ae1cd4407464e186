"""What one comparison is, and what comes out of it. How its rows take turns is in rounds.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import NamedTuple

from bench.measure import Sample, Spread, spread
from bench.programs import Command, Lab

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
# What measures a row whose server is up, once: by the setting's name. One that the row cannot is not in it.
Measures = Mapping[str, Callable[[], Sample]]


@dataclass(frozen=True)
class Benchmark:
    """One comparison.

    Args:
        name: what it is called on the command line.
        title: what is compared, in a line.
        rows: all that take part.
        columns: what is told of them; the first is what is compared.
        session: while it is open, the server of a row is up and warm, and can be measured.
        floor: the name of the row with which all are compared, if any.
        settings: in which it is measured, in the order of the tables.
        passes: how often in a round, by setting; 1 for those that are not in it.
        least_rounds: fewer are not asked of it.
        note: a sentence for below the table, known after the rounds.
    """

    name: str
    title: str
    rows: Sequence[Row]
    columns: Sequence[Column]
    session: Callable[[Lab, Row], AbstractContextManager[Measures]]
    floor: str | None
    settings: Sequence[str]
    passes: Mapping[str, int] = field(default_factory=dict)
    least_rounds: int = 1
    note: Callable[[Lab], str] | None = None

    @property
    def turns(self) -> list[str]:
        """The settings in which all rows are measured, one after another, in a round."""
        return [setting for setting in self.settings for _ in range(self.passes.get(setting, 1))]

    @property
    def is_together(self) -> bool:
        """Whether the servers of all rows are up at once, as several passes need it. Otherwise it is one at a time:
        others would take the memory, or there are none."""
        return len(self.turns) > len(self.settings)


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

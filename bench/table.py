"""The table of a result, as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bench.benchmark import Column, Result
from bench.measure import Spread


def lines(result: Result) -> Iterator[str]:
    """A table for each setting, then what is not in them and why."""
    benchmark = result.benchmark
    count = len(result.rounds)
    yield f"{benchmark.name}: {benchmark.title}; {count} round{'s' if count > 1 else ''}"
    for setting in benchmark.settings:
        rows = [row for name in result.rows if (row := cells(result, setting, name))]
        if rows:
            yield ""
            yield from grid([headings(result, setting), *rows])
    if result.note:
        yield f"  {result.note}"
    for why in dict.fromkeys(result.skipped.values()):
        names = ", ".join(name for name, reason in result.skipped.items() if reason == why)
        yield f"  SKIPPED {names}: {why}"
    for sentence in result.failed:
        yield f"  FAILED {sentence}"


def headings(result: Result, setting: str) -> list[str]:
    """The first line of a table."""
    first, *others = result.benchmark.columns
    compared = [f"× {result.benchmark.floor}"] if result.benchmark.floor else []
    return [setting, f"{first.heading} (least–most)", *compared, *(column.heading for column in others)]


def cells(result: Result, setting: str, name: str) -> list[str]:
    """A line of a table; empty if the row was not measured in this setting."""
    first, *others = result.benchmark.columns
    main = result.spread(setting, name, first.figure)
    if main is None:
        return []
    found = [name, shown(main, first)]
    if result.benchmark.floor:
        ratio = result.ratio(setting, name, result.benchmark.floor, first.figure)
        found.append(f"{ratio.middle:.2f}" if ratio else "-")
    for column in others:
        value = result.spread(setting, name, column.figure)
        found.append(f"{value.middle:,.{column.decimals}f}" if value else "-")
    return found


def shown(value: Spread, column: Column) -> str:
    """`4.10 (3.98–4.33)`"""
    middle, least, most = (f"{number:,.{column.decimals}f}" for number in value)
    return f"{middle} ({least}–{most})"


def grid(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Cells under one another: the first column to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for number, row in enumerate(rows):
        first, *others = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        yield "  " + "  ".join([first.strip().ljust(widths[0]), *others]).rstrip()
        if number == 0:
            yield "  " + "  ".join("-" * width for width in widths)

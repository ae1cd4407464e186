"""The picture of a result: one bar a row and how many times the floor it costs, as an SVG that a slide can take.

Drawn by hand: bars and words are all it has, and a library for that would be one more thing to install.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import NamedTuple

from bench.benchmark import PURE_SUFFIX, Result

WIDTH = 960
LEFT, RIGHT = 250, 130  # for the names, and for the numbers
BAR, STEP = 22, 30
HEAD, PANEL_HEAD, PANEL_END = 74, 34, 22
# The colours keep their distance for the colour-blind, and in print.
TREWS, PURE, PEER, FLOOR = "#d9480f", "#f4a26b", "#6b8cae", "#9aa5ad"


class Bar(NamedTuple):
    """One row in one setting."""

    name: str
    value: float  # the length
    label: str
    fill: str


def bars(result: Result, setting: str) -> list[Bar]:
    """What to draw: ratios to the floor; where there is none, the figure itself."""
    column, floor = result.benchmark.columns[0], result.benchmark.floor
    found = []
    for name in result.rows:
        fill = colour(result, name)
        figure = result.spread(setting, name, column.figure)
        ratio = result.ratio(setting, name, floor, column.figure) if floor else None
        if figure and ratio:
            found.append(Bar(name, ratio.middle, f"{ratio.middle:.2f} ×   {figure.middle:,.{column.decimals}f}", fill))
        elif figure:
            found.append(Bar(name, figure.middle, f"{figure.middle:,.{column.decimals}f}", fill))
    return found


def svg(result: Result, caption: str) -> str:
    """The picture, a panel for each setting.

    Args:
        caption: where and with what it was measured, in a line.
    """
    benchmark = result.benchmark
    panels = [(setting, found) for setting in benchmark.settings if (found := bars(result, setting))]
    unit = benchmark.columns[0].heading
    what = f"{unit}, and times {benchmark.floor}" if benchmark.floor else unit
    return drawn(f"{benchmark.name}: {benchmark.title}", f"{what}{rounds_of(result)} · {caption}", panels)


def rates(results: Sequence[Result], settings: Sequence[str], title: str, caption: str) -> str:
    """One picture of several comparisons: how much each row serves in a second on the CPU, the most first.

    Args:
        results: with figures in microseconds on the CPU; of rows with one name the last counts.
        settings: a panel each.
    """
    panels = []
    for setting in settings:
        found = {bar.name: bar for result in results for bar in rates_of(result, setting)}
        if found:
            panels.append((setting, sorted(found.values(), key=lambda bar: -bar.value)))
    return drawn(title, f"requests in a second on the CPU{rounds_of(results[0])} · {caption}", panels)


def rates_of(result: Result, setting: str) -> Iterator[Bar]:
    """Of each row, what a second on the CPU is enough for. No floor stands back: each comparison has another."""
    for name in result.rows:
        cost = result.spread(setting, name, "cpu")
        if cost and cost.middle:
            fill = PEER if name == result.benchmark.floor else colour(result, name)
            yield Bar(name, 1e6 / cost.middle, f"{1e6 / cost.middle:,.0f}", fill)


def rounds_of(result: Result) -> str:
    """How many, if it was not one."""
    return f" · {len(result.rounds)} rounds" if len(result.rounds) > 1 else ""


def drawn(title: str, subtitle: str, panels: Sequence[tuple[str, list[Bar]]]) -> str:
    """The SVG."""
    height = HEAD + sum(PANEL_HEAD + STEP * len(found) + PANEL_END for _, found in panels)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif">',
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        text(24, 34, title, size=22, weight="bold"),
        text(24, 58, subtitle, size=12, fill="#555"),
    ]
    top = HEAD
    for name, found in panels:
        parts += panel(name, found, top)
        top += PANEL_HEAD + STEP * len(found) + PANEL_END
    return "\n".join([*parts, "</svg>", ""])


def panel(title: str, found: list[Bar], top: int) -> Iterator[str]:
    """The bars of one setting."""
    yield text(24, top + 20, title, size=15, weight="bold")
    longest = max(bar.value for bar in found) or 1
    for number, bar in enumerate(found):
        y = top + PANEL_HEAD + STEP * number
        length = max(1.0, (WIDTH - LEFT - RIGHT) * bar.value / longest)
        yield text(LEFT - 10, y + 16, bar.name, anchor="end")
        yield f'<rect x="{LEFT}" y="{y}" width="{length:.1f}" height="{BAR}" rx="2" fill="{bar.fill}"/>'
        yield text(LEFT + length + 8, y + 16, bar.label, size=13, fill="#333")


def colour(result: Result, name: str) -> str:
    """trews stands out, its plain build beside a compiled one less; the floor stands back."""
    if name in (row.name for row in result.benchmark.rows if row.is_trews):
        return TREWS
    if name.endswith(PURE_SUFFIX):
        return PURE
    return FLOOR if name == result.benchmark.floor else PEER


def text(
    x: float, y: float, words: str, size: int = 14, fill: str = "#111", weight: str = "normal", anchor: str = "start"
) -> str:
    """Words at a place."""
    style = f'font-size="{size}" fill="{fill}" font-weight="{weight}" text-anchor="{anchor}" xml:space="preserve"'
    return f'<text x="{x:.1f}" y="{y}" {style}>{escape(words)}</text>'

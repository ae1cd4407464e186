"""What trews must reach and is meant to reach, and whether a result does: the ratios that the design sets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bench import asgi, bulk, http, idle, imports, latency, raw, tls, udp, web, wsgi
from bench.benchmark import PURE_SUFFIX, Result
from bench.measure import Spread

_64 = raw.setting(64)
_SMALL, _BROWSER = (setting.name for setting in web.JUDGED)


@dataclass(frozen=True)
class Target:
    """One line of judgement.

    Args:
        benchmark, setting, row: what is judged.
        must: the bound that has to be kept, None if there is none.
        goal: the one that trews is for.
        other: the row whose figure is 1; None if the figure itself is judged.
        figure: what of it.
        at_least: more is better; otherwise less is.
        note: said behind it.
    """

    benchmark: str
    setting: str
    row: str
    must: float | None
    goal: float | None
    other: str | None = None
    figure: str = "cpu"
    at_least: bool = False
    note: str = ""

    def value(self, result: Result) -> Spread | None:
        """What is held against the bounds; None if it was not measured."""
        if self.other is None:
            return result.spread(self.setting, self.row, self.figure)
        return result.ratio(self.setting, self.row, self.other, self.figure)

    def meets(self, value: float, bound: float) -> bool:
        """Whether a bound is kept."""
        return value >= bound if self.at_least else value <= bound


@dataclass(frozen=True)
class Verdict:
    """A target, and what came out."""

    target: Target
    value: Spread | None

    @property
    def misses_must(self) -> bool:
        """Whether what has to be kept is not, or was not measured."""
        must = self.target.must
        return must is not None and (self.value is None or not self.target.meets(self.value.middle, must))

    def __str__(self) -> str:
        target = self.target
        other = f" / {target.other}" if target.other else ""
        figure = "" if target.figure == "cpu" else f", {target.figure}"
        head = f"{target.benchmark}, {target.setting}: {target.row}{other}{figure}"
        note = f"  {target.note}" if target.note else ""
        if self.value is None:
            return f"{head}: not measured{note}"
        middle, least, most = (_number(number) for number in self.value)
        return f"{head} = {middle} ({least}–{most}): {', '.join(self._bounds(self.value.middle))}{note}"

    def _bounds(self, value: float) -> Iterator[str]:
        sign = "≥" if self.target.at_least else "≤"
        for word, bound, missed in (("must", self.target.must, "MISSED"), ("goal", self.target.goal, "missed")):
            if bound is not None:
                yield f"{word} {sign} {_number(bound)} {'met' if self.target.meets(value, bound) else missed}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


TARGETS = (
    Target("raw", _64, "trews callbacks", 1.25, 1.15, "C epoll floor"),
    Target("raw", _64, "trews callbacks", 1.10, 1.0, "uvloop Protocol"),
    Target("raw", _64, "trews await read()", 1.0, None, "uvloop streams"),
    Target("raw", _64, "trews await read()", None, 1.5, "C epoll floor"),
    # Like for like: what comes, against what comes; a whole head, against a whole head.
    Target("raw", _64, "trews await read()", None, 1.0, "uvloop streams read()"),
    Target("raw", _64, "trews await read(end)", None, 1.0, "uvloop streams"),
    Target("idle", idle.SETTING, "trews callbacks", 4096, 2048, figure="bytes"),
    Target("idle", idle.SETTING, "trews callbacks", 1.10, None, figure="slowdown"),
    Target("latency", latency.SETTING, "trews callbacks", 1.1, 1.0, "uvloop Protocol", figure="p99"),
    Target("bulk", bulk.SETTING, "trews callbacks", 0.85, 0.95, bulk.FLOOR.name, "MB/CPU s", at_least=True),
    Target("bulk", bulk.SETTING, "trews callbacks", 0.85, 0.95, bulk.FLOOR.name, "MB/s", at_least=True),
    Target("tls", tls.CANNED, "trews callbacks", 1.2, 1.1, "nginx"),
    Target("tls", tls.CANNED, "trews callbacks", 1.0, None, "uvloop Protocol"),
    Target("tls", tls.CANNED, "trews callbacks", None, 1.0, "aiofastnet on uvloop"),
    Target("udp", udp.SETTING, "trews callbacks", 0.7, 0.5, "asyncio"),
    Target("http", _SMALL, http.DEF.name, 1.25, 1.15, http.NGINX.name),
    Target("http", _BROWSER, http.DEF.name, 1.4, 1.25, http.NGINX.name),
    Target("http", _SMALL, http.DEF.name + PURE_SUFFIX, 0.6, None, asgi.UVICORN.name),
    Target("http", _BROWSER, http.DEF.name + PURE_SUFFIX, 0.6, None, asgi.UVICORN.name),
    Target("http", _SMALL, http.ASYNC.name, 1.6, 1.4, http.NGINX.name),
    *(Target("wsgi", setting, wsgi.INLINE.name, 1.15, 1.0, wsgi.FASTPYSGI.name) for setting in (_SMALL, _BROWSER)),
    *(Target("wsgi", setting, wsgi.INLINE.name, 1.1, 1.0, wsgi.BJOERN.name) for setting in (_SMALL, _BROWSER)),
    *(Target("asgi", setting, asgi.TREWS.name, 1.0, 0.85, asgi.FASTPYSGI.name) for setting in (_SMALL, _BROWSER)),
    *(Target("asgi", setting, asgi.TREWS.name, 0.55, 0.5, asgi.UVICORN.name) for setting in (_SMALL, _BROWSER)),
    Target("import", imports.SETTING, "import trews", 15, 8, figure="ms"),
    Target("import", imports.SETTING, "import trews", 0, None, figure="heavy"),
)


def verdicts(result: Result) -> list[Verdict]:
    """Of the targets that a benchmark has."""
    return [Verdict(target, target.value(result)) for target in TARGETS if target.benchmark == result.benchmark.name]

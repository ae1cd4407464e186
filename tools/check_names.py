"""The public names are the documented ones, no more and no fewer.

Run as `python tools/check_names.py [ROOT]`. Public: `__all__` of trews, trews.framing, trews.http and
trews.testing, and the exceptions that trews.errors defines. Documented: in docs/reference/*.md, a
heading of the second or third level that starts with the name in backticks, such as

    ### `Server(handler, **settings)`
    ### `soon`, `after`, `every`: timers
    ### `framing.Line`

(the module's name may stand before it). Deeper headings are free, for methods and settings.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

MODULES = ("trews", "trews.framing", "trews.http", "trews.testing")

HEADING = re.compile(r"#{2,3}\s+((?:`[^`]+`(?:,\s*)?)+)")
NAME = re.compile(r"(?:trews\.)?(?:framing\.|testing\.|errors\.|http\.)?(\w+(?:\.\w+)*)(?:\(.*\))?")
FENCE = re.compile(r"\s*(```|~~~)")


def documented(text: str) -> Iterator[str]:
    """The names that a page documents by its headings."""
    in_code = False
    for line in text.splitlines():
        if FENCE.match(line):
            in_code = not in_code
        heading = None if in_code else HEADING.match(line)
        if heading is None:
            continue
        for code in re.findall(r"`([^`]+)`", heading[1]):
            name = NAME.fullmatch(code)  # not `trews serve`: a command, not a name
            if name:
                yield name[1]


def public() -> dict[str, str]:
    """Every public name, with the module it is found in first."""
    names: dict[str, str] = {}
    for module in MODULES:
        for name in importlib.import_module(module).__all__:
            names.setdefault(name, module)
    errors = importlib.import_module("trews.errors")
    for name, value in vars(errors).items():
        if isinstance(value, type) and value.__module__ == errors.__name__ and not name.startswith("_"):
            names.setdefault(name, errors.__name__)
    return {name: module for name, module in names.items() if not name.startswith("__")}


def compare(names: dict[str, str], pages: dict[str, str]) -> list[str]:
    """What differs between `name: module` and `page: text`, a sentence each."""
    found = {name: page for page, text in pages.items() for name in documented(text)}
    problems = [
        f"{module}.{name} is public, but no heading in docs/reference/ documents it"
        for name, module in names.items()
        if name not in found
    ]
    problems += [
        f"{page}: `{name}` is documented, but not public (deeper headings, from ####, are free)"
        for name, page in found.items()
        if name not in names
    ]
    return problems


def main() -> int:
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path()
    sys.path.insert(0, str(root / "src"))
    pages = {str(page): page.read_text("utf-8") for page in sorted((root / "docs/reference").glob("*.md"))}
    names = public()
    problems = compare(names, pages)
    print(*problems, sep="\n", end="\n" if problems else "")
    print(f"names: {len(problems)} differ" if problems else f"names: {len(names)} public, all documented")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())

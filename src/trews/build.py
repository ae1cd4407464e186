"""Which build of the hot modules runs, compiled or pure, and why: for `trews doctor`, the demo and the benchmarks.

A wheel has a note of what was compiled in it, or why nothing was (build_backend/compiling.py writes it); a tree that
was never built has none. What is told here is what really runs, compared with that note. `import trews` does not
import this, except under `TREWS_PURE=1`.
"""

from __future__ import annotations

import json
import pkgutil
import sys
from importlib.machinery import SOURCE_SUFFIXES, ExtensionFileLoader, FileFinder, ModuleSpec, SourceFileLoader
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

_RECORD = "_build.json"


class _Sources:
    """Finds the `.py` of trews' modules and not the extensions beside them."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if not name.startswith("trews."):
            return None
        for entry in path or ():
            spec = FileFinder(entry, (SourceFileLoader, SOURCE_SUFFIXES)).find_spec(name)
            if spec is not None:
                return spec
        return None  # a zip file: it has no extensions


def use_sources() -> None:
    """Import the rest of trews as pure Python, whatever is compiled: what `TREWS_PURE=1` does."""
    if _Sources not in sys.meta_path:
        sys.meta_path.insert(0, _Sources)


def is_compiled() -> bool:
    """Whether all modules that are to be compiled run compiled."""
    wanted = _record().get("compiled", [])
    return bool(wanted) and not _interpreted(wanted)


def describe() -> str:
    """One line on which build runs and why: `compiled (5 modules) by mypyc 2.4.1`, `pure Python: TREWS_PURE=1`."""
    record = _record()
    wanted = record.get("compiled", [])
    if not wanted:
        return f"pure Python: {record.get('why_pure') or 'not installed, or installed with -e'}"
    interpreted = _interpreted(wanted)
    if not interpreted:
        count = f"{len(wanted)} modules" if len(wanted) > 1 else "1 module"
        return f"compiled ({count}) by mypyc {record.get('mypyc')}"
    if _Sources in sys.meta_path:
        return "pure Python: TREWS_PURE=1"
    return f"compiled in part only: {', '.join(interpreted)} should be, too, and are not; install trews anew"


def _record() -> dict[str, Any]:
    """The note in the package, or an empty one."""
    try:
        data = pkgutil.get_data("trews", _RECORD)
    except OSError:
        return {}
    record: dict[str, Any] = json.loads(data or "{}")
    return record


def _interpreted(modules: Sequence[str]) -> list[str]:
    """Those that are Python code, or would be if they were imported now."""
    specs = {name: find_spec(name) for name in modules}
    return [name for name, spec in specs.items() if spec is None or not isinstance(spec.loader, ExtensionFileLoader)]

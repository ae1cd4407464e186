"""Invariant: compiled and pure give one verdict of whatever comes, to the byte. It needs a build that is compiled."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import trews
from trews.build import is_compiled
from trews.http import head, http1
from trews.http.errors import BadMessage

NEEDS_COMPILED = True


def source_of(module: ModuleType) -> ModuleType:
    """The same module from its source, which lies beside what was compiled of it."""
    path = Path(trews.__file__).parent.joinpath(*module.__name__.split(".")[1:]).with_suffix(".py")
    spec = importlib.util.spec_from_file_location(f"pure_{module.__name__.replace('.', '_')}", path)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = made
    spec.loader.exec_module(made)
    return made


pure_head = source_of(head)
sys.modules["trews.http.head"] = pure_head  # for what the source of http1 imports
try:
    pure_http1 = source_of(http1)
finally:
    sys.modules["trews.http.head"] = head

MODULES = (pure_head, pure_http1)
IS_COMPILED = is_compiled() and head.COMPILED and not pure_head.COMPILED
NAMES = ("begin", "end", "next", "length", "host", "is_chunked", "says_close", "says_keep_alive", "says_upgrade")


def told(scan: Any, data: bytes, limits: Any) -> Any:
    try:
        found = scan(data, 0, limits)
    except BadMessage as exc:
        return exc.status, str(exc)
    if found is None:
        return None
    more = [getattr(found, name, None) for name in ("method", "target", "minor", "persists", "has_body", "status")]
    return [getattr(found, name) for name in NAMES], found.pairs(), more, getattr(found, "reason", None)


def taken(body: Any, data: bytes) -> Any:
    pieces: list[bytes] = []
    try:
        at = body.take(data, 0, pieces)
    except BadMessage as exc:
        return exc.status, str(exc)
    return at, pieces, body.is_done, body.rest, body.trailers and body.trailers.pairs()


def check(data: bytes) -> None:
    for sizes in ((32768, 100, 8192), (100, 3, 20)):
        for name in ("scan_request", "scan_response", "scan_trailers"):
            ours = told(getattr(head, name), data, head.Limits(*sizes))
            assert ours == told(getattr(pure_head, name), data, pure_head.Limits(*sizes)), name
    assert head.is_host(data) == pure_head.is_host(data)
    compiled, pure = http1.ChunkedBody(100, 3), pure_http1.ChunkedBody(100, 3)
    for piece in (data, data[:7], data):
        found = taken(compiled, piece)
        assert found == taken(pure, piece)
        if isinstance(found[1], str):
            break

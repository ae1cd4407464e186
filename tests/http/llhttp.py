"""The vectors of llhttp: a case is what comes, and what its callbacks tell of it, both in markdown.

A request of theirs has no Host field, mostly. One is put in where HTTP/1.1 wants it and theirs is accepted, so that it
is not the missing Host what is judged.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

PUT_IN = b"hOsT"  # no case of theirs writes it so
_CASE = re.compile(r"<!-- meta=(\{.*?\}) -->\s*```http\n(.*?)```.*?```log\n(.*?)```", re.DOTALL)
_EVENT = re.compile(r"off=(\d+) (?:len=\d+ span\[(\w+)\]=(.*)|(.*))")
_LINE_ENDS = {"cr": b"\r", "lf": b"\n"}
_HEX = re.compile(r"\\x([0-9a-fA-F]{2})")


class Case(NamedTuple):
    name: str  # the file and the heading: "request/method.md: REPORT request"
    kind: str
    is_head: bool  # they are told to skip the body
    wire: bytes
    messages: list[Any]  # (start, fields, body) of those that are complete
    partial: list[Any]  # the same of one that goes on to the end of the connection
    refused: bool
    closed: bool  # something came behind the last message of a connection: theirs is an error, we read it never
    switched: bool  # what follows is of another protocol

    @property
    def is_strict(self) -> bool:
        return "lenient" not in self.kind


def text(of: str) -> bytes:
    """What comes, out of how it is written."""
    of = of.removesuffix("\n").replace("\\\n", "").replace("\n", "\r\n")
    for escape, character in (("\\r", "\r"), ("\\n", "\n"), ("\\t", "\t"), ("\\f", "\f")):
        of = of.replace(escape, character)
    return _HEX.sub(lambda m: chr(int(m[1], 16)), of).encode()


class _Log:
    """What the callbacks tell."""

    def __init__(self) -> None:
        self.messages: list[Any] = []
        self.refused = self.closed = self.switched = False
        self.begun: list[tuple[int, bool]] = []  # where each message begins, and whether it needs a Host
        self._clear()

    def _clear(self) -> None:
        self._spans: dict[str, bytes] = {}
        self._fields: list[tuple[bytes, bytes]] = []
        self._in_body = False

    def partial(self) -> list[Any]:
        """The message that has begun, if its head is complete."""
        spans = self._spans
        if not self._in_body:
            return []
        first = spans.get("method") or spans.get("status", b"")
        return [((first, spans.get("url", b"")), self._fields, spans.get("body", b""))]

    def read(self, log: str) -> None:
        for line in log.splitlines():
            event = _EVENT.match(line)
            if event is not None:
                self._event(int(event[1]), event[2], event[3], event[4] or "")

    def _event(self, at: int, span: str | None, value: str, what: str) -> None:
        if span is not None:
            self._spans[span] = self._spans.get(span, b"") + (_LINE_ENDS.get(value) or text(value[1:-1]))
        elif what == "message begin":
            self._clear()
            self.begun.append((at, False))
        elif what == "header_value complete":
            name, data = self._spans.pop("header_field", b""), self._spans.pop("header_value", b"")
            if not self._in_body:
                self._fields.append((name, data.strip(b" \t")))
        elif what.startswith("headers complete"):
            self._in_body = True
            names = {name.lower() for name, _ in self._fields}
            needs = self._spans.get("version") == b"1.1" and "method" in self._spans and b"host" not in names
            self.begun[-1] = (self.begun[-1][0], needs)
        elif what == "message complete":
            self.messages += self.partial()
            self._in_body = False
        elif what.startswith("error code=5 "):
            self.closed = True
        elif what.startswith("error code=22 "):
            self.switched = True
        elif what.startswith("error"):
            self.refused = True


def with_hosts(wire: bytes, begun: list[tuple[int, bool]]) -> bytes:
    for at, needs in reversed(begun):
        if needs:
            line = at
            host = b"put.in"
            while wire.startswith(b"\r\n", line):
                line += 2
            end = wire.index(b"\r\n", line) + 2
            if b"://" in wire[line:end]:
                host = re.split(rb"[/? ]", wire[line:end].split(b"://")[1])[0]
            wire = wire[:end] + b"%b: %b\r\n" % (PUT_IN, host) + wire[end:]
    return wire


def cases(folder: Path) -> Iterator[Case]:
    """All of them, in the order of the files."""
    for file in sorted(folder.glob("re*/*.md")):
        page = file.read_text("utf-8")
        number: dict[str, int] = {}
        for found in _CASE.finditer(page):
            meta = json.loads(found[1])
            if "type" not in meta:
                continue  # of a URL only
            title = re.findall(r"^#+ (.*)$", page[: found.start()], re.MULTILINE)[-1]
            name = f"{file.parent.name}/{file.name}: {title}"
            number[name] = number.get(name, 0) + 1
            if number[name] > 1:
                name += f" ({number[name]})"
            log = _Log()
            log.read(found[3])
            wire = with_hosts(text(found[2]), log.begun)
            told = (log.messages, log.partial(), log.refused, log.closed, log.switched)
            yield Case(name, meta["type"], "skipBody" in meta, wire, *told)

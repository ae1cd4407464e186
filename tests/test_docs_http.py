"""What the pages on HTTP say is so: every name is there, defaults are the real ones, what is refused is refused."""

from __future__ import annotations

import asyncio
import inspect
import re
import socket
from pathlib import Path
from typing import Any

import pytest

import trews
from examples import http_hello
from trews import http
from trews.http.access_log import Entry
from trews.http.reply import Reply
from trews.http.server import SETTINGS
from trews.testing import wire

DOCS = Path(__file__).resolve().parent.parent / "docs"
TEXT = (DOCS / "reference/http.md").read_text("utf-8")
HEADINGS = re.findall(r"^##+ (.*)$", TEXT, re.MULTILINE)


def part(heading: str) -> str:
    """What stands under a heading, up to the next that is not lower."""
    (found,) = re.findall(rf"^(#+) (.*{re.escape(heading)}.*)\n", TEXT, re.MULTILINE)
    level, line = found
    after = TEXT.split(f"{level} {line}\n", 1)[1]
    return re.split(rf"^#{{2,{len(level)}}} ", after, maxsplit=1, flags=re.MULTILINE)[0]


def rows(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def public(cls: Any) -> set[str]:
    names = {name for base in cls.__mro__[:-1] for name in (*vars(base), *getattr(base, "__annotations__", ()))}
    return {name for name in names if not name.startswith("_")}


@pytest.mark.parametrize("name", http.__all__)
def test_every_public_name_has_a_heading(name: str) -> None:
    assert any(re.search(rf"`{name}\b", heading) for heading in HEADINGS)


def in_words(name: str, value: Any) -> str:
    if name == "min_body_rate":
        return f"{value:g} bytes/s"
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1024:
        return f"{value >> 20} MiB" if value % (1 << 20) == 0 else f"{value >> 10} KiB"
    if isinstance(value, tuple):
        return "`(" + ", ".join(f'"{text}"' for text in value) + ")`"
    return f"{value:g} s" if isinstance(value, float) else str(value) if type(value) is int else f"`{value}`"


@pytest.mark.parametrize("page", ["reference/http.md", "explanation/http-limits.md"])
def test_the_settings_are_documented_with_their_defaults(page: str) -> None:
    text = (DOCS / page).read_text("utf-8")
    found = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", text, re.MULTILINE))
    told = {name: in_words(name, value) for name, value in SETTINGS.items()}
    if page.startswith("explanation"):  # which has limits only
        told = {name: value for name, value in told.items() if "_" in name and name in found}
        assert {name for name in SETTINGS if name.startswith(("max_", "min_")) or name.endswith("_timeout")} <= set(
            found
        )
    assert {name: value for name, value in found.items() if name in SETTINGS} == told


def test_every_attribute_and_method_of_a_request_is_documented() -> None:
    said = {row[0].strip("`") for row in rows(part("Attributes of a request"))}
    methods = set(re.findall(r"^#### `(?:await )?(\w+)\(", part("`Request`"), re.MULTILINE))
    assert said | methods == public(http.Request) | {"connection"}


def test_every_method_of_the_test_client_and_its_replies_is_documented() -> None:
    text = part("`test_client(")
    for name in (public(http.test_client) | public(Reply)) - {
        # between the two
        *(
            "wait",
            "raise_due",
            "took_head",
            "is_free",
            "left",
            "take",
            "ended",
            "is_complete",
            "wire",
            "what",
            "read",
        ),
    }:
        assert re.search(rf"`(\w+\.)?{name}\b", text), name


def test_what_an_entry_of_the_log_has_is_documented() -> None:
    text = part("The access log")
    for name in {*public(Entry), *Entry.__slots__}:
        assert f"`{name}`" in text


def test_headings_have_the_real_signatures() -> None:
    for heading in HEADINGS:
        found = re.fullmatch(r"`(\w+)\((.*)\)`", heading) if f"\n## {heading}\n" in TEXT else None
        if found is None or not hasattr(http, found[1]):
            continue
        name, arguments = found.groups()
        real = inspect.signature(getattr(http, name)).parameters.values()
        scope: dict[str, Any] = {}
        exec(f"def documented({arguments}): ...", scope)
        told = inspect.signature(scope["documented"]).parameters.values()
        if name != "Server":  # whose __new__ takes anything
            assert [(p.name, p.kind, p.default) for p in told] == [(p.name, p.kind, p.default) for p in real], name


GET = b"GET / HTTP/1.1\r\nHost: a\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
REFUSED: dict[str, list[bytes]] = {
    "a line that ends in LF alone": [b"GET / HTTP/1.1\nHost: a\n\n", GET + b"A: b\n\r\n", GET + b"A: b\rc\r\n\r\n"],
    "a control character": [GET + b"A: \0\r\n\r\n", GET + b"A: \x7f\r\n\r\n"],
    "a space before a field's colon": [GET + b"A : b\r\n\r\n", GET + b"A: b\r\n c\r\n\r\n"],
    "no Host in HTTP/1.1": [
        b"GET / HTTP/1.1\r\n\r\n",
        GET + b"Host: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
    ],
    "a target that is neither": [
        b"GET a HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
    "a `%` in a path": [b"GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /%4 HTTP/1.1\r\nHost: a\r\n\r\n"],
    "two Content-Length": [
        POST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\n",
        *(POST + b"Content-Length: " + value + b"\r\n\r\n" for value in (b"+1", b"1, 1", b"0x1", b"1_0", b"")),
    ],
    "Content-Length beside Transfer-Encoding": [POST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"],
    "a Transfer-Encoding that is not `chunked`": [
        POST + b"Transfer-Encoding: " + value + b"\r\n\r\n"
        for value in (
            b"gzip",
            b"xchunked",
            b"gzip, chunked",
            b"chunked, chunked",
            b"chunked\r\nTransfer-Encoding: chunked",
        )
    ],
    "Transfer-Encoding in HTTP/1.0": [b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"],
    "a chunk whose size": [CHUNKED + body for body in (b"0x1\r\n", b"+1\r\n", b"g\r\n", b"1\r\naXY", b"1 1\r\n")],
    "Content-Length, Transfer-Encoding or Host in trailers": [
        CHUNKED + b"0\r\n" + line + b"\r\n\r\n"
        for line in (b"Content-Length: 1", b"Transfer-Encoding: chunked", b"Host: a")
    ],
    "two Content-Type": [GET + b"Content-Type: a/b\r\nContent-Type: a/b\r\n\r\n"],
    "another version": [b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", b"GET / HTTP/0.9\r\nHost: a\r\n\r\n"],
    "CONNECT": [b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n"],
}


@pytest.mark.parametrize("row", rows(part("What is refused")), ids=lambda row: row[0])
def test_what_is_said_to_be_refused_is(row: list[str]) -> None:
    (cases,) = [cases for begin, cases in REFUSED.items() if row[0].startswith(begin)]
    called = []

    async def app(request: Any) -> bytes:
        content: bytes = await request.read()
        called.append(request)
        return content

    for data in cases:
        with wire(http.Server(app)) as w:
            assert w.feed(data).sent().startswith(b"HTTP/1.1 %b " % row[1].encode()), data
            assert w.closed, data
    assert called == []


def test_what_is_said_of_queries() -> None:
    def app(request: Any) -> list[str]:
        found = [request.query["q"], request.query["bytes"]]
        assert request.query.get("missing") is None
        with pytest.raises(KeyError):
            request.query["missing"]
        return found

    assert http.test_client(app).get("/?q=100%&bytes=%ff").json() == ["100%", "\ufffd"]


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no Unix sockets")
def test_what_is_said_of_clients_on_a_unix_socket(tmp_path: Path) -> None:
    found: list[Any] = []

    def app(request: Any) -> Any:
        found.append(request.client)
        return http_hello.app(request)

    async def main() -> None:
        async with http.Server(app).listen(f"unix:{tmp_path}/server"):
            for own in ("", f"{tmp_path}/client"):
                with socket.socket(socket.AF_UNIX) as sock:
                    if own:
                        sock.bind(own)
                    sock.connect(f"{tmp_path}/server")
                    reader, writer = await asyncio.open_unix_connection(sock=sock.dup())
                    writer.write(b"GET /time HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                    assert b" 200 OK\r\n" in await reader.read()
                    writer.close()

    trews.run(main())
    assert found == ["", f"{tmp_path}/client"]


BODIES_NOT_READ = [
    (http.BadMessage, 413, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n123456\r\n"),
    (http.BadMessage, 400, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n"),
    (http.BadMessage, 408, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n1"),
    (trews.IncompleteMessage, 0, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n1"),
    (trews.ConnectionClosed, 0, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n1"),
]


@pytest.mark.parametrize(("expected", "status", "data"), BODIES_NOT_READ)
def test_what_read_is_said_to_raise(expected: type[Exception], status: int, data: bytes) -> None:
    raised: list[Any] = []

    async def app(request: Any) -> str:
        try:
            await request.read()
        except Exception as exc:
            raised.append(exc)
        return "x"

    with wire(http.Server(app, max_body=5)) as w:
        head, end, body = data.partition(b"\r\n\r\n")
        w.feed(head + end)  # alone: what is wrong in the first bytes of a body, no handler is called for
        w.feed(body)
        if expected is trews.IncompleteMessage:
            w.eof()
        elif expected is trews.ConnectionClosed:
            w.reset()
        else:
            w.advance(100)
    (exc,) = raised
    assert isinstance(exc, expected)
    assert getattr(exc, "status", 0) == status
    assert isinstance(exc, trews.IncompleteMessage) is (expected is trews.IncompleteMessage)


THREATS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in (DOCS / "explanation/threat-model.md").read_text("utf-8").splitlines()
    if line.startswith("| ") and "`tests/" in line
]


@pytest.mark.parametrize("row", THREATS, ids=lambda row: row[0])
def test_a_threat_names_tests_that_exist(row: list[str]) -> None:
    names = re.findall(r"`([^`]+)`", row[2])
    assert names
    for name in names:
        file, _, test = name.partition("::")
        assert re.search(rf"^(async )?def {test}\(", (DOCS.parent / file).read_text("utf-8"), re.MULTILINE), name

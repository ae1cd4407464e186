"""What peers can do to a log: nothing but put one plain line into it, and not many of them."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

import trews
from tests.hostile.attack import HERE, dial, logged, reset, until
from trews.addresses import shown
from trews.framing import JSONLines, Line, Netstring, Prefixed, Varint
from trews.testing import no_leaks, wire

EVIL = "\n\r\x00\x1b[31mERROR:root:all is lost\x07\x7f\x85\u2028\u202e"


def lines(records: list[logging.LogRecord]) -> list[str]:
    """What the records say, each without its traceback."""
    return [record.getMessage() for record in records]


def is_plain(text: str) -> bool:
    return text.isprintable() and text.encode("utf-8") != b""


@pytest.mark.skipif(sys.platform != "linux", reason="names of Unix clients, abstract ones too")
@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_cve_2020_7694_the_name_of_a_unix_client_is_escaped(kind: str, tmp_path: Path) -> None:
    class Failing(trews.Connection):
        def on_read(self, data: bytes) -> None:
            raise ZeroDivisionError

    name = EVIL.replace("\x00", "")
    address = str(tmp_path / ("x" + name)) if kind == "path" else "\0" + name

    async def main() -> None:
        server = trews.Server(Failing).listen(f"unix:{tmp_path}/s")
        async with server:
            with socket.socket(socket.AF_UNIX) as client:
                client.bind(address)
                client.connect(f"{tmp_path}/s")
                client.sendall(b"x")
                await until(lambda: records)

    with logged() as records, no_leaks():
        trews.run(main())
    (line,) = lines(records)
    assert is_plain(line)
    assert "all is lost" in line  # told, but escaped


@pytest.mark.parametrize("address", [EVIL, "@" + EVIL, "/tmp/\udcff"], ids=ascii)
def test_cve_2020_7694_addresses_are_shown_on_one_line(address: Any) -> None:
    assert is_plain(shown(address))


@pytest.mark.parametrize(
    "framer",
    [Line(encoding="utf-8"), JSONLines(), Netstring(), Prefixed("!H"), Varint(), b"||"],
    ids=lambda framer: type(framer).__name__,
)
@pytest.mark.parametrize("garbage", [b"\xff" + EVIL.encode() + b"\n", b"9" * 300, b'{"\n\x1b[31m\n'])
def test_cve_2020_7694_reasons_quote_what_came_escaped(framer: Any, garbage: bytes) -> None:
    class Taking(trews.Connection):
        def on_read(self, message: Any) -> None:
            """Nothing."""

    w = wire(Taking, framer=framer, max_message=100)
    w.feed(garbage)
    w.eof()
    assert w.reason is not None
    assert is_plain(str(w.reason))
    assert len(str(w.reason)) < 400
    assert is_plain(repr(w.connection))


def test_cve_2025_47287_peers_that_break_every_rule_fill_no_log() -> None:
    """What a peer does wrong is told to its connection's on_close; the log is for what the program does wrong."""

    async def main() -> None:
        server = trews.Server(lambda conn: conn.read_all(), framer=Netstring(), max_message=50)
        server._class.on_read = lambda self, message: None  # type: ignore[union-attr, method-assign, assignment]
        server.listen(HERE)

        def misbehave(port: int) -> None:
            for bad in (b"x", b"99:", b"3:abcd", b"", b"5:he"):
                for is_rude in (False, True):
                    sock = dial(port)
                    sock.sendall(bad)
                    reset(sock) if is_rude else sock.close()

        async with server:
            for _ in range(5):
                await asyncio.to_thread(misbehave, server.port or 0)
            await until(lambda: server.stats.accepted == 50 and not server._alive)

    with logged() as records, no_leaks():
        trews.run(main())
    assert lines(records) == []


def test_cve_2025_47287_no_line_is_as_long_as_the_peer_likes() -> None:
    """A message of 60 KB that nobody understands is quoted by its beginning."""
    for framer, data in ((JSONLines(), b"[" + b"a" * 60_000 + b"\n"), (Netstring(), b"5:hello" + b"x" * 60_000)):
        w = wire(trews.Connection, framer=framer)

        async def read(conn: trews.Connection = w.connection) -> None:
            await conn.read()

        w.connection.spawn(read())
        w.feed(data)
        assert isinstance(w.reason, trews.FramingError)
        assert len(str(w.reason)) < 400


def test_what_on_error_is_told_stays_one_line() -> None:
    """The input is often part of an exception: the line that names it must not break, the traceback may."""

    class Failing(trews.Connection):
        def on_read(self, data: bytes) -> None:
            raise ValueError(data.decode(errors="replace"))

    with logged() as records:
        w = wire(Failing)
        with pytest.raises(ValueError, match="all is lost"):
            w.feed(EVIL.encode())
    (line,) = lines(records)
    assert is_plain(line)
    assert is_plain(str(w.reason))

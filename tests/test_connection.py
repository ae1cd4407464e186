"""Connection as its users see it: construction, attributes, `send`, calls at the wrong time.

Reading and writing have files of their own in tests/connection/; what happens when is in test_lifecycle.py.
"""

from __future__ import annotations

import re
from struct import Struct

import pytest

import trews
from tests.connection.recorder import Recorder, start
from trews.connection import Sent
from trews.framing import Delimiter, Exactly, JSONLines, Line, Netstring, Prefixed, Raw, Varint
from trews.testing import VirtualLoop, pair, run, wire


class Echo(trews.Connection):
    def on_read(self, data):
        self.write(data)


def test_the_echo_of_the_readme():
    w = wire(Echo)
    assert w.feed(b"hi").sent() == b"hi"


def test_the_handler_of_the_readme():
    async def shout(conn):
        name = await conn.read(timeout=30)
        async for line in conn:
            await conn.send(f"{name}: {line.upper()}")

    w = wire(shout, framer=Line(encoding="utf-8"))
    w.feed(b"Ada\nhello\r\nbye\n")
    assert w.sent() == b"Ada: HELLO\r\nAda: BYE\r\n"
    assert w.eof().closed


class TestConstruction:
    """`Thing()` without arguments, by the server or `connect`; `__new__` prepares the state."""

    def test_a_forgotten_super_init_is_harmless(self):
        class Forgetful(trews.Connection):
            framer = b"\n"

            def __init__(self):
                self.seen = []

            def on_read(self, message):
                self.seen.append((message, self.server, self.remote_address, self.max_message))
                self.write(message)

        w = wire(Forgetful)
        assert w.feed(b"hi\n").sent() == b"hi"
        assert w.connection.seen == [(b"hi", None, "wire:b", 65536)]

    def test_new_prepares_settings_server_and_addresses(self):
        class Early(trews.Connection):
            def __init__(self):
                self.known = (self.server, self.remote_address, self.local_address, self.tls, self.framer, self.reason)

        assert Early().known == (None, None, None, None, None, None)

    def test_new_takes_whatever_init_takes(self):
        class Named(trews.Connection):
            def __init__(self, name="nobody"):
                self.name = name

        assert Named("ada").name == "ada"
        assert Named(name="bob").name == "bob"

    def test_it_needs_no_loop(self):
        connection = trews.Connection()
        assert not connection.is_open
        assert not connection.is_closed

    def test_each_has_an_id_of_its_own(self):
        ids = [trews.Connection().id for _ in range(5)]
        assert len(set(ids)) == 5

    def test_init_may_assign_settings(self):
        class Lines(Recorder):
            def __init__(self):
                self.framer = b"\n"

        assert wire(Lines).feed(b"a\nb\n").connection.messages == [b"a", b"b"]


class TestAttributes:
    """Attributes: id, server, remote_address, local_address, tls, …, is_closed, reason; a repr that tells this."""

    def test_addresses(self):
        connection = wire(Echo).connection
        assert (connection.local_address, connection.remote_address) == ("wire:a", "wire:b")

    def test_tls_and_credentials_are_none_in_memory(self):
        connection = wire(Echo).connection
        assert connection.tls is None
        assert connection.peer_credentials is None
        assert trews.Connection().peer_credentials is None

    def test_opened_at_is_the_time_of_day(self):
        new = trews.Connection()
        assert new.opened_at == 0.0
        assert wire(Echo).connection.opened_at > 1.7e9

    def test_bytes_in_and_out(self):
        w = wire(Echo)
        assert (w.connection.bytes_in, w.connection.bytes_out) == (0, 0)
        w.feed(b"12345")
        assert (w.connection.bytes_in, w.connection.bytes_out) == (5, 5)

    def test_bytes_out_are_those_that_left(self):
        w = wire(trews.Connection, capacity=10).clog()
        w.connection.write(b"x" * 25)
        assert w.connection.bytes_out == 10
        w.unclog()
        assert w.connection.bytes_out == 25

    def test_bytes_out_does_not_count_what_was_dropped(self):
        w = wire(trews.Connection, capacity=10).clog()
        w.connection.write(b"x" * 25)
        w.connection.abort()
        w.settle()
        assert w.connection.bytes_out == 10

    def test_new_connection_has_sent_nothing(self):
        assert (trews.Connection().bytes_in, trews.Connection().bytes_out) == (0, 0)

    def test_is_closed_counts_closing(self):
        w = wire(trews.Connection, capacity=10).clog()
        w.connection.write(b"x" * 25)
        assert (w.connection.is_open, w.connection.is_closed) == (True, False)
        w.connection.close()
        assert (w.connection.is_open, w.connection.is_closed) == (False, True)
        w.unclog()
        assert (w.connection.is_open, w.connection.is_closed) == (False, True)

    def test_reason_is_none_while_open(self):
        w = wire(trews.Connection)
        assert w.connection.reason is None
        w.eof()
        assert isinstance(w.connection.reason, trews.ClosedByPeer)
        assert w.connection.reason.connection is w.connection

    def test_repr_tells_state_addresses_counts_and_reason(self):
        w = wire(Echo)
        connection = w.feed(b"abc").connection
        assert repr(connection) == f"<Echo #{connection.id} wire:a - wire:b open in=3 out=3>"
        w.eof()
        assert repr(connection) == f"<Echo #{connection.id} wire:a - wire:b closed (ClosedByPeer) in=3 out=3>"

    def test_repr_of_a_new_one(self):
        assert re.fullmatch(r"<Echo #\d+ new in=0 out=0>", repr(Echo()))

    def test_repr_while_flushing(self):
        w = wire(trews.Connection, capacity=1).clog()
        w.connection.write(b"xy")
        w.connection.close()
        assert "flushing (ClosedLocally) in=0 out=1" in repr(w.connection)


class TestBeforeItIsConnected:
    """Misuse before `on_connect` raises one sentence that says so."""

    @pytest.mark.parametrize(
        "call",
        [
            lambda c: c.write(b"x"),
            lambda c: c.send(b"x"),
            lambda c: c.close(),
            lambda c: c.abort(),
            lambda c: c.close_write(),
        ],
        ids=["write", "send", "close", "abort", "close_write"],
    )
    def test_calls(self, call):
        with pytest.raises(trews.Error, match="not connected yet"):
            call(trews.Connection())

    @pytest.mark.parametrize("name", ["read", "read_all", "drain", "wait_closed", "__anext__"])
    def test_coroutines(self, name):
        with pytest.raises(trews.Error, match="not connected yet"):
            run(getattr(trews.Connection(), name)())

    def test_a_failed_read_leaves_no_reader_behind(self):
        connection = trews.Connection()
        for _ in range(2):
            with pytest.raises(trews.Error, match="not connected yet"):
                run(connection.read())

    def test_spawn(self):
        async def work(): ...

        with pytest.raises(trews.Error, match="not connected yet"):
            trews.Connection().spawn(work())  # and no "was never awaited"

    def test_pause_reading_in_init_holds_until_resumed(self):
        class Shy(Recorder):
            def __init__(self):
                self.pause_reading()

        w = wire(Shy).feed(b"hi")
        assert w.connection.names == ["connect"]
        w.connection.resume_reading()
        assert w.settle().connection.messages == [b"hi"]

    def test_resume_reading_is_harmless(self):
        trews.Connection().resume_reading()


FRAMINGS = [
    (None, b"abc", b"abc"),
    (3, b"abc", b"abc"),
    (b"\r\n", b"abc", b"abc\r\n"),
    (Struct("!HB"), (1, 2), b"\0\1\2"),
    (Raw(), b"abc", b"abc"),
    (Exactly(3), b"abc", b"abc"),
    (Delimiter(b";"), b"abc", b"abc;"),
    (Line(), b"abc", b"abc\r\n"),
    (Line(encoding="utf-8"), "ä", b"\xc3\xa4\r\n"),
    (Netstring(), b"abc", b"3:abc,"),
    (Prefixed("!H"), b"abc", b"\0\3abc"),
    (Varint(), b"abc", b"\3abc"),
    (JSONLines(), {"a": [1]}, b'{"a":[1]}\n'),
]


class TestSend:
    """`send(message)` encodes with the framer and writes at once; awaiting what it returns drains."""

    @pytest.mark.parametrize(("framer", "message", "expected"), FRAMINGS)
    def test_encodes_with_the_framer(self, framer, message, expected):
        w = wire(trews.Connection, framer=framer)
        w.connection.send(message)
        assert w.sent() == expected

    @pytest.mark.parametrize(("framer", "message", "expected"), FRAMINGS)
    def test_is_the_inverse_of_reading(self, framer, message, expected):
        w = wire(Recorder, framer=framer).feed(expected)
        assert w.connection.messages == [message]

    @pytest.mark.parametrize(
        ("framer", "message", "error"),
        [
            (None, "text", TypeError),
            (None, 7, TypeError),
            (3, b"four", ValueError),
            (b"\n", b"a\nb", ValueError),
            (Struct("!B"), (256,), ValueError),
            (Struct("!B"), b"x", TypeError),
            (Line(encoding="utf-8"), b"bytes", TypeError),
            (Line(encoding="ascii"), "ä", ValueError),
            (Prefixed("!B"), b"x" * 256, ValueError),
            (JSONLines(), object(), TypeError),
        ],
    )
    def test_encoding_errors_raise_there(self, framer, message, error):
        w = wire(trews.Connection, framer=framer)
        with pytest.raises(error):
            w.connection.send(message)
        assert w.sent() == b""
        assert w.connection.is_open

    def test_awaiting_it_twice_is_fine(self):
        w = wire(trews.Connection, framer=b"\n", capacity=10, write_high=5, write_low=2).clog()
        sent = w.connection.send(b"x" * 40)
        assert isinstance(sent, Sent)

        async def twice():
            await sent
            await sent
            return "both"

        task = start(w, twice())
        assert not task.done()
        w.unclog()
        assert task.result() == "both"
        assert w.sent() == b"x" * 40 + b"\n"

    def test_it_goes_through_an_overridden_write(self):
        class Loud(trews.Connection):
            def write(self, data):
                super().write(data.upper())

        w = wire(Loud, framer=b"\n")
        w.connection.send(b"abc")
        assert w.sent() == b"ABC\n"

    def test_framer_is_looked_up_at_each_send(self):
        w = wire(trews.Connection)
        w.connection.send(b"a")
        w.connection.framer = b"\n"
        w.connection.send(b"b")
        w.connection.framer = Netstring()
        w.connection.send(b"c")
        assert w.sent() == b"ab\n1:c,"

    def test_unawaited_it_fails_silently_when_the_peer_is_gone(self):
        w = wire(Recorder, framer=b"\n").reset()
        w.connection.send(b"abc")
        w.settle()
        assert w.connection.errors == []

    def test_awaited_it_raises_the_reason(self):
        w = wire(Recorder, framer=b"\n").reset()

        async def send():
            await w.connection.send(b"abc")

        with pytest.raises(trews.ConnectionReset) as info:
            start(w, send()).result()
        assert info.value.connection is w.connection


class TestPair:
    def test_both_ends_on_one_loop(self):
        async def main():
            async with pair(Echo, trews.Connection) as (a, b):
                await b.send(b"hello")
                assert await b.read() == b"hello"
                return a, b

        a, b = run(main())
        assert a.is_closed
        assert b.is_closed

    def test_a_loop_that_closes_under_a_connection_still_calls_on_close(self):
        """If the loop itself closes under a connection, plain `on_close` still runs on trews' loop."""
        w = wire(Recorder)
        assert isinstance(w.loop, VirtualLoop)
        w.loop.close()
        assert [type(reason) for reason in w.connection.closes] == [trews.Aborted]

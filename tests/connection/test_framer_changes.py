"""`framer` changed while the connection runs, and the length 0."""

from __future__ import annotations

import pytest

import trews
from tests.connection.recorder import Recorder, start
from trews.framing import Netstring
from trews.testing import wire


class Lines(Recorder):
    framer = b"\n"


class TestFramerChanges:
    """`framer` is looked at again after every message, so changing it in `on_read` applies to bytes already there."""

    def test_length_then_body(self):
        class TwoByteLength(Recorder):
            framer = 2

            def on_read(self, message):
                self.framer = int.from_bytes(message)
                self.on_read = self.on_body

            def on_body(self, message):
                self.events.append(("read", message))
                self.framer = 2
                del self.on_read

        data = b"\0\5hello\0\0\0\3abc"
        for chunk in (None, 1, 2, 3, 4):
            assert wire(TwoByteLength).feed(data, chunk=chunk).connection.messages == [b"hello", b"", b"abc"]

    def test_to_none_delivers_the_rest_as_it_is(self):
        class Raw(Lines):
            def on_read(self, message):
                super().on_read(message)
                self.framer = None

        w = wire(Raw).feed(b"head\nbo\ndy").feed(b"\nmore")
        assert w.connection.messages == [b"head", b"bo\ndy", b"\nmore"]

    def test_from_none_to_lines(self):
        class Lines2(Recorder):
            def on_read(self, message):
                super().on_read(message)
                self.framer = b"\n"

        assert wire(Lines2).feed(b"raw").feed(b"a\nb\n").connection.messages == [b"raw", b"a", b"b"]

    @pytest.mark.parametrize("chunk", [None, 1])
    def test_each_message_another(self, chunk):
        class Cycle(Recorder):
            framer = 1

            def on_read(self, message):
                super().on_read(message)
                self.framer = {1: b";", b";": Netstring()}.get(self.framer, 1)

        w = wire(Cycle).feed(b"xab;2:cd,yef;", chunk=chunk)
        assert w.connection.messages == [b"x", b"ab", b"cd", b"y", b"ef"]

    def test_a_framer_on_a_class_serves_many_interleaved(self):
        wires = [wire(Lines) for _ in range(100)]
        for piece in (b"a", b"b\nc", b"d\n"):
            for w in wires:
                w.feed(piece)
        assert all(w.connection.messages == [b"ab", b"cd"] for w in wires)

    def test_outside_a_callback_it_counts_from_the_next_event(self):
        w = wire(Lines).feed(b"abc")
        w.connection.framer = 2
        assert w.feed(b"d").connection.messages == [b"ab", b"cd"]


class TestZero:
    """0 delivers `b""` once per assignment (lengths come from the wire)."""

    def test_on_the_class_it_is_one_empty_message(self):
        w = wire(Recorder, framer=0).feed(b"abc").advance(10)
        assert w.connection.messages == [b""]

    @pytest.mark.parametrize("framer", [None, 1, b"\n", Netstring()])
    def test_assigned_in_on_read(self, framer):
        class Zero(Recorder):
            def on_read(self, message):
                super().on_read(message)
                if message:
                    self.framer = 0

        Zero.framer = framer
        data = {None: b"a", 1: b"a", b"\n": b"a\n"}.get(framer, b"1:a,")
        assert wire(Zero).feed(data).connection.messages == [b"a", b""]

    def test_assigned_again_in_on_read_it_is_another(self):
        class Zeroes(Recorder):
            framer = 0

            def on_read(self, message):
                super().on_read(message)
                self.framer = 0 if len(self.messages) < 4 else b"\n"

        assert wire(Zeroes).feed(b"x\n").connection.messages == [b"", b"", b"", b"", b"x"]

    def test_the_bytes_wait_for_the_next_framer(self):
        w = wire(Recorder, framer=0).feed(b"abc")
        w.connection.framer = 2
        assert w.feed(b"d").connection.messages == [b"", b"ab", b"cd"]

    def test_read_takes_one_for_each_assignment(self):
        w = wire(trews.Connection, framer=0).feed(b"x")
        assert start(w, w.connection.read()).result() == b""
        task = start(w, w.connection.read(timeout=1))
        w.advance(1)
        assert isinstance(task.exception(), trews.TimedOut)
        w.connection.framer = 0
        assert start(w, w.connection.read()).result() == b""

    def test_read_with_framer_zero_is_one_each(self):
        w = wire(trews.Connection)
        assert [start(w, w.connection.read(framer=0)).result() for _ in range(3)] == [b""] * 3

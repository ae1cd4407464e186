"""What comes from the transport: handed out here and now, or kept."""

from __future__ import annotations

import pytest

import trews
from trews.errors import Aborted
from trews.framing import Decoder, Framer, Line
from trews.testing import wire


class Noting(trews.Connection):
    def __init__(self):
        self.seen = []

    def on_read(self, message):
        self.seen.append(message)

    def on_error(self, exc):
        self.seen.append(exc)

    def on_close(self, reason):
        self.seen.append(reason)


class Broken(Framer):
    """Its decoder raises."""

    def __init__(self, error):
        self.error = error

    def decoder(self):
        return BrokenDecoder(self.error)

    def encode(self, message):
        return message


class BrokenDecoder(Decoder):
    def __init__(self, error):
        self.error = error

    def decode(self, buffer, scanned):
        raise self.error


def noting(**settings):
    return wire(type("Noting", (Noting,), settings))


class TestAtOnce:
    @pytest.mark.parametrize(
        ("framer", "data", "message"),
        [(None, b"abc", b"abc"), (3, b"abc", b"abc"), (b";", b"abc;", b"abc"), (Line(encoding="utf-8"), b"a\r\n", "a")],
    )
    def test_what_is_one_message_is_not_kept(self, framer, data, message):
        w = noting(framer=framer)
        w.feed(data)
        assert w.connection.seen == [message]
        before = w.connection._inbox
        w.feed(data)
        assert w.connection.seen == [message] * 2
        assert w.connection._inbox is before
        assert not w.connection._has_news

    @pytest.mark.parametrize(
        ("data", "messages"), [(b"a", []), (b"a;b;", [b"a", b"b"]), (b"a;b", [b"a"]), (b";", [b""])]
    )
    def test_less_or_more_goes_the_long_way_and_comes_to_the_same(self, data, messages):
        w = noting(framer=b";").feed(data)
        assert w.connection.seen == messages
        assert w.connection._has_news is not data.endswith(b";")
        w.feed(b"z;")
        assert w.connection.seen[-1] == (b"z" if data.endswith(b";") else data.rpartition(b";")[2] + b"z")

    def test_a_connection_that_keeps_nothing_has_no_inbox_of_its_own(self):
        one, other = noting().feed(b"x"), noting()
        assert one.connection._inbox is other.connection._inbox
        assert len(one.connection._inbox) == 0

    def test_what_comes_while_it_is_paused_is_kept_for_later(self):
        w = noting()
        w.connection.pause_reading()
        w.connection.data_received(b"x")
        assert w.connection.seen == []
        w.connection.resume_reading()
        w.settle()
        assert w.connection.seen == [b"x"]

    def test_a_framer_that_is_assigned_in_on_read_has_the_rest(self):
        class Header(Noting):
            framer = b";"

            def on_read(self, message):
                super().on_read(message)
                self.framer = 0 if message == b"0" else b";"

        w = wire(Header).feed(b"0;")
        assert w.connection.seen == [b"0", b""]


class Pairs(Framer):
    """Each byte is a message, and behind it comes one of no bytes."""

    class Decoding(Decoder):
        least = 0
        is_second = False

        def decode(self, buffer, scanned):
            if self.is_second:
                self.is_second = False
                return b"", 0
            if not buffer:
                return 1
            self.is_second = True
            return bytes(buffer[:1]), 1

    def decoder(self):
        return self.Decoding()

    def encode(self, message):
        return message


class TestMessagesOfNoBytes:
    """Somebody's own decoder may make them: nothing is taken for granted of an empty inbox then."""

    def test_on_read(self):
        w = noting(framer=Pairs()).feed(b"a")
        assert w.connection.seen == [b"a", b""]
        assert w.feed(b"b").connection.seen == [b"a", b"", b"b", b""]

    def test_read(self):
        async def handler(conn):
            async for message in conn:
                seen.append(message)

        seen: list[bytes] = []
        w = wire(handler, framer=Pairs())
        for data in (b"a", b"b"):
            w.feed(data)
            assert seen[-2:] == [data, b""]

    def test_read_looks_again_when_the_limit_has_changed(self):
        async def handler(conn):
            seen.append(await conn.read(5))
            conn.max_message = 4
            with pytest.raises(trews.MessageTooLong):
                await conn.read(5)
            seen.append("refused")

        seen: list[object] = []
        wire(handler).feed(b"12345")
        assert seen == [b"12345", "refused"]


class TestErrors:
    """They are told to on_error and end the connection, wherever they are raised."""

    def ends_with(self, w, kind):
        exc, reason = w.connection.seen[-2:]
        assert isinstance(exc, kind)
        assert isinstance(reason, Aborted)

    @pytest.mark.parametrize("when", [1, 2], ids=["before the message", "after it"])
    def test_of_a_framer_that_is_a_property(self, when):
        class Odd(Noting):
            looks = 0
            armed = False

            @property
            def framer(self):
                if self.armed:
                    self.looks += 1
                    if self.looks == when:
                        raise ZeroDivisionError
                return None

        w = wire(Odd)
        w.connection.armed = True
        w.feed(b"x")
        self.ends_with(w, ZeroDivisionError)
        assert (b"x" in w.connection.seen) is (when == 2)

    def test_of_a_decoder(self):
        self.ends_with(noting(framer=Broken(ZeroDivisionError)).feed(b"x"), ZeroDivisionError)

    @pytest.mark.parametrize("waits", [False, True], ids=["on_read", "read"])
    @pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
    def test_an_interrupt_in_a_decoder_is_not_swallowed(self, error, waits):
        async def read(conn):
            await conn.read()

        w = wire(read if waits else Noting, framer=Broken(error))
        with pytest.raises(error):
            w.connection.data_received(b"x")

    def test_a_message_that_is_too_long(self):
        w = noting(framer=b";", max_message=3).feed(b"abcd;")
        assert isinstance(w.connection.seen[-1], trews.MessageTooLong)

"""Settings and callbacks: defaults, the ways to override them, and what catches a misspelt one."""

from __future__ import annotations

import functools
import ssl
import warnings
from struct import Struct

import pytest

import trews
from tests.connection.recorder import Recorder
from trews.framing import Framer, Line, Netstring, Prefixed, Varint
from trews.handler import connection_class
from trews.settings import CALLBACKS, CLIENT_CALLBACKS, DEFAULTS, SERVER_CALLBACKS, is_near, nearest
from trews.testing import run, wire

KIB = 1024

# The table of the documentation: name, default, another value that it may have.
SETTINGS = [
    ("framer", None, b"\n"),
    ("max_message", 64 * KIB, 100),
    ("read_high", 64 * KIB, 100),
    ("message_timeout", 60, 5),
    ("idle_timeout", None, 5),
    ("write_high", 64 * KIB, 100),
    ("write_low", 16 * KIB, 10),
    ("write_limit", 16 * KIB * KIB, 1000),
    ("write_timeout", 60, 5),
    ("close_timeout", 30, 5),
    ("half_close", False, True),
    ("tls_context", None, ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)),
]
SIZES = ["max_message", "read_high", "write_high", "write_low", "write_limit"]
TIMES = ["message_timeout", "idle_timeout", "write_timeout", "close_timeout"]


def test_the_table_is_complete():
    assert [name for name, _, _ in SETTINGS] == list(DEFAULTS)


@pytest.mark.parametrize(("name", "default", "value"), SETTINGS)
class TestEachSetting:
    """Plain class attributes that a subclass overrides or an instance assigns; keywords make a subclass once."""

    def test_default(self, name, default, value):
        assert getattr(trews.Connection, name) == default
        assert getattr(trews.Connection(), name) == default
        assert DEFAULTS[name] == default

    def test_on_a_subclass(self, name, default, value):
        cls = type("Mine", (trews.Connection,), {name: value})
        assert getattr(cls(), name) == value
        assert getattr(trews.Connection(), name) == default

    def test_on_an_instance(self, name, default, value):
        one, other = trews.Connection(), trews.Connection()
        setattr(one, name, value)
        assert getattr(one, name) == value
        assert getattr(other, name) == default

    def test_as_keyword(self, name, default, value):
        w = wire(Recorder, **{name: value})
        assert getattr(w.connection, name) == value
        assert getattr(Recorder, name) == default
        assert type(w.connection).__name__ == "Recorder"

    def test_as_keyword_of_a_server_and_of_connect(self, name, default, value):
        async def main():
            async def handler(conn):
                seen.append(getattr(conn, name))

            async with trews.Server(handler, **{name: value}).listen("memory:settings"):
                async with trews.connect("memory:settings", **{name: value}) as conn:
                    seen.append(getattr(conn, name))
                    await conn.read_all()

        seen: list[object] = []
        if name == "tls_context":  # and that this is not TLS is told at once
            with pytest.raises(trews.EndpointError):
                run(main())
            return
        run(main())
        assert seen == [value, value]

    def test_for_a_function(self, name, default, value):
        seen = []

        async def handler(conn):
            seen.append(getattr(conn, name))

        wire(handler, **{name: value})
        wire(handler)
        assert seen == [value, default]

    def test_keyword_over_class_attribute_and_instance_over_both(self, name, default, value):
        cls = type("Mine", (trews.Connection,), {name: default})
        connection = wire(cls, **{name: value}).connection
        assert getattr(connection, name) == value
        setattr(connection, name, default)
        assert getattr(connection, name) == default

    def test_computed_by_a_property(self, name, default, value):
        cls = type("Mine", (Recorder,), {name: property(lambda self: value)})
        assert getattr(wire(cls).connection, name) == value

    def test_a_misspelt_keyword_names_the_nearest(self, name, default, value):
        wrong = name[:-1]
        for call in (
            lambda: wire(Recorder, **{wrong: value}),
            lambda: trews.Server(Recorder, **{wrong: value}),
            lambda: trews.connect("memory:x", **{wrong: value}),
            lambda: trews.serve(Recorder, "memory:x", **{wrong: value}),
        ):
            with pytest.raises(TypeError, match=f"no setting '{wrong}'.*did you mean '{name}'"):
                call()

    def test_a_class_attribute_one_letter_away_is_refused(self, name, default, value):
        middle = len(name) // 2
        wrongs = [
            name[1:],  # one missing
            name[:-1],
            name[:middle] + name[middle + 1 :],
            name + name[-1],  # one doubled
            name[:middle] + name[middle] + name[middle:],
            name[:middle] + "z" + name[middle + 1 :],  # another
            name[:middle] + name[middle + 1] + name[middle] + name[middle + 2 :],  # two swapped
        ]
        for wrong in wrongs:
            if wrong == name:
                continue
            with pytest.raises(TypeError, match=f"Mine.{wrong} is not a setting; did you mean {name}"):
                type("Mine", (trews.Connection,), {wrong: value})


class TestUnknownNames:
    def test_max_mesage(self):
        with pytest.raises(TypeError, match=r"Chat\.max_mesage is not a setting; did you mean max_message\?"):

            class Chat(trews.Connection):
                max_mesage = 100

    def test_a_keyword_like_none_lists_them(self):
        with pytest.raises(TypeError, match="no setting 'qqqq'; there are close_timeout, framer"):
            wire(Recorder, qqqq=1)

    def test_a_servers_own_keywords(self):
        server = trews.Server(Recorder, max_connections=5, max_connections_per_host=2, max_message=7)
        assert (server.max_connections, server.max_connections_per_host) == (5, 2)
        with pytest.raises(TypeError, match="did you mean 'max_connections'"):
            trews.Server(Recorder, max_conections=5)

    def test_a_servers_class_attribute_one_letter_away(self):
        with pytest.raises(TypeError, match=r"Hub\.max_conections is not a setting; did you mean max_connections\?"):

            class Hub(trews.Server):
                max_conections = 5

    @pytest.mark.parametrize("name", ["users", "nickname", "max_users", "timeout", "room", "frames", "_framer", "one"])
    def test_other_attributes_are_the_users_own(self, name):
        if name == "frames":
            with pytest.raises(TypeError):  # one letter from framer
                type("Mine", (trews.Connection,), {name: 1})
        else:
            assert getattr(type("Mine", (trews.Connection,), {name: 1}), name) == 1

    def test_without_keywords_the_class_itself_is_used(self):
        assert connection_class(Recorder, {}) is Recorder

    def test_the_made_subclass_looks_like_its_base(self):
        cls = connection_class(Recorder, {"framer": 3})
        assert issubclass(cls, Recorder)
        assert (cls.__name__, cls.__qualname__, cls.__module__, cls.__doc__) == (
            Recorder.__name__,
            Recorder.__qualname__,
            Recorder.__module__,
            Recorder.__doc__,
        )

    def test_nearest(self):
        assert nearest("max_msg", DEFAULTS) == "; did you mean 'max_message'?"
        assert nearest("idle", DEFAULTS).startswith("; did you mean 'idle_timeout'?")

    @pytest.mark.parametrize("name", ["reload", "workers", "host", "on", "w"])
    def test_what_is_not_near(self, name):
        assert nearest(name, DEFAULTS) == f"; there are {', '.join(sorted(DEFAULTS))}"


class TestValues:
    """A value that a setting cannot have is refused where it is written."""

    @pytest.mark.parametrize("name", SIZES)
    @pytest.mark.parametrize(
        ("value", "error"),
        [(-1, ValueError), (1.5, TypeError), ("64k", TypeError), (None, TypeError), (True, TypeError)],
    )
    def test_sizes(self, name, value, error):
        with pytest.raises(error, match=f"{name} is a number of bytes"):
            type("Mine", (trews.Connection,), {name: value})
        with pytest.raises(error, match=f"{name} is a number of bytes"):
            wire(Recorder, **{name: value})

    @pytest.mark.parametrize("name", TIMES)
    @pytest.mark.parametrize(
        ("value", "error"),
        [(-1, ValueError), (0, ValueError), (float("nan"), ValueError), ("5", TypeError), (True, TypeError)],
    )
    def test_times(self, name, value, error):
        with pytest.raises(error, match=f"{name} is a number of seconds"):
            type("Mine", (trews.Connection,), {name: value})
        with pytest.raises(error, match=f"{name} is a number of seconds"):
            wire(Recorder, **{name: value})

    @pytest.mark.parametrize("name", TIMES)
    @pytest.mark.parametrize("value", [None, 1, 0.5, float("inf")])
    def test_times_that_are_fine(self, name, value):
        assert wire(Recorder, **{name: value}).advance(0.1).connection.is_open

    @pytest.mark.parametrize("name", SIZES)
    def test_zero_bytes_are_fine(self, name):
        assert wire(Recorder, **{name: 0}).connection.is_open

    @pytest.mark.parametrize(
        ("value", "error", "words"),
        [
            ("\n", TypeError, "did you mean b'\\\\n'"),
            (Line, TypeError, r"did you mean Line\(\)"),
            (1.5, TypeError, "framer must be"),
            (True, TypeError, "framer must be"),
            (object(), TypeError, "framer must be"),
            (-1, ValueError, "-1 bytes"),
            (b"", ValueError, "empty"),
            (Struct(""), ValueError, "no bytes"),
        ],
    )
    def test_framers(self, value, error, words):
        with pytest.raises(error, match=words):
            type("Mine", (trews.Connection,), {"framer": value})
        with pytest.raises(error, match=words):
            wire(Recorder, framer=value)

    def test_a_framer_of_ones_own(self):
        class Pairs(Framer):
            def decoder(self):
                return Line().decoder()

            def encode(self, message):
                return message

        assert wire(Recorder, framer=Pairs()).feed(b"a\n").connection.messages == [b"a"]


LIMIT = 20
EXACT = b"x" * LIMIT

# name, framer, the wire form of a message of exactly LIMIT bytes of payload, of one more, and of its beginning only
LIMITED = [
    ("Exactly", lambda n: n, lambda p: p),
    ("Struct", lambda n: Struct(f"{n}s"), lambda p: p),
    ("Delimiter", lambda n: b"\r\n", lambda p: p + b"\r\n"),
    ("Line", lambda n: Line(), lambda p: p + b"\n"),
    ("Line keep_end", lambda n: Line(keep_end=True), lambda p: p + b"\r\n"),
    ("Line utf-8", lambda n: Line(encoding="utf-8"), lambda p: p + b"\r\n"),
    ("Netstring", lambda n: Netstring(), lambda p: b"%d:%b," % (len(p), p)),
    ("Prefixed", lambda n: Prefixed("!I"), lambda p: len(p).to_bytes(4) + p),
    ("Prefixed+", lambda n: Prefixed("!H", includes_prefix=True), lambda p: (len(p) + 2).to_bytes(2) + p),
    ("Varint", lambda n: Varint(), lambda p: bytes([len(p)]) + p),
]


@pytest.mark.parametrize(("framer", "encode"), [case[1:] for case in LIMITED], ids=[case[0] for case in LIMITED])
@pytest.mark.parametrize("chunk", [None, 1, 3])
class TestMaxMessage:
    """`max_message`: one more and the connection ends with `MessageTooLong`, whatever the chunking."""

    def test_exactly(self, framer, encode, chunk):
        w = wire(Recorder, framer=framer(LIMIT), max_message=LIMIT).feed(encode(EXACT) * 3, chunk=chunk)
        assert len(w.connection.messages) == 3
        assert w.connection.is_open

    def test_one_more(self, framer, encode, chunk):
        w = wire(Recorder, framer=framer(LIMIT + 1), max_message=LIMIT).feed(encode(EXACT + b"x"), chunk=chunk)
        assert type(w.reason) is trews.MessageTooLong
        assert str(LIMIT) in str(w.reason)
        assert w.connection.names == ["connect", "close"]

    def test_without_waiting_for_the_end_of_the_message(self, framer, encode, chunk):
        w = wire(Recorder, framer=framer(LIMIT * 100), max_message=LIMIT).feed(b"")
        if isinstance(framer(1), int | Struct):
            w.feed(b"x")
        else:
            head = encode(EXACT * 5).removesuffix(b"\n").removesuffix(b"\r").removesuffix(b",")
            w.feed(head[: LIMIT + 8], chunk=chunk)
        assert type(w.reason) is trews.MessageTooLong

    def test_for_a_read_too(self, framer, encode, chunk):
        seen = []

        async def handler(conn):
            seen.append(await conn.read())
            try:
                await conn.read()
            except trews.MessageTooLong as exc:
                seen.append(type(exc))

        data = encode(EXACT)
        w = wire(handler, framer=framer(LIMIT), max_message=LIMIT).feed(data, chunk=chunk)
        w.connection.max_message = LIMIT - 1
        w.feed(data, chunk=chunk)
        assert seen[1:] == [trews.MessageTooLong]


class TestMaxMessageElsewhere:
    def test_none_framing_has_no_limit(self):
        w = wire(Recorder, max_message=5).feed(b"x" * 100_000)
        assert b"".join(w.connection.messages) == b"x" * 100_000

    def test_the_default_on_a_line(self):
        w = wire(Recorder, framer=b"\n").feed(b"x" * 65536 + b"\n")
        assert [len(message) for message in w.connection.messages] == [65536]
        assert type(w.feed(b"x" * 65537).reason) is trews.MessageTooLong

    def test_exactly_more_than_it_ends_at_once(self):
        """n > `max_message` ends with `MessageTooLong` at once."""
        assert type(wire(Recorder, framer=101, max_message=100).reason) is trews.MessageTooLong

    def test_in_the_middle_of_the_connection(self):
        class Lengths(Recorder):
            framer = 1
            max_message = 50

            def on_read(self, message):
                super().on_read(message)
                self.framer = message[0]

        w = wire(Lengths).feed(b"\x33")
        assert type(w.reason) is trews.MessageTooLong

    def test_messages_before_it_are_delivered(self):
        w = wire(Recorder, framer=b"\n", max_message=5).feed(b"1\n2\n" + b"x" * 10)
        assert w.connection.names == ["connect", "read", "read", "close"]


def slips(name):
    """`name` with one letter missing, doubled, or two neighbours swapped."""
    for i, letter in enumerate(name):
        if letter != "_":
            yield name[:i] + name[i + 1 :]
            yield name[:i] + letter + name[i:]
        if i + 1 < len(name) and letter != name[i + 1] and "_" not in name[i : i + 2]:
            yield name[:i] + name[i + 1] + letter + name[i + 2 :]


class TestCallbackNames:
    """A known name with one letter missing, doubled or two swapped is a `TypeError` that names the right one."""

    @pytest.mark.parametrize("right", sorted(CALLBACKS))
    def test_every_slip_of_a_connections(self, right):
        for wrong in sorted(set(slips(right)) - CALLBACKS.keys()):
            with pytest.raises(TypeError, match=rf"Mine\.{wrong} would never be called; did you mean {right}\?"):
                type("Mine", (trews.Connection,), {wrong: lambda self, *args: None})

    @pytest.mark.parametrize("right", sorted(SERVER_CALLBACKS))
    def test_every_slip_of_a_servers(self, right):
        for wrong in sorted(set(slips(right)) - SERVER_CALLBACKS.keys()):
            with pytest.raises(TypeError, match=rf"Mine\.{wrong} would never be called; did you mean {right}\?"):
                type("Mine", (trews.Server,), {wrong: lambda self, *args: None})

    @pytest.mark.parametrize("right", sorted(CLIENT_CALLBACKS))
    def test_every_slip_of_a_clients(self, right):
        for wrong in sorted(set(slips(right)) - CLIENT_CALLBACKS.keys()):
            with pytest.raises(TypeError, match=rf"Mine\.{wrong} would never be called; did you mean {right}\?"):
                type("Mine", (trews.Client,), {wrong: lambda self, *args: None})

    @pytest.mark.parametrize("kind", [staticmethod, functools.partial, functools.cache])
    def test_however_it_is_made(self, kind):
        with pytest.raises(TypeError, match="did you mean on_connect"):
            type("Mine", (trews.Connection,), {"on_conect": kind(lambda *args: None)})

    def test_async_ones_too(self):
        with pytest.raises(TypeError, match="did you mean on_read"):

            class Mine(trews.Connection):
                async def on_raed(self, message): ...

    @pytest.mark.parametrize("name", ["on_body", "on_header", "on_login", "on_anything", "on_ping", "once", "online"])
    def test_users_methods_may_be_called_on_anything(self, name):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            type("Mine", (trews.Connection,), {name: lambda self: None})

    def test_counters_are_no_callbacks(self):
        type("Mine", (trews.Connection,), {"n_read": 0})

    @pytest.mark.parametrize(
        ("name", "right"),
        [("on_data", "on_read"), ("on_closed", "on_close"), ("on_message", "on_read"), ("on_disconnect", "on_close")],
    )
    def test_near_synonyms_warn(self, name, right):
        with pytest.warns(UserWarning, match=rf"Mine\.{name} is never called by trews; the callback is {right}"):
            type("Mine", (trews.Connection,), {name: lambda self: None})

    @pytest.mark.parametrize(("name", "right"), [("on_connected", "on_up"), ("on_disconnect", "on_down")])
    def test_near_synonyms_on_a_client_warn(self, name, right):
        with pytest.warns(UserWarning, match=rf"Mine\.{name} is never called by trews; the callback is {right}"):
            type("Mine", (trews.Client,), {name: lambda self: None})

    def test_the_warning_points_at_the_class(self):
        with pytest.warns(UserWarning, match="on_data") as caught:

            class Mine(trews.Connection):
                def on_data(self, data): ...

        assert caught[0].filename == __file__

    @pytest.mark.parametrize("name", ["on_full", "on_drain"])
    def test_an_async_override_of_the_plain_two_is_refused(self, name):
        async def override(self): ...

        with pytest.raises(TypeError, match=rf"Mine\.{name} must be a plain function"):
            type("Mine", (trews.Connection,), {name: override})

    @pytest.mark.parametrize("name", sorted(CALLBACKS.keys() - {"on_full", "on_drain"}))
    def test_the_others_may_be_async(self, name):
        async def override(self, *args): ...

        type("Mine", (trews.Connection,), {name: override})


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("frame", True),
        ("framerr", True),
        ("ramer", True),
        ("xframer", True),
        ("fraemr", True),
        ("framed", True),
        ("fxamer", True),
        ("framer", False),
        ("fram", False),
        ("framers2", False),
        ("farmre", False),
    ],
)
def test_is_near(name, is_one):
    assert is_near(name, "framer") is is_one


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("idle_timeout", "3", "idle_timeout is a number of seconds or None, not '3'"),
        ("message_timeout", "3", "message_timeout is a number of seconds or None, not '3'"),
        ("close_timeout", "3", "close_timeout is a number of seconds or None, not '3'"),
        ("max_message", "9", "max_message is a number of bytes, not '9'"),
        ("read_high", None, "read_high is a number of bytes, not None"),
        ("framer", "x", "a delimiter must be bytes; did you mean b'x'?"),
    ],
)
def test_a_value_that_cannot_be_is_the_connections_error_when_it_is_assigned_late(name, value, error):
    class Assigning(Recorder):
        framer = b"\n"
        read_high = 1

        def on_connect(self):
            super().on_connect()
            setattr(self, name, value)

        async def on_read(self, message):
            self.close() if message == b"bye" else await self.read()

    w = wire(Assigning).feed(b"abc\nde").feed(b"fgh\nbye\n").advance(100).reset()
    w.advance(100)
    if name == "close_timeout":
        assert w.connection.errors == []  # it was not needed
    else:
        assert [str(exc) for exc in w.connection.errors] == [error]
        assert w.was_reset
    assert w.connection.names[-1] == "close"
    assert len(w.connection.closes) == 1

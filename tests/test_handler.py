"""What may serve a connection: a `Connection` subclass, or an async function of a connection."""

from __future__ import annotations

import asyncio
import functools

import pytest

import trews
from tests.connection.recorder import Recorder
from trews.framing import Line
from trews.handler import HandlerConnection, connection_class
from trews.testing import run, wire


async def echo(conn):
    async for data in conn:
        conn.write(data)


class CallableObject:
    async def __call__(self, conn):
        await echo(conn)

    async def method(self, conn):
        await echo(conn)

    @staticmethod
    async def static(conn):
        await echo(conn)

    @classmethod
    async def of_class(cls, conn):
        await echo(conn)


async def greet(conn, greeting=b""):
    conn.write(greeting)
    await echo(conn)


@pytest.mark.parametrize(
    "handler",
    [
        echo,
        CallableObject(),
        CallableObject().method,
        CallableObject.static,
        CallableObject.of_class,
        functools.partial(greet, greeting=b""),
        lambda conn: echo(conn),
        lambda conn: asyncio.ensure_future(echo(conn)),
    ],
    ids=["function", "object", "method", "static", "classmethod", "partial", "lambda", "future"],
)
def test_whatever_gives_an_awaitable(handler):
    w = wire(handler).feed(b"hi")
    assert w.sent() == b"hi"
    assert w.eof().closed


def test_a_class_without_keywords_is_used_as_it_is():
    assert connection_class(Recorder, {}) is Recorder


def test_a_class_with_keywords_becomes_a_subclass_once():
    cls = connection_class(Recorder, {"framer": b"\n"})
    assert issubclass(cls, Recorder)
    assert cls.framer == b"\n"
    assert cls.__name__ == "Recorder"


def test_each_function_has_a_class_of_its_own():
    one, other = connection_class(echo, {}), connection_class(greet, {"framer": 3})
    assert one is not other
    assert (one.framer, other.framer) == (None, 3)
    assert HandlerConnection.framer is None


def test_its_connections_are_named_after_it():
    assert "<echo #" in repr(wire(echo).connection)
    assert "CallableObject #" in repr(wire(CallableObject()).connection)


class Unrelated: ...


async def generator(conn):
    yield


async def without_parameter(): ...


class WithArguments(trews.Connection):
    def __init__(self, database):
        self.database = database


@pytest.mark.parametrize(
    ("handler", "words"),
    [
        (Unrelated, "Unrelated is not a subclass of trews.Connection"),
        (dict, "dict is not a subclass"),
        (None, "a Connection subclass or an async function of a connection, not None"),
        (b"echo", "not b'echo'"),
        (40.4, "not 40.4"),
        (generator, "has a `yield`"),
        (lambda conn: (yield), "has a `yield`"),
        (without_parameter, "without_parameter is called with one argument, the connection"),
        (WithArguments, "WithArguments is made without arguments.*what connections share belongs on a trews.Server"),
    ],
    ids=["class", "dict", "None", "bytes", "float", "async generator", "generator", "parameters", "__init__"],
)
def test_others_are_refused_with_a_sentence(handler, words):
    for make in (trews.Server, lambda h: trews.connect("memory:x", h)):
        with pytest.raises(TypeError, match=words):
            make(handler)


def test_an_instance_is_refused_with_a_sentence():
    with pytest.raises(TypeError, match="give the class Recorder, not an instance: each connection gets its own"):
        trews.Server(Recorder())


class TestPlainFunctions:
    """A plain `def` that returns None is refused with a sentence naming `async def` and `trews.green`."""

    @pytest.mark.parametrize("value", [None, 7, b"bytes"])
    def test_it_is_the_connections_error(self, value, caplog):
        def handler(conn):
            return value

        w = wire(handler)
        with pytest.raises(TypeError, match=r"handler.*async def.*trews\.green"):
            w.settle()
        assert w.reason.__cause__ is w.error
        assert w.was_reset
        assert "async def" in caplog.text

    def test_one_that_raises(self):
        def handler(conn):
            raise ValueError("oops")

        w = wire(handler)
        with pytest.raises(ValueError, match="oops"):
            w.settle()
        assert w.reason.__cause__ is w.error


class TestItsReturn:
    """A handler function that returns closes (flushing)."""

    def test_at_once(self):
        async def hello(conn):
            conn.write(b"hello")

        w = wire(hello)
        assert w.sent() == b"hello"
        assert w.closed
        assert not w.was_reset
        assert w.reason.is_clean

    def test_later(self):
        async def hello(conn):
            await asyncio.sleep(5)
            conn.write(b"hello")

        w = wire(hello).advance(4.9)
        assert not w.closed
        assert w.advance(0.1).sent() == b"hello"
        assert w.closed

    def test_unread_input_does_not_keep_it_open(self):
        async def one(conn):
            await conn.send(await conn.read())

        w = wire(one, framer=Line()).feed(b"1\n2\n3\n")
        assert w.sent() == b"1\r\n"
        assert w.closed

    def test_after_its_own_close(self):
        async def rude(conn):
            conn.close()
            await asyncio.sleep(1)

        w = wire(rude)
        assert w.closed
        assert type(w.advance(1).reason) is trews.ClosedLocally

    def test_when_the_peer_has_ended(self):
        async def count(conn):
            data = await conn.read_all()
            conn.write(b"%d" % len(data))

        w = wire(count).feed(b"abc").eof()
        assert w.sent() == b"3"
        assert w.closed
        assert w.reason.is_clean

    def test_the_result_is_ignored(self):
        async def handler(conn):
            return 7

        assert wire(handler).reason.is_clean


def test_a_client_may_be_a_handler():
    seen = []

    async def client(conn):
        await conn.send(b"hi")
        seen.append(await conn.read())

    async def main():
        async with trews.Server(echo, framer=2).listen("memory:client"):
            conn = await trews.connect("memory:client", client, framer=2)
            await conn.wait_closed()

    run(main())
    assert seen == [b"hi"]


def test_many_connections_of_one_handler_do_not_mix():
    async def handler(conn):
        name = await conn.read()
        async for line in conn:
            conn.send(name + b": " + line)

    wires = [wire(handler, framer=b"\n") for _ in range(50)]
    for number, w in enumerate(wires):
        w.feed(b"%d\n" % number)
    for number, w in enumerate(wires):
        assert w.feed(b"hi\n").sent() == b"%d: hi\n" % number


def test_on_stop_of_a_handler_ends_its_read_between_two_messages():
    w = wire(echo, framer=b"\n").feed(b"half")
    w.connection.on_stop()
    assert w.settle().connection.is_open
    assert w.feed(b" a line\n").sent() == b"half a line"
    assert w.closed
    assert w.reason.is_clean

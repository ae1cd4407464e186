"""Callbacks: plain or async, in a context of their own; one that raises ends its connection and no other."""

from __future__ import annotations

import contextvars
import functools
from typing import Any

from trews.connection import Connection
from trews.errors import Aborted, ConnectionClosed
from trews.framing import Line
from trews.testing.conformance.suite import (
    Boom,
    Echo,
    OpenPair,
    Recorder,
    answers,
    check,
    closed,
    fill,
    soon,
    turns,
    until,
)

_var: contextvars.ContextVar[str] = contextvars.ContextVar("_var", default="outside")


async def _provoke(name: str, client: Any, server: Any) -> None:
    """Have `server.on_{name}` called."""
    if name == "read":
        client.write(b"x")
    elif name == "eof":
        client.close_write()
    elif name == "close":
        client.close()
    elif name in ("full", "drain"):
        client.pause_reading()
        await fill(server)
        client.resume_reading()
    elif name == "stop" and server.server is not None:
        server.server.stop()


def _failing(name: str, is_async: bool) -> type[Recorder]:
    """A Recorder whose `on_{name}` raises."""

    def fail(self: Recorder, *args: Any) -> None:
        self.note(name, *args)
        raise Boom(name)

    async def fail_later(self: Recorder, *args: Any) -> None:
        self.note(name, *args)
        await turns(2)
        raise Boom(name)

    return type("Failing", (Recorder,), {f"on_{name}": fail_later if is_async else fail})


async def _failure_ends_only_its_connection(name: str, is_async: bool, open_pair: OpenPair) -> None:
    async with (
        open_pair(Connection, Echo) as (neighbour, _),
        open_pair(Recorder, _failing(name, is_async)) as (client, server),
    ):
        if name == "stop" and server.server is None:
            return  # joined without a Server: nothing stops it
        await _provoke(name, client, server)
        await until(lambda: server.of("close") and server.of("error") and client.of("close"))
        await turns()
        assert [(type(exc), exc.args) for exc in server.of("error")] == [(Boom, (name,))]
        assert server.names.count("close") == 1
        if name != "close":  # that one had its reason before
            assert isinstance(server.reason, Aborted)
            assert isinstance(server.reason.__cause__, Boom)
            assert "Boom" in str(server.reason)
        assert await answers(neighbour)


def _add(name: str, is_async: bool) -> None:
    async def run(open_pair: OpenPair) -> None:
        await _failure_ends_only_its_connection(name, is_async, open_pair)

    run.__name__ = f"{'an_async' if is_async else 'a_plain'}_on_{name}_that_raises_ends_only_its_connection"
    check(run)


for _name in ("connect", "read", "eof", "close", "stop", "full", "drain"):
    _add(_name, False)
    if _name not in ("full", "drain"):
        _add(_name, True)


@check
async def an_on_error_that_raises_changes_nothing(open_pair: OpenPair) -> None:
    class Hopeless(Recorder):
        def on_read(self, message: Any) -> None:
            raise Boom

        def on_error(self, exc: BaseException) -> None:
            super().on_error(exc)
            raise Boom("again")

    async with open_pair(Recorder, Hopeless) as (client, server):
        client.write(b"x")
        await closed(server, client)
        assert isinstance(server.reason, Aborted)
        assert len(server.of("error")) == 1


@check
async def on_error_may_be_async(open_pair: OpenPair) -> None:
    class Careful(Recorder):
        def on_read(self, message: Any) -> None:
            raise Boom

        async def on_error(self, exc: BaseException) -> None:
            self.note("error", exc)

    async with open_pair(Recorder, Careful) as (client, server):
        client.write(b"x")
        await closed(server, client)
        assert len(server.of("error")) == 1


@check
async def on_error_can_say_goodbye(open_pair: OpenPair) -> None:
    class Polite(Recorder):
        def on_read(self, message: Any) -> None:
            raise Boom

        def on_error(self, exc: BaseException) -> None:
            self.write(b"sorry")
            self.close()
            super().on_error(exc)

    async with open_pair(Recorder, Polite) as (client, server):
        client.write(b"x")
        await closed(server, client)
        assert client.data in (b"sorry", b"")  # a reset may overtake it
        assert len(server.of("error")) == 1


@check
async def an_error_goes_to_the_server(open_pair: OpenPair) -> None:
    class Failing(Connection):
        def on_read(self, message: Any) -> None:
            raise Boom

    async with open_pair(Recorder, Failing) as (client, server):
        if server.server is None:
            return
        told: list[Any] = []
        server.server.on_error = lambda conn, exc: told.append((conn, type(exc)))
        client.write(b"x")
        await closed(client)
        assert told == [(server, Boom)]


@check
async def a_framer_that_raises_is_an_error(open_pair: OpenPair) -> None:
    class Broken(Recorder):
        def on_connect(self) -> None:
            self.framer = object()  # none at all

    async with open_pair(Recorder, Broken) as (client, server):
        client.write(b"x")
        await closed(server, client)
        assert [type(exc) for exc in server.of("error")] == [TypeError]
        assert isinstance(server.reason, Aborted)


@check
async def ones_own_end_in_an_async_callback_is_no_error(open_pair: OpenPair) -> None:
    class Asking(Recorder):
        async def on_read(self, message: Any) -> None:
            await self.read()

    async with open_pair(Recorder, Asking) as (client, server):
        client.write(b"x")
        await until(lambda: server.bytes_in == 1)
        client.close()
        await closed(server)
        assert not server.of("error")
        assert server.reason.is_clean


@check
async def the_end_of_another_connection_is_an_error(open_pair: OpenPair) -> None:
    async with open_pair(Recorder, Connection) as (other, gone), open_pair(Recorder, Recorder) as (client, server):
        other.close()
        await soon(gone.wait_closed())

        async def read_the_other(message: Any) -> None:
            await gone.read()

        server.on_read = read_the_other
        client.write(b"x")
        await closed(server)
        assert [exc.connection for exc in server.of("error")] == [gone]


@check
async def what_a_callback_returns_decides_whether_it_is_async(open_pair: OpenPair) -> None:
    class Mixed(Recorder):
        def on_read(self, message: Any) -> Any:
            return self.later(message) if message == b"async" else self.note("plain", message)

        async def later(self, message: Any) -> None:
            await turns(3)
            self.note("async", message)

    async with open_pair(Recorder, Mixed, framer=Line()) as (client, server):
        client.write(b"a\nasync\nb\n")
        await until(lambda: len(server.events) == 4)
        assert server.names == ["connect", "plain", "async", "plain"]
        server.on_read = functools.partial(server.later)
        client.write(b"c\n")
        await until(lambda: server.names[-1] == "async")


@check
async def each_connection_has_a_context_of_its_own(open_pair: OpenPair) -> None:
    class Marked(Recorder):
        def on_connect(self) -> None:
            assert _var.get() == "outside"
            _var.set(f"of {self.id}")

        async def on_read(self, message: Any) -> None:
            self.note("async", _var.get())
            self.spawn(self.beside())

        async def beside(self) -> None:
            self.note("spawned", _var.get())

        def on_eof(self) -> None:
            self.note("eof", _var.get())

        def on_close(self, reason: ConnectionClosed) -> None:
            self.note("close", _var.get())

    async with open_pair(Recorder, Marked) as (one, first), open_pair(Recorder, Marked) as (other, second):
        one.write(b"x")
        other.write(b"x")
        await until(lambda: first.of("spawned") and second.of("spawned"))
        one.close()
        other.close()
        await closed(first, second)
        for conn in (first, second):
            assert conn.events == [(name, f"of {conn.id}") for name in ("async", "spawned", "eof", "close")]
        assert _var.get() == "outside"


@check
async def callbacks_may_call_other_connections(open_pair: OpenPair) -> None:
    async with open_pair(Recorder, Recorder) as (one, first), open_pair(Recorder, Recorder) as (other, second):
        first.on_read = second.write  # a relay, in the other's context
        second.on_read = lambda message: (first.write(message), first.close(), second.close())
        one.write(b"there")
        await until(lambda: other.data == b"there")
        other.write(b"back")
        await closed(one, other)
        assert one.data == b"back"

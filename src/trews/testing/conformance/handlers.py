"""Handler functions and spawned tasks: asyncio code that lives and dies with its connection."""

from __future__ import annotations

import asyncio
from typing import Any

from trews.connection import Connection
from trews.errors import Aborted, ClosedLocally
from trews.framing import Line
from trews.testing.conformance.suite import (
    MIB,
    Boom,
    Echo,
    OpenPair,
    Recorder,
    answers,
    check,
    closed,
    soon,
    turns,
    until,
)


@check
async def a_handler_that_returns_closes_and_flushes(open_pair: OpenPair) -> None:
    closes: list[Any] = []

    async def handler(conn: Connection) -> None:
        conn.on_close = closes.append  # type: ignore[method-assign]
        conn.write(bytes(8 * MIB))

    async with open_pair(Connection, handler) as (client, server):
        assert len(await soon(client.read_all())) == 8 * MIB
        await soon(server.wait_closed())
        assert [type(reason) for reason in closes] == [ClosedLocally]


@check
async def a_handler_may_be_at_the_clients_end(open_pair: OpenPair) -> None:
    heard: list[Any] = []

    async def ask(conn: Connection) -> None:
        await conn.send("hello?")
        heard.append(await conn.read())

    async def answer(conn: Connection) -> None:
        async for line in conn:
            await conn.send(line.upper())

    async with open_pair(ask, answer, framer=Line(encoding="utf-8")) as (client, server):
        await soon(client.wait_closed())
        await soon(server.wait_closed())
        assert heard == ["HELLO?"]


@check
async def asyncio_works_in_the_first_statement_of_a_handler(open_pair: OpenPair) -> None:
    seen: list[Any] = []

    async def handler(conn: Connection) -> None:
        async with asyncio.timeout(10):
            seen.append(asyncio.current_task())
            async with asyncio.TaskGroup() as group:
                both = [group.create_task(conn.read()), group.create_task(turns(3))]
            seen.append(both[0].result())
        try:
            async with asyncio.timeout(0.001):
                await conn.read()
        except TimeoutError:
            conn.write(b"late")

    async with open_pair(Connection, handler) as (client, _):
        client.write(b"hi")
        assert await soon(client.read_all()) == b"late"
        assert isinstance(seen[0], asyncio.Task)
        assert seen[0] is not asyncio.current_task()
        assert seen[1] == b"hi"


@check
async def asyncio_works_in_async_callbacks(open_pair: OpenPair) -> None:
    class Modern(Recorder):
        async def on_connect(self) -> None:
            async with asyncio.timeout(10), asyncio.TaskGroup() as group:
                group.create_task(turns(3))
                self.note("connect", asyncio.current_task())

        async def on_read(self, message: Any) -> None:
            async with asyncio.timeout(10):
                self.note("read", asyncio.current_task())

    async with open_pair(Recorder, Modern) as (client, server):
        client.write(b"x")
        await until(lambda: server.names == ["connect", "read"])
        assert all(isinstance(task, asyncio.Task) for _, task in server.events)


@check
async def a_handler_that_raises_aborts_its_connection_only(open_pair: OpenPair) -> None:
    told: list[Any] = []

    async def handler(conn: Connection) -> None:
        conn.on_error = told.append  # type: ignore[method-assign]
        await conn.read()
        raise Boom

    async with open_pair(Recorder, handler) as (client, server), open_pair(Connection, Echo) as (neighbour, _):
        client.write(b"x")
        await closed(client)
        await soon(server.wait_closed())
        assert [type(exc) for exc in told] == [Boom]
        assert isinstance(server.reason, Aborted)
        assert isinstance(server.reason.__cause__, Boom)
        assert await answers(neighbour)


@check
async def ones_own_end_ends_a_handler_quietly(open_pair: OpenPair) -> None:
    for end in ("close", "abort"):
        told: list[Any] = []

        async def handler(conn: Connection, told: list[Any] = told) -> None:
            conn.on_error = told.append  # type: ignore[method-assign]
            while True:
                await conn.read()

        async with open_pair(Recorder, handler) as (client, server):
            await turns()
            getattr(client, end)()
            await soon(server.wait_closed())
            assert told == []


@check
async def close_in_a_handler_ends_it(open_pair: OpenPair) -> None:
    after: list[Any] = []

    async def handler(conn: Connection) -> None:
        conn.write(b"bye")
        conn.close()
        await conn.wait_closed()
        after.append(conn.reason)

    async with open_pair(Recorder, handler) as (client, server):
        await closed(client)
        await soon(server.wait_closed())
        assert client.data == b"bye"
        assert [type(reason) for reason in after] == [ClosedLocally]


@check
async def abort_cancels_the_handler(open_pair: OpenPair) -> None:
    seen: list[Any] = []

    async def handler(conn: Connection) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    async with open_pair(Recorder, handler) as (_, server):
        await turns()
        server.abort()
        await soon(server.wait_closed())
        assert seen == ["cancelled"]


@check
async def a_handler_that_is_cancelled_takes_its_connection_along(open_pair: OpenPair) -> None:
    tasks: list[Any] = []

    async def handler(conn: Connection) -> None:
        tasks.append(asyncio.current_task())
        await conn.read()

    async with open_pair(Recorder, handler) as (client, server):
        await until(lambda: tasks)
        tasks[0].cancel()
        await closed(client)
        await soon(server.wait_closed())
        assert isinstance(server.reason, Aborted)


@check
async def a_plain_function_is_no_handler(open_pair: OpenPair) -> None:
    def plain(conn: Connection) -> None:
        conn.on_error = told.append  # type: ignore[method-assign]

    told: list[Any] = []
    async with open_pair(Recorder, plain) as (client, _):
        await closed(client)
        assert [type(exc) for exc in told] == [TypeError]
        assert "async def" in str(told[0])


@check
async def spawned_tasks_die_with_the_connection(open_pair: OpenPair) -> None:
    class Parent(Recorder):
        def on_connect(self) -> None:
            self.child = self.spawn(self.wait_forever())

        async def wait_forever(self) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                self.note("child ends")

    for end in ("close", "abort"):
        async with open_pair(Recorder, Parent) as (client, server):
            getattr(client, end)()
            await closed(server)
            assert server.child.cancelled()
            assert server.names[-2:] == ["child ends", "close"]


@check
async def a_spawned_task_runs_beside_callbacks(open_pair: OpenPair) -> None:
    class Parent(Recorder):
        def on_connect(self) -> None:
            self.spawn(self.tell())

        async def tell(self) -> None:
            async for message in self:
                self.write(message.upper())

    async with open_pair(Connection, Parent, framer=Line()) as (client, _):
        client.write(b"a\n")
        assert await soon(client.read(framer=1)) == b"A"


@check
async def a_spawned_task_that_raises_ends_the_connection(open_pair: OpenPair) -> None:
    async with open_pair(Recorder, Recorder) as (client, server):

        async def fail() -> None:
            await turns(2)
            raise Boom

        server.spawn(fail())
        await closed(server, client)
        assert [type(exc) for exc in server.of("error")] == [Boom]


@check
async def a_stopping_server_lets_a_handler_finish_its_message(open_pair: OpenPair) -> None:
    heard: list[Any] = []

    async def handler(conn: Connection) -> None:
        async for line in conn:
            heard.append(line)
            await turns(5)
            await conn.send(line)
        await conn.send(b"bye")

    async with open_pair(Connection, handler, framer=Line()) as (client, server):
        if server.server is None:
            return
        client.write(b"work\n")
        await until(lambda: heard)
        server.server.stop()
        assert await soon(client.read_all()) == b"work\r\nbye\r\n"


@check
async def a_stop_without_grace_aborts(open_pair: OpenPair) -> None:
    async with open_pair(Recorder, Recorder) as (client, server):
        if server.server is None:
            return
        server.on_stop = lambda: None
        assert await soon(server.server.stop(grace=0)) == (0, 1)
        assert await soon(server.server.stop(grace=0)) == (0, 1)
        await closed(client)
        assert isinstance(server.reason, Aborted)


@check
async def a_stop_with_nobody_there_ends_at_once(open_pair: OpenPair) -> None:
    async with open_pair(Recorder, Recorder) as (client, server):
        if server.server is None:
            return
        client.abort()
        server.abort()
        await closed(client, server)
        await turns()
        assert await soon(server.server.stop(grace=0)) == (0, 0)

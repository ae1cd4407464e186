"""Deadlines: a peer that is silent, slow or stuck does not stay for ever. (What idles is in `ending`.)"""

from __future__ import annotations

import asyncio
from typing import Any

from trews.connection import Connection
from trews.errors import MessageTooSlow, WriteStalled
from trews.framing import Line
from trews.testing.conformance.suite import (
    OpenPair,
    Recorder,
    check,
    closed,
    fill,
    slow,
    soon,
    turns,
    until,
)


@check
@slow
async def a_message_has_its_time(open_pair: OpenPair) -> None:
    class Patient(Recorder):
        framer = Line()
        message_timeout = 0.05

    async with open_pair(Recorder, Patient) as (client, server):
        client.write(b"whole\nhalf")
        await closed(server, client)
        assert server.of("read") == [b"whole"]
        assert isinstance(server.reason, MessageTooSlow)


@check
@slow
async def a_peer_that_takes_nothing_is_left(open_pair: OpenPair) -> None:
    async with open_pair(Recorder, Recorder) as (client, server):
        server.pause_reading()
        client.write_timeout = 0.05
        await fill(client)
        await closed(client)
        assert isinstance(client.reason, WriteStalled)


@check
@slow
async def close_does_not_wait_for_ever(open_pair: OpenPair) -> None:
    async with open_pair(Recorder, Recorder) as (client, server):
        server.pause_reading()
        client.close_timeout = 0.05
        await fill(client)
        client.close()
        await closed(client)
        assert isinstance(client.reason, WriteStalled)


@check
@slow
async def a_handler_has_close_timeout_after_its_connection_is_lost(open_pair: OpenPair) -> None:
    seen: list[Any] = []

    async def handler(conn: Connection) -> None:
        conn.close_timeout = 0.05
        try:
            await asyncio.Event().wait()
        finally:
            seen.append(conn.is_closed)

    async with open_pair(Recorder, handler) as (client, server):
        client.abort()
        await closed(client)
        await turns()
        for _ in range(3):  # where a reset shows as a plain end, a write finds out
            server.write(b"x")
            await turns()
        await soon(server.wait_closed())
        assert seen == [True]


@check
@slow
async def an_idle_connection_that_talks_lives_on(open_pair: OpenPair) -> None:
    async with open_pair(Recorder, Recorder, idle_timeout=1.0) as (client, server):
        for _ in range(5):
            await asyncio.sleep(0.4)
            client.write(b"x")
            await until(lambda: server.bytes_in == client.bytes_out)
        assert client.is_open
        assert server.is_open
        await closed(client, server)

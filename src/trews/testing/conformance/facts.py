"""What a connection tells about itself."""

from __future__ import annotations

import os
import time

from trews.connection import Connection
from trews.errors import Error
from trews.testing.conformance.suite import (
    MIB,
    OpenPair,
    Recorder,
    check,
    closed,
    fill,
    raised_by,
    until,
)


@check
async def ids_differ(open_pair: OpenPair) -> None:
    async with open_pair(Recorder, Recorder) as one, open_pair(Recorder, Recorder) as other:
        assert len({conn.id for conn in (*one, *other)}) == 4


@check
async def addresses_match(open_pair: OpenPair) -> None:
    async with open_pair(Recorder, Recorder) as (client, server):
        assert client.remote_address == server.local_address
        if client.local_address:  # the client of a Unix socket has none
            assert server.remote_address == client.local_address
        before = server.local_address, server.remote_address
        client.close()
        await closed(server)
        assert (server.local_address, server.remote_address) == before


@check
async def bytes_are_counted(open_pair: OpenPair) -> None:
    async with open_pair(Recorder, Recorder) as (client, server):
        assert client.bytes_in == client.bytes_out == 0
        client.write(bytes(4 * MIB))
        client.write(b"x")
        server.write(b"xyz")
        await until(lambda: server.bytes_in == 4 * MIB + 1 and client.bytes_in == 3)
        assert client.bytes_out == 4 * MIB + 1
        assert server.bytes_out == 3
        client.close()
        await closed(server, client)
        assert client.bytes_out == server.bytes_in == 4 * MIB + 1


@check
async def what_was_sent_is_known_after_the_loss(open_pair: OpenPair) -> None:
    async with open_pair(Recorder, Recorder) as (client, server):
        server.pause_reading()
        total = await fill(client)
        before = client.bytes_out
        assert 0 < before < total
        server.abort()
        await closed(client)
        assert before <= client.bytes_out < total


@check
async def a_repr_tells_all_this(open_pair: OpenPair) -> None:
    async with open_pair(Recorder, Connection) as (client, server):
        client.write(b"four")
        await until(lambda: server.bytes_in == 4)
        for part in ("Connection", f"#{server.id} ", "open", "in=4", "out=0"):
            assert part in repr(server), repr(server)
        client.close()
        await closed(client)
        assert "ClosedLocally" in repr(client)


@check
async def state_is_told(open_pair: OpenPair) -> None:
    async with open_pair(Recorder, Recorder) as (client, server):
        for conn in (client, server):
            assert conn.is_open
            assert not conn.is_closed
            assert conn.reason is None
            assert abs(conn.opened_at - time.time()) < 60
        client.close()
        assert client.is_closed
        await closed(server)
        assert server.is_closed
        assert not server.is_open


@check
async def credentials_are_of_this_process(open_pair: OpenPair) -> None:
    async with open_pair(Recorder, Recorder) as (client, server):
        for conn in (client, server):
            credentials = conn.peer_credentials  # None unless it is a Unix socket
            if credentials is not None:
                assert credentials == (os.getpid(), os.getuid(), os.getgid())
        client.close()
        await closed(server)
        assert server.peer_credentials is None


@check
async def an_unconnected_connection_says_so(open_pair: OpenPair) -> None:
    conn = Recorder()
    assert "new" in repr(conn)
    assert conn.bytes_in == conn.bytes_out == 0
    for name in ("close", "abort"):
        raised_by(Error, getattr(conn, name))

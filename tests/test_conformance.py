"""The conformance suite over every transport, on every loop."""

from __future__ import annotations

import asyncio
import functools
import itertools
import os
import ssl
import tempfile
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trustme
import uvloop

import trews
from trews.testing import VirtualLoop, pair
from trews.testing.conformance import CHECKS, SLOW, run_check
from trews.testing.wire import make_connection
from trews.transport.attach import attach
from trews.transport.handshake import Handshake
from trews.transport.memory import memory_pair
from trews.transport.pipe import PipeSocket

LOOPS = {
    "trews": trews.EventLoop,
    "asyncio": asyncio.SelectorEventLoop,
    "uvloop": uvloop.new_event_loop,
    "virtual": VirtualLoop,
}

_names = itertools.count()


class Accepting(trews.Server):
    """Hands its one connection to the test."""

    def on_accept(self, connection):
        self.accepted = connection


async def _end(*connections):
    for connection in connections:
        connection.abort()
    for connection in connections:
        await asyncio.wait_for(connection.wait_closed(), 20)


async def _opened(server):
    """The server's end, once its on_connect was called."""
    async with asyncio.timeout(20):
        while getattr(server, "accepted", None) is None or not server.accepted.opened_at:
            await asyncio.sleep(0)
    return server.accepted


@asynccontextmanager
async def _served(endpoint, client, handler, settings):
    server = Accepting(handler, **settings).listen(endpoint)
    async with server:
        one = await trews.connect(server.endpoints[0], client, **settings)
        other = await _opened(server)
        try:
            yield one, other
        finally:
            await _end(one, other)
            await asyncio.wait_for(server.stop(), 20)
    await asyncio.sleep(0)


@asynccontextmanager
async def over_tcp(client, server, **settings):
    async with _served("tcp:127.0.0.1:0", client, server, settings) as ends:
        yield ends


@asynccontextmanager
async def over_unix(client, server, **settings):
    with tempfile.TemporaryDirectory() as folder:
        async with _served(f"unix:{os.path.join(folder, 's')}", client, server, settings) as ends:
            yield ends


over_unix.tells_resets = False  # type: ignore[attr-defined]  # the kernel shows an end


@asynccontextmanager
async def over_memory(client, server, **settings):
    async with _served(f"memory:conformance-{next(_names)}", client, server, settings) as ends:
        yield ends


@asynccontextmanager
async def over_pair(client, server, **settings):
    async with pair(client, server, **settings) as (one, other):
        try:
            yield one, other
        finally:
            await _end(one, other)


@asynccontextmanager
async def _piped(client, server, settings, is_shared):
    loop = asyncio.get_running_loop()
    (reader, far_writer), (far_reader, writer) = os.pipe(), os.pipe()
    ends = [
        PipeSocket(loop, reader, writer, ("pipe:a", "pipe:b"), is_shared),
        PipeSocket(loop, far_reader, far_writer, ("pipe:b", "pipe:a"), is_shared),
    ]
    connections = [make_connection(handler, settings, None) for handler in (client, server)]
    for end, connection in zip(ends, connections, strict=True):
        loop.call_soon(attach, loop, end, connection, None, None)
    for _ in range(2):  # also what on_connect has begun
        await asyncio.sleep(0)
    try:
        yield tuple(connections)
    finally:
        await _end(*connections)
        await asyncio.sleep(0)


@asynccontextmanager
async def over_pipes(client, server, **settings):
    async with _piped(client, server, settings, is_shared=False) as ends:
        yield ends


@asynccontextmanager
async def over_inherited_pipes(client, server, **settings):
    """As of the shell: they stay blocking, whatever happens."""
    async with _piped(client, server, settings, is_shared=True) as ends:
        yield ends


over_pipes.tells_resets = over_inherited_pipes.tells_resets = False  # type: ignore[attr-defined]  # there are none


@asynccontextmanager
async def over_narrow_pair(client, server, **settings):
    """Few bytes at a time: whatever is cut anywhere must make no difference."""
    async with pair(client, server, chunk=61_681, capacity=70_001, **settings) as (one, other):
        try:
            yield one, other
        finally:
            await _end(one, other)


@functools.cache
def _contexts():
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return client, server


@asynccontextmanager
async def over_tls(client, server, **settings):
    ours, theirs = _contexts()
    accepting = Accepting(server, tls_context=theirs, **settings).listen("tls:localhost:0")
    async with accepting:
        one = await trews.connect(f"tls:localhost:{accepting.port}", client, tls_context=ours, **settings)
        other = await _opened(accepting)
        try:
            yield one, other
        finally:
            await _end(one, other)
            await asyncio.wait_for(accepting.stop(), 20)
    await asyncio.sleep(0)


@asynccontextmanager
async def over_started_tls(client, server, **settings):
    """TLS that begins on a connection that is there, which hands over to another."""
    ours, theirs = _contexts()
    async with _served("tcp:127.0.0.1:0", trews.Connection, trews.Connection, {}) as (one, other):
        await asyncio.gather(one.start_tls(ours, server_name="localhost"), other.start_tls(theirs))
        ends = [
            end.switch(make_connection(handler, settings, None)) for end, handler in ((one, client), (other, server))
        ]
        while not all(end.opened_at for end in ends):
            await asyncio.sleep(0)
        for _ in range(2):  # also what on_connect has begun
            await asyncio.sleep(0)
        try:
            yield tuple(ends)
        finally:
            await _end(*ends)


async def _secured(loop, ends, layers):
    """TLS on both sockets of a pair, and TLS in that again."""
    ours, theirs = _contexts()
    for _ in range(layers):
        waiting = [loop.create_future() for _ in ends]
        for is_server, (end, made) in enumerate(zip(ends, waiting, strict=True)):
            Handshake(
                loop,
                end,
                theirs if is_server else ours,
                server_side=bool(is_server),
                server_name=None if is_server else "localhost",
                done=made.set_result,
                gone=lambda: None,
            ).start()
        ends = await asyncio.gather(*waiting)
    return ends


@asynccontextmanager
async def over_tls_in_memory(client, server, layers=1, chunk=None, **settings):
    loop = asyncio.get_running_loop()
    ends = memory_pair(loop)
    for end in ends:
        end.chunk = chunk
    connections = [make_connection(handler, settings, None) for handler in (client, server)]
    for end, connection in zip(await _secured(loop, ends, layers), connections, strict=True):
        loop.call_soon(attach, loop, end, connection, None, None)
    for _ in range(2):  # also what on_connect has begun
        await asyncio.sleep(0)
    try:
        yield tuple(connections)
    finally:
        await _end(*connections)
        await asyncio.sleep(0)


TRANSPORTS: dict[str, Any] = {
    "tcp": over_tcp,
    "unix": over_unix,
    "memory": over_memory,
    "pair": over_pair,
    "narrow": over_narrow_pair,
    "pipes": over_pipes,
    "inherited": over_inherited_pipes,
    "tls": over_tls,
    "starttls": over_started_tls,
    "tls-memory": over_tls_in_memory,
    "tls-narrow": functools.partial(over_tls_in_memory, chunk=16_001),
    "tls-in-tls": functools.partial(over_tls_in_memory, layers=2),
}
# Real sockets belong to the real clock.
COMBINATIONS = [
    (t, loop)
    for t in ("tcp", "unix", "memory", "pair", "pipes", "inherited", "tls", "starttls")
    for loop in ("trews", "asyncio", "uvloop")
] + [(t, "virtual") for t in ("memory", "pair", "narrow", "tls-memory", "tls-narrow", "tls-in-tls")]


def _cases():
    for transport, loop in COMBINATIONS:
        for name in CHECKS:
            is_slow = name in SLOW and (loop != "virtual" or "huge" in name)
            yield pytest.param(
                transport, loop, name, id=f"{transport}-{loop}-{name}", marks=[pytest.mark.slow] if is_slow else []
            )


def _run(transport, loop, name, debug=False):
    with asyncio.Runner(loop_factory=LOOPS[loop], debug=debug) as runner:
        runner.run(run_check(name, TRANSPORTS[transport]))


@pytest.mark.parametrize(("transport", "loop", "name"), list(_cases()))
def test_conformance(transport, loop, name):
    _run(transport, loop, name)


# Debug mode wraps methods, checks threads and times callbacks: nothing that users see may change.
@pytest.mark.parametrize(
    ("transport", "loop", "name"),
    [
        pytest.param(transport, loop, name, id=f"{transport}-{loop}-{name}")
        for transport, loop in (("pair", "virtual"), ("tcp", "trews"), ("tcp", "asyncio"))
        for name in CHECKS
        if name not in SLOW and (loop == "virtual" or "_after_" in name or "raises" in name or "chunking" in name)
    ],
)
def test_conformance_in_debug_mode(transport, loop, name):
    _run(transport, loop, name, debug=True)

"""The conformance suite over every transport, on every loop."""

from __future__ import annotations

import asyncio
import itertools
import os
import tempfile
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop

import trews
from trews.testing import VirtualLoop, pair
from trews.testing.conformance import CHECKS, SLOW, run_check
from trews.testing.wire import make_connection
from trews.transport.attach import attach
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


TRANSPORTS: dict[str, Any] = {
    "tcp": over_tcp,
    "unix": over_unix,
    "memory": over_memory,
    "pair": over_pair,
    "narrow": over_narrow_pair,
    "pipes": over_pipes,
    "inherited": over_inherited_pipes,
}
# Real sockets belong to the real clock.
COMBINATIONS = [
    (t, loop)
    for t in ("tcp", "unix", "memory", "pair", "pipes", "inherited")
    for loop in ("trews", "asyncio", "uvloop")
] + [(t, "virtual") for t in ("memory", "pair", "narrow")]


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

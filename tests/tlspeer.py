"""TLS by hand: a peer in memory whose every byte a test sends when it wants to."""

from __future__ import annotations

import asyncio
import functools
import ssl
from contextlib import asynccontextmanager

import trustme

import trews
from trews.testing.wire import make_connection
from trews.transport.attach import attach
from trews.transport.handshake import Handshake
from trews.transport.memory import CAPACITY, memory_pair

V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
VERSIONS = {"TLSv1.2": V12, "TLSv1.3": V13}


@functools.cache
def authority():
    return trustme.CA()


@functools.cache
def contexts(version=V13, *names, ignores_cuts=False):
    """`(client, server)`, made as users make theirs for `tls_context=` and `start_tls`."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority().issue_cert(*names or ("localhost",)).configure_cert(server)
    client = ssl.create_default_context()
    authority().configure_trust(client)
    for context in (client, server):
        context.minimum_version = context.maximum_version = version
        if ignores_cuts:
            context.options |= ssl.OP_IGNORE_UNEXPECTED_EOF
    return client, server


class Peer:
    """The other end. What it seals goes out when the test sends it."""

    def __init__(self, sock, context, *, server_side=False, name="localhost"):
        self.sock = sock
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side, None if server_side else name)
        self.is_cut = False

    def take(self):
        """Receive what has come."""
        while True:
            try:
                data = self.sock.recv(1 << 20)
            except BlockingIOError:
                return
            if not data:
                self.is_cut = True
                return
            self.incoming.write(data)

    def step(self):
        """As far in the handshake as what has come allows: `(done, bytes to send)`."""
        self.take()
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            return False, self.outgoing.read()
        return True, self.outgoing.read()

    async def shake(self, chunk=None):
        """The handshake, in pieces of `chunk` bytes."""
        is_done = False
        while not is_done:
            is_done, data = self.step()
            await self.send(data, chunk)
            await settle()

    async def send(self, data, chunk=None):
        for start in range(0, len(data), chunk or max(len(data), 1)):
            piece = data[start : start + (chunk or len(data))]
            while piece:
                try:
                    piece = piece[self.sock.send(piece) :]
                except BlockingIOError:
                    await asyncio.sleep(0.001)
            if chunk:
                await settle()

    def seal(self, *pieces):
        """The records of some data."""
        for piece in pieces:
            self.tls.write(piece)
        return self.outgoing.read()

    def goodbye(self):
        """The record that ends it."""
        try:
            self.tls.unwrap()
        except ssl.SSLError:
            pass
        return self.outgoing.read()

    def opened(self):
        """What has come, in clear; `self.end` is what was behind it."""
        self.take()
        data = b""
        self.end = None
        try:
            while piece := self.tls.read(1 << 20):
                data += piece
            self.end = "goodbye"
        except ssl.SSLWantReadError:
            self.end = "cut" if self.is_cut else None
        except ssl.SSLZeroReturnError:
            self.end = "goodbye"
        except ssl.SSLError as exc:
            self.end = exc.reason
        return data

    async def until(self, count):
        """So many bytes in clear."""
        data = b""
        while len(data) < count:
            data += self.opened()
            if self.end:
                break
            await asyncio.sleep(0.001)
        return data


class Noting(trews.Connection):
    """Notes what happens to it."""

    def __init__(self):
        self.got = b""
        self.notes = []

    def on_read(self, data):
        self.got += data

    def on_eof(self):
        self.notes.append("eof")

    def on_close(self, reason):
        self.notes.append(type(reason).__name__)


async def settle(turns=8):
    for _ in range(turns):
        await asyncio.sleep(0)


def memory_ends(capacity=CAPACITY):
    return memory_pair(asyncio.get_running_loop(), "tls", capacity)


def begin(sock, *, server_side=True, version=V13, context=None, **kwargs):
    """Begin the handshake on one end of memory; the future has its result."""
    loop = asyncio.get_running_loop()
    made = loop.create_future()
    context = context or contexts(version)[server_side]
    name = None if server_side else "localhost"
    kwargs.setdefault("gone", lambda: None)
    handshake = Handshake(
        loop, sock, context, server_side=server_side, server_name=name, done=made.set_result, **kwargs
    )
    handshake.start()
    made.handshake = handshake
    return made


def join(tls, handler=Noting, **settings):
    """A connection on what the handshake has made."""
    connection = make_connection(handler, settings, None)
    attach(asyncio.get_running_loop(), tls, connection, None, None)
    return connection


@asynccontextmanager
async def secured(handler=Noting, *, server_side=True, version=V13, capacity=CAPACITY, ignores_cuts=False, **settings):
    """A connection of ours in memory after its handshake, and the peer."""
    near, far = memory_ends(capacity)
    context = contexts(version, ignores_cuts=ignores_cuts)[server_side]
    made = begin(near, server_side=server_side, context=context)
    peer = Peer(far, contexts(version)[not server_side], server_side=not server_side)
    await peer.shake()
    while not made.done():
        await asyncio.sleep(0)
    connection = join(await made, handler, **settings)
    connection.sock = near
    await settle()
    peer.opened()  # the tickets
    try:
        yield connection, peer
    finally:
        connection.abort()
        await connection.wait_closed()
        await settle()

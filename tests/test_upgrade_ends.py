"""STARTTLS that ends in the middle: closed, broken, refused, never answered; and who is not ready for it."""

from __future__ import annotations

import asyncio
import gc
import logging

import pytest

import trews
from tests.clients import LOOPS
from tests.mail import GO, LINES, Mail, begun, mail
from tests.servers import until, virtually
from tests.tlspeer import V12, Noting, Peer, contexts, memory_ends, settle
from trews.errors import Aborted, ClosedLocally, ConnectionReset, TLSError
from trews.testing.wire import make_connection
from trews.transport.attach import attach


@pytest.fixture(params=LOOPS)
def on_loop(request):
    """Runs a coroutine on a loop of each kind."""

    def run(main, debug=False):
        with asyncio.Runner(loop_factory=LOOPS[request.param], debug=debug) as runner:
            return runner.run(asyncio.wait_for(main, 50))

    return run


# -- ends in the middle of it


@pytest.mark.parametrize("how", ["abort", "reset", "close", "garbage", "stop"])
def test_ends_in_the_handshake(on_loop, how, caplog):
    gc.collect()  # what is left of other tests
    caplog.set_level(logging.WARNING)
    caplog.clear()

    async def main():
        server = mail()
        await server.start()
        conn = await begun(server)
        (served,) = server.connections
        if how == "garbage":
            conn.write(b"this is no TLS" * 10)
        elif how == "reset":
            conn.abort()
        elif how == "stop":
            await server.stop(grace=0)
        else:
            getattr(served, how)()
        await until(lambda: server.notes)
        expected = {
            "abort": Aborted,
            "reset": (ConnectionReset, TLSError),
            "close": ClosedLocally,
            "garbage": TLSError,
            "stop": (Aborted, ClosedLocally),
        }
        assert isinstance(server.notes[0], expected[how])
        conn.abort()
        await conn.wait_closed()
        await server.stop()

    on_loop(main())
    gc.collect()
    assert caplog.records == []  # whatever a client does is no news, and no traceback


class Quiet(trews.Connection):
    """Starts TLS at once."""

    def on_connect(self):
        self.notes = []
        self.started = self.start_tls(contexts()[1], reply=GO, server_side=True)

    def on_close(self, reason):
        self.notes.append(reason)


async def quiet(**settings):
    near, far = memory_ends()
    connection = make_connection(Quiet, settings, None)
    attach(asyncio.get_running_loop(), near, connection, None, None)
    await settle()
    assert far.recv(100) == GO
    return connection, far


@virtually
async def test_a_peer_that_never_answers_has_ten_seconds():
    loop = asyncio.get_running_loop()
    began = loop.time()
    connection, _ = await quiet()
    connection.write(b"waits for it")
    with pytest.raises(TLSError, match="not done in time"):
        await connection.started
    assert loop.time() == began + 10
    await connection.wait_closed()
    assert isinstance(connection.notes[0], TLSError)
    assert connection.bytes_out == len(GO)


@virtually
async def test_close_waits_for_it_if_something_is_still_to_be_sent():
    connection, far = await quiet()
    connection.write(b"last words")
    connection.close()
    await settle()
    assert not connection.started.done()
    peer = Peer(far, contexts()[0])
    await peer.shake()
    await settle()
    assert (peer.opened(), peer.end) == (b"last words", "goodbye")
    await connection.started
    far.close()
    await connection.wait_closed()
    assert isinstance(connection.reason, ClosedLocally)


@virtually
async def test_close_with_nothing_to_send_ends_it():
    connection, far = await quiet()
    connection.close()
    with pytest.raises(ClosedLocally):
        await connection.started
    far.close()
    await connection.wait_closed()


@virtually
async def test_who_has_paused_shakes_hands_all_the_same():
    near, far = memory_ends()
    connection = make_connection(Noting, {}, None)
    attach(asyncio.get_running_loop(), near, connection, None, None)
    await settle()
    connection.pause_reading()
    connection.start_tls(contexts()[1], server_side=True)
    peer = Peer(far, contexts()[0])
    await peer.shake()
    await peer.send(peer.seal(b"later"))
    await settle()
    assert connection.tls.version == "TLSv1.3"
    assert connection.got == b""
    connection.resume_reading()
    await settle()
    assert connection.got == b"later"
    connection.abort()
    await connection.wait_closed()


def test_who_has_paused_is_not_sent_more_than_buffers_hold(on_loop):
    class Pausing(Mail):
        framer = None

        def on_read(self, data):
            if self.tls is None:
                self.pause_reading()
                self.start_tls(contexts()[1], reply=GO)

    async def main():
        async with mail(Pausing) as server:
            conn = await trews.connect(server.endpoints[0], framer=LINES)
            conn.send("STARTTLS")
            await conn.read()
            await conn.start_tls(contexts()[0])
            (served,) = server.connections
            conn.write(bytes(12_000_000))
            await asyncio.sleep(0.1)
            assert served.bytes_in < 1_000_000
            served.resume_reading()
            await until(lambda: served.bytes_in == 12_000_010)
            conn.close()
            await conn.wait_closed()

    on_loop(main())


@virtually
async def test_what_is_half_sent_in_clear_is_finished_in_clear():
    near, far = memory_ends(capacity=1000)
    connection = make_connection(Noting, {}, None)
    attach(asyncio.get_running_loop(), near, connection, None, None)
    await settle()
    data = bytes(range(250)) * 40
    connection.write(data)
    connection.write(b"second")
    connection.start_tls(contexts()[1], reply=GO, server_side=True)
    got = b""
    while len(got) < len(data) + 6 + len(GO):
        got += far.recv(100)
        await settle()
    assert got == data + b"second" + GO
    await Peer(far, contexts()[0]).shake()
    assert connection.tls.version == "TLSv1.3"
    connection.abort()
    await connection.wait_closed()


@virtually
async def test_a_failure_that_nobody_waits_for_is_the_end_and_no_error_of_the_program(caplog):
    connection, far = await quiet()
    connection.started = None
    far.send(bytes(100))
    await connection.wait_closed()
    gc.collect()
    await settle()
    assert isinstance(connection.notes[0], TLSError)
    assert caplog.records == []


def test_the_client_of_a_server_that_closes_gets_its_reason(on_loop):
    async def main():
        async with mail() as server:
            conn = await begun(server)
            starting = conn.start_tls(contexts(V12)[0], server_name="localhost")
            with pytest.raises(TLSError, match="versions"):
                await starting

    on_loop(main())

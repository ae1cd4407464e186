"""What happens to a Datagram, and when its callbacks learn of it: errors, the stop of its server, its ends."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import socket

import pytest

import trews
from tests.datagrams import LO4, Noting, Peer, on_every_loop
from tests.servers import until, virtually
from trews.datagram_lifecycle import ERRORS_KEPT, QUIET
from trews.testing import Leak, no_leaks

# -- errors of its code


@on_every_loop
async def test_an_error_in_a_callback_is_told_and_ends_nothing():
    class Fragile(Noting):
        def on_read(self, data, address):
            if data == b"garbage":
                raise ValueError("what is this?")
            self.notes.append(data)

    async with trews.Server(Fragile).listen(LO4) as server:
        (served,) = server.datagrams
        with Peer() as peer:
            for data in (b"one", b"garbage", b"two"):
                peer.send(data, server)
            await until(lambda: b"two" in served.notes and len(served.notes) == 4)
    assert [note if isinstance(note, bytes | str) else repr(note) for note in served.notes] in (
        ["open", b"one", "ValueError('what is this?')", b"two", "ClosedLocally"],
        ["open", b"one", b"two", "ValueError('what is this?')", "ClosedLocally"],
    )


@on_every_loop
async def test_so_is_one_in_an_async_callback_and_in_a_task():
    class Fragile(Noting):
        async def on_open(self):
            self.spawn(self.fail("spawned"))
            raise ValueError("on_open")

        async def on_read(self, data, address):
            await asyncio.sleep(0)
            raise ValueError(data)

        async def fail(self, what):
            await asyncio.sleep(0)
            raise ValueError(what)

    async with trews.Server(Fragile).listen(LO4) as server:
        (served,) = server.datagrams
        with Peer() as peer:
            peer.send(b"data", server)
            await until(lambda: len(served.notes) == 3)
        assert {repr(exc) for exc in served.notes} == {
            "ValueError('on_open')",
            "ValueError(b'data')",
            "ValueError('spawned')",
        }
        assert served.is_open


def lines(caplog):
    return [record.getMessage() for record in caplog.records if record.name == "trews"]


@virtually
async def test_the_log_is_told_once_a_second(caplog):
    class Fragile(trews.Datagram):
        def on_read(self, data, address):
            raise ValueError(data)

    async with trews.Server(Fragile).listen(LO4) as server:
        (served,) = server.datagrams
        for _ in range(100):
            served._took(b"garbage", ("127.0.0.1", 9))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        assert len(lines(caplog)) == 1
        assert caplog.records[-1].exc_info
        await asyncio.sleep(QUIET * 2)
        served._took(b"more", ("127.0.0.1", 9))
        await asyncio.sleep(0.001)
        assert lines(caplog)[-1].endswith("its code failed (99 errors before it were not logged)")


@virtually
async def test_what_the_network_says_is_for_debugging(caplog):
    caplog.set_level(logging.DEBUG, "trews")
    async with trews.Server(trews.Datagram).listen(LO4) as server:
        (served,) = server.datagrams
        served._core_failed(OSError(113, "no route"))
        await asyncio.sleep(0.001)
    assert [(r.levelname, r.getMessage().endswith("no route")) for r in caplog.records if r.name == "trews"] == [
        ("DEBUG", True)
    ]


@virtually
async def test_errors_wait_for_an_async_callback_and_only_so_many_are_kept():
    class Slow(Noting):
        async def on_open(self):
            await asyncio.sleep(1)

        async def on_error(self, exc):
            assert not self.running
            self.running = True
            await asyncio.sleep(0.1)
            self.running = False
            self.notes.append(exc)

        running = False

    async with trews.Server(Slow).listen(LO4) as server:
        (served,) = server.datagrams
        for number in range(100):
            served._core_failed(OSError(number))
        await asyncio.sleep(0.5)
        assert served.notes == []
        await asyncio.sleep(10)
        assert len(served.notes) == ERRORS_KEPT


@virtually
async def test_an_error_in_on_error_is_logged(caplog):
    class Worse(trews.Datagram):
        def on_error(self, exc):
            raise KeyError("worse")

    async with trews.Server(Worse).listen(LO4) as server:
        server.datagrams[0]._core_failed(OSError(113, "no route"))
        await asyncio.sleep(0.001)
        assert server.datagrams[0].is_open
    assert [line.partition(": ")[2] for line in lines(caplog)] == [
        "on_error failed while it was told of OSError(113, 'no route')"
    ]


@virtually
async def test_callbacks_have_one_context_of_their_own():
    variable = contextvars.ContextVar("variable", default="outside")

    class Private(Noting):
        def on_open(self):
            variable.set("inside")

        async def on_read(self, data, address):
            self.notes.append(variable.get())

    async with trews.Server(Private).listen(LO4) as server:
        (served,) = server.datagrams
        served._took(b"", None)
        await asyncio.sleep(0.001)
        assert (served.notes, variable.get()) == (["inside"], "outside")


# -- the stop of its server


@on_every_loop
async def test_at_a_stop_what_has_come_is_handed_out():
    class Slow(Noting):
        async def on_read(self, data, address):
            await asyncio.sleep(0)
            self.notes.append(data)

    server = await trews.Server(Slow).listen(LO4).start()
    (served,) = server.datagrams
    for number in range(20):
        served._took(b"%d" % number, None)
    assert await server.stop() == (0, 0)  # those are connections
    assert served.notes == ["open", *(b"%d" % number for number in range(20)), "ClosedLocally"]
    assert str(served.reason) == "the server is stopping"


@virtually
async def test_on_stop_may_take_its_time_within_the_grace():
    class Polite(Noting):
        async def on_stop(self):
            await asyncio.sleep(5)
            self.notes.append("done")
            self.close()

    server = await trews.Server(Polite).listen(LO4).start()
    (served,) = server.datagrams
    await server.stop(10)
    assert served.notes == ["open", "done", "ClosedLocally"]


@virtually
async def test_the_end_of_the_grace_cuts_it_off():
    class Stubborn(Noting):
        async def on_stop(self):
            try:
                await asyncio.Event().wait()
            finally:
                self.notes.append("cancelled")

    server = await trews.Server(Stubborn).listen(LO4).start()
    (served,) = server.datagrams
    begin = asyncio.get_running_loop().time()
    await server.stop(3)
    assert asyncio.get_running_loop().time() == begin + 3
    assert served.notes == ["open", "cancelled", "Aborted"]


@virtually
async def test_code_that_ignores_everything_is_left_behind(caplog):
    class Undying(trews.Datagram):
        async def on_read(self, data, address):
            while True:
                try:
                    await asyncio.sleep(100)
                    return
                except asyncio.CancelledError:
                    pass

    server = await trews.Server(Undying).listen(LO4).start()
    (served,) = server.datagrams
    served._took(b"", None)
    await server.stop(0)
    assert "ignores the end of its server" in lines(caplog)[0]
    await asyncio.sleep(200)


# -- its ends


@virtually
async def test_after_close_running_code_has_close_timeout():
    class Busy(Noting):
        close_timeout = 3

        async def on_read(self, data, address):
            self.close()
            try:
                await asyncio.Event().wait()
            finally:
                self.notes.append("cancelled")

    async with trews.Server(Busy).listen(LO4) as server:
        (served,) = server.datagrams
        begin = asyncio.get_running_loop().time()
        served._took(b"", None)
        await served.wait_closed()
        assert asyncio.get_running_loop().time() == begin + 3
        assert served.notes == ["open", "cancelled", "ClosedLocally"]


@virtually
async def test_a_network_that_takes_nothing_has_close_timeout():
    with Peer() as peer:
        client = await trews.connect(peer.endpoint, Noting, close_timeout=2)
        core = client._cores[0]
        core._send_now = lambda data, address: False
        client.write(b"never")
        client.close()
        await asyncio.sleep(1)
        assert not client._is_ended
        await client.wait_closed()
        assert client.notes == ["open", "WriteStalled"]


@virtually
async def test_in_its_own_callback_wait_closed_is_until_it_is_down():
    class Waiting(Noting):
        async def on_read(self, data, address):
            self.close()
            await self.wait_closed()
            self.notes.append("down")

    async with trews.Server(Waiting).listen(LO4) as server:
        (served,) = server.datagrams
        served._took(b"", None)
        await served.wait_closed()
        assert served.notes == ["open", "down", "ClosedLocally"]


@virtually
async def test_spawned_tasks_end_with_it():
    class Spawning(Noting):
        def on_open(self):
            self.task = self.spawn(asyncio.Event().wait())

    with Peer() as peer:
        async with trews.connect(peer.endpoint, Spawning) as client:
            assert not client.task.done()
        assert client.task.cancelled()
        with pytest.raises(trews.ClosedLocally):
            client.spawn(asyncio.sleep(0))


@virtually
async def test_on_close_may_be_async_and_fail(caplog):
    class Failing(trews.Datagram):
        async def on_close(self, reason):
            await asyncio.sleep(1)
            raise ValueError("too late")

    with Peer() as peer:
        async with trews.connect(peer.endpoint, Failing) as client:
            pass
    assert client._is_ended
    assert "its code failed" in lines(caplog)[0]


@virtually
async def test_closing_again_is_nothing():
    with Peer() as peer:
        client = await trews.connect(peer.endpoint, Noting)
        for _ in range(3):
            client.close()
        await client.wait_closed()
        client.close()
        client.abort()
        assert client.notes == ["open", "ClosedLocally"]


def test_one_that_outlives_trews_loop_is_told():
    opened = []

    async def main():
        with Peer() as peer:
            opened.append(await trews.connect(peer.endpoint, Noting))

    trews.run(main())
    assert opened[0].notes == ["open", "Aborted"]


@pytest.mark.leaks_ok("it is what the test is about")
def test_the_leak_check_finds_one_that_is_open():
    made = []

    async def main():
        made.append(await trews.connect("udp:127.0.0.1:9"))

    with pytest.raises(Leak, match="an open socket"):
        with no_leaks():
            with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
                runner.run(main())
    made.pop()._cores[0].sock.close()
    gc.collect()


@virtually
async def test_a_read_that_is_cancelled_loses_nothing():
    with Peer() as peer:
        async with trews.connect(peer.endpoint) as client:
            waiting = asyncio.create_task(client.read())
            await asyncio.sleep(0)
            client._took(b"kept", peer.address)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert await client.read() == (b"kept", peer.address)


@virtually
async def test_a_callback_may_be_assigned_to_an_object():
    got = []

    class Assigning(trews.Datagram):
        def on_open(self):
            self.on_read = lambda data, address: got.append(data)

    async with trews.Server(Assigning).listen(LO4) as server:
        server.datagrams[0]._took(b"data", None)
        assert got == [b"data"]


def test_sockets_are_closed_at_once():
    async def main():
        client = await trews.connect("udp:127.0.0.1:9")
        sock = client._cores[0].sock
        client.abort()
        assert sock.fileno() == -1
        await client.wait_closed()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
            again.bind(client.local_address)

    trews.run(main())

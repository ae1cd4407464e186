"""The core of datagrams: addresses, budgets, the queue, errors; on real sockets, and on one that does as it is told.

(Long: the tables of addresses, and one test for each errno that something must be done about.)
"""

from __future__ import annotations

import asyncio
import errno
import socket

import pytest

from tests.clients import LOOPS
from tests.servers import until, virtually
from trews.transport import datagram
from trews.transport.datagram import (
    DATAGRAMS_A_TURN,
    ERRORS_IN_A_ROW,
    OVERHEAD,
    PAUSE,
    RECV,
    RETRY,
    UNIX_OWED,
    UNIX_PATIENCE,
    DatagramCore,
    address_of,
    sockaddr,
)

LO = socket.if_nametoindex("lo")
V4, V6, UNIX = socket.AF_INET, socket.AF_INET6, socket.AF_UNIX


# -- addresses


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (("127.0.0.1", 53), (V4, ("127.0.0.1", 53))),
        (("<broadcast>", 9), (V4, ("255.255.255.255", 9))),
        (("::1", 53), (V6, ("::1", 53, 0, 0))),
        (("fe80::1%lo", 53), (V6, ("fe80::1", 53, 0, LO))),
        ((f"fe80::1%{LO}", 53), (V6, ("fe80::1", 53, 0, LO))),
        (("fe80::1", 53, 7, LO), (V6, ("fe80::1", 53, 0, LO))),
        (("::ffff:10.0.0.1", 53), (V4, ("10.0.0.1", 53))),
        (("::FFFF:a00:1", 53), (V4, ("10.0.0.1", 53))),
        ("/run/x", (UNIX, "/run/x")),
        ("@x", (UNIX, b"\0x")),
        ("@\udcff", (UNIX, b"\0\xff")),
    ],
)
def test_an_address_as_sockets_take_it(address, expected):
    assert sockaddr(address) == expected


@pytest.mark.parametrize(
    ("address", "error", "message"),
    [
        (("localhost", 53), ValueError, "'localhost' is not an IP address; look names up before"),
        (("127.1", 53), ValueError, "is not an IP address"),
        (("1.2.3.4\0", 53), ValueError, "is not an IP address"),
        (("", 53), ValueError, "is not an IP address"),
        (("fe80::1%nope0", 53), ValueError, "there is no network interface 'nope0'; there are: lo"),
        (("127.0.0.1", 65536), ValueError, "a port is a number from 0 to 65535, not 65536"),
        (("127.0.0.1", -1), ValueError, "a port is a number"),
        (("127.0.0.1", True), TypeError, "text and a number"),
        (("127.0.0.1", "53"), TypeError, "text and a number"),
        ((b"127.0.0.1", 53), TypeError, "text and a number"),
        (("127.0.0.1",), TypeError, "an address is"),
        (53, TypeError, "an address is"),
        (None, TypeError, "an address is"),
        ("", ValueError, "is not an address"),
    ],
)
def test_what_is_no_address(address, error, message):
    with pytest.raises(error, match=message):
        sockaddr(address)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (("127.0.0.1", 53), ("127.0.0.1", 53)),
        (("::1", 53, 0, 0), ("::1", 53)),
        (("fe80::1", 53, 0, LO), ("fe80::1%lo", 53)),
        (("fe80::1", 53, 0, 999_999), ("fe80::1%999999", 53)),
        (("::ffff:10.0.0.1", 53, 0, 0), ("10.0.0.1", 53)),
        ("/run/x", "/run/x"),
        ("@file", "./@file"),
        (b"\0x", "@x"),
        (b"\0\xff", "@\udcff"),
        (None, None),
        ("", None),
        (b"\0", "@"),
    ],
)
def test_an_address_as_users_see_it(name, expected):
    assert address_of(name) == expected


@pytest.mark.parametrize("name", [("127.0.0.1", 53), ("fe80::1", 53, 0, LO), "/run/x", b"\0x", b"\0\xff", b"\0\0"])
def test_who_sent_it_can_be_answered(name):
    assert sockaddr(address_of(name))[1] == name


# -- an owner


class Owner:
    def __init__(self):
        self.got, self.errors, self.sent, self.core = [], [], 0, None
        self.took = lambda: None

    def _took(self, data, address):
        self.got.append((data, address))
        self.took()

    def _core_failed(self, exc):
        self.errors.append(exc)

    def _core_sent(self):
        self.sent += 1

    def _abandoned(self):
        self.core.close()


def udp(family=V4, address="127.0.0.1"):
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.bind((address, 0))
    return sock


def core_of(sock, is_connected=False):
    owner = Owner()
    owner.core = DatagramCore(sock, owner, asyncio.get_running_loop(), is_connected)
    return owner, owner.core


@pytest.fixture(params=LOOPS)
def on_loop(request):
    def run(main):
        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            return runner.run(main)

    return run


# -- real sockets


def test_more_than_one_turn_takes_comes_whole_and_in_order(on_loop):
    async def main():
        owner, core = core_of(udp())
        expected = [b"%d" % n for n in range(3 * DATAGRAMS_A_TURN)]
        with udp() as peer:
            for data in expected:
                peer.sendto(data, core.sock.getsockname())
            core.read(True)
            await until(lambda: len(owner.got) == len(expected))
            assert owner.got == [(data, peer.getsockname()) for data in expected]
        core.close()

    on_loop(main())


def test_no_more_than_its_share_in_a_turn():
    async def main():
        owner, core = core_of(udp())
        with udp() as peer:
            for _ in range(2 * DATAGRAMS_A_TURN):
                peer.sendto(b"", core.sock.getsockname())
            core._mask = datagram.READ
            core._readable()
            assert len(owner.got) == DATAGRAMS_A_TURN
            core._now = iter(range(100)).__next__  # a second for each
            core._readable()
            assert len(owner.got) == DATAGRAMS_A_TURN + 1
        core._mask = 0
        core.close()

    asyncio.run(main())


@pytest.mark.parametrize("way", ["read", "close"])
def test_the_owner_may_stop_it_at_any_datagram(on_loop, way):
    async def main():
        owner, core = core_of(udp())
        owner.took = core.close if way == "close" else lambda: core.read(False)
        with udp() as peer:
            for _ in range(5):
                peer.sendto(b"", core.sock.getsockname())
            core.read(True)
            await until(lambda: owner.got)
            await asyncio.sleep(0.01)
            assert len(owner.got) == 1
        core.close()

    on_loop(main())


@pytest.mark.parametrize(("family", "host", "most"), [(V4, "127.0.0.1", 65507), (V6, "::1", 65527)])
def test_the_smallest_and_the_largest(on_loop, family, host, most):
    async def main():
        owner, core = core_of(udp(family, host))
        target = core.sock.getsockname()
        core.read(True)
        for size in (0, 1, most):
            core.send(bytes(size), target)
            await until(lambda: owner.got)
            assert owner.got.pop() == (bytes(size), target[:2])
        with pytest.raises(
            OSError, match=f"a datagram of {most + 1} bytes is too large: at most {most} can be sent"
        ) as e:
            core.send(bytes(most + 1), target)
        assert e.value.errno == errno.EMSGSIZE
        assert core.bytes_out == most + 1
        core.close()

    on_loop(main())


def test_nothing_can_be_cut():
    assert RECV > 65535


def test_a_unix_datagram_that_is_too_large(on_loop):
    async def main():
        one, two = socket.socketpair(UNIX, socket.SOCK_DGRAM)
        one.setblocking(False)
        _, core = core_of(one, True)
        with two:
            with pytest.raises(OSError, match=r"the system takes less than [0-9]+ here"):
                core.send(bytes(10_000_000), None)
        core.close()

    on_loop(main())


def test_a_loop_that_is_closed_tells_the_owner(on_loop):
    async def main():
        _, core = core_of(udp())
        core.read(True)
        return core

    core = on_loop(main())
    assert core.is_closing() or core._poller is None  # only our loop can tell
    core.sock.close()


def test_a_loop_without_readiness_receives_by_a_task():
    """As on Windows, whose Proactor loop has sock_recvfrom and no add_reader."""

    async def main():
        owner, core = core_of(udp())
        core._is_proactor = True
        with udp() as peer:
            core.read(True)
            for data in (b"one", b"two"):
                peer.sendto(data, core.sock.getsockname())
            await until(lambda: len(owner.got) == 2)
            core.read(False)
            assert core._task is None
            peer.sendto(b"three", core.sock.getsockname())
            await asyncio.sleep(0)
            core.read(True)
            await until(lambda: len(owner.got) == 3)
        task = core._task
        core.close()
        await asyncio.wait([task])

    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        runner.run(main())


# -- a socket that does as it is told


class Told:
    """Each `sendto` and `recvfrom` does the next thing of a list: raises it, or succeeds."""

    type = socket.SOCK_DGRAM

    def __init__(self, family=V4, outcomes=(), arrivals=()):
        self.family = family
        self.outcomes, self.arrivals = list(outcomes), list(arrivals)
        self.sent, self.options = [], {}
        self._real = socket.socket(family, socket.SOCK_DGRAM)

    def fileno(self):
        return self._real.fileno()

    def close(self):
        self._real.close()

    def send(self, data):
        self.sendto(data, None)

    def sendto(self, data, address):
        outcome = self.outcomes.pop(0) if self.outcomes else None
        if callable(outcome):
            outcome = outcome(address)
        if outcome is not None:
            raise OSError(outcome, errno.errorcode[outcome])
        self.sent.append((data, address))

    def recvfrom(self, size):
        if not self.arrivals:
            raise BlockingIOError
        outcome = self.arrivals.pop(0)
        if isinstance(outcome, int):
            raise OSError(outcome, errno.errorcode[outcome])
        return outcome

    def getsockopt(self, level, option):
        return self.options.get(option, 0)

    def setsockopt(self, level, option, value):
        self.options[option] = value


PEER = ("192.0.2.1", 9)


@virtually
async def test_what_has_no_room_waits_and_goes_in_order():
    sock = Told(outcomes=[errno.EAGAIN, errno.EAGAIN])
    owner, core = core_of(sock)
    for data in (b"one", b"two", b""):
        core.send(data, PEER)
    assert (sock.sent, core.waiting) == ([], 6 + 3 * OVERHEAD)
    core._flush()
    assert sock.sent == []
    core._flush()
    assert [data for data, _ in sock.sent] == [b"one", b"two", b""]
    assert (core.waiting, core.bytes_out, owner.errors) == (0, 6, [])
    assert owner.sent == 2
    assert core._mask == 0
    core.close()


@pytest.mark.parametrize("number", [errno.ENOBUFS, errno.ENOMEM])
@virtually
async def test_a_full_interface_is_tried_again_and_not_in_a_circle(number):
    sock = Told(outcomes=[number, number])
    owner, core = core_of(sock)
    core.send(b"one", PEER)
    assert core._mask == 0  # the socket is always writable: that would be a busy loop
    await asyncio.sleep(RETRY * 3)
    assert sock.sent == [(b"one", PEER)]
    assert owner.errors == []
    core.close()


@virtually
async def test_a_broadcast_is_allowed_by_itself():
    sock = Told(outcomes=[errno.EACCES])
    owner, core = core_of(sock)
    core.send(b"all", ("255.255.255.255", 9))
    assert sock.options == {socket.SO_BROADCAST: 1}
    assert sock.sent == [(b"all", ("255.255.255.255", 9))]
    sock.outcomes = [errno.EACCES]
    core.send(b"no", PEER)
    assert [str(exc) for exc in owner.errors] == ["[Errno 13] cannot send to ('192.0.2.1', 9): permission denied"]
    core.close()


@virtually
async def test_an_error_of_the_network_is_told_and_ends_nothing():
    sock = Told(outcomes=[errno.ENETUNREACH, None])
    owner, core = core_of(sock)
    core.send(b"lost", PEER)
    core.send(b"sent", PEER)
    assert sock.sent == [(b"sent", PEER)]
    (error,) = owner.errors
    assert (error.errno, str(error)) == (
        errno.ENETUNREACH,
        f"[Errno {errno.ENETUNREACH}] cannot send to ('192.0.2.1', 9): the network cannot be reached",
    )
    core.close()


@virtually
async def test_a_refusal_of_an_earlier_one_does_not_swallow_the_next():
    """connected UDP: the kernel tells it at the next send, which sends nothing then."""
    sock = Told(outcomes=[errno.ECONNREFUSED])
    owner, core = core_of(sock, is_connected=True)
    core.send(b"next", None)
    assert sock.sent == [(b"next", None)]
    assert [type(exc) for exc in owner.errors] == [ConnectionRefusedError]
    sock.outcomes = [errno.ECONNREFUSED] * 9
    core.send(b"gone", None)
    assert [type(exc) for exc in owner.errors] == [ConnectionRefusedError] * 2
    assert (len(sock.sent), core.waiting) == (1, 0)
    core.close()


@virtually
async def test_one_that_turns_out_too_large_in_the_queue_is_told():
    sock = Told(outcomes=[errno.EAGAIN, errno.EMSGSIZE])
    owner, core = core_of(sock)
    core.send(bytes(3000), PEER)
    core._flush()
    assert [(exc.errno, "does not fit into a packet" in str(exc)) for exc in owner.errors] == [(errno.EMSGSIZE, True)]
    assert core.waiting == 0
    core.close()


@virtually
async def test_errors_of_receiving_end_nothing_and_cannot_keep_the_loop_busy():
    sock = Told(arrivals=[errno.ECONNRESET] * ERRORS_IN_A_ROW + [(b"there", PEER)])
    owner, core = core_of(sock)
    core.read(True)
    for _ in range(ERRORS_IN_A_ROW - 1):
        core._readable()
    assert core._mask
    core._readable()
    assert not core._mask
    await asyncio.sleep(PAUSE * 1.1)
    assert core._mask
    core._readable()
    assert owner.got == [(b"there", PEER)]
    assert len(owner.errors) == ERRORS_IN_A_ROW
    core.read(False)
    core.close()


@virtually
async def test_what_may_have_been_cut_is_not_delivered():
    sock = Told(UNIX, arrivals=[(bytes(datagram.RECV_UNIX), "/x"), (b"whole", "/x")])
    owner, core = core_of(sock)
    core.read(True)
    core._readable()
    assert owner.got == [(b"whole", "/x")]
    assert [exc.errno for exc in owner.errors] == [errno.EMSGSIZE]
    core.read(False)
    core.close()


@virtually
async def test_a_unix_peer_that_does_not_read_holds_back_nobody_else():
    sock = Told(UNIX, outcomes=[lambda address: errno.EAGAIN if address == "/deaf" else None] * 1000)
    owner, core = core_of(sock)
    core.send(b"1", "/deaf")
    core.send(b"2", "/deaf")
    core.send(b"3", "/other")
    assert sock.sent == [(b"3", "/other")]
    assert core._mask == 0  # such a socket is always writable
    await asyncio.sleep(UNIX_PATIENCE * 1.1)
    assert core.waiting == 0
    assert [str(exc) for exc in owner.errors] == [
        f"[Errno {errno.ENOBUFS}] cannot send to '/deaf': it takes nothing, and its queue is full"
    ] * 2
    core.close()


@virtually
async def test_only_so_much_waits_for_one_unix_peer():
    sock = Told(UNIX, outcomes=[lambda address: errno.EAGAIN if address == "/deaf" else None] * 100_000)
    _, core = core_of(sock)
    with pytest.raises(OSError, match="'/deaf' takes nothing") as caught:
        for _ in range(10_000):
            core.send(b"x" * 1000, "/deaf")
    assert caught.value.errno == errno.ENOBUFS
    assert UNIX_OWED < core.waiting < UNIX_OWED + 3000
    core.send(b"3", "/other")
    assert sock.sent == [(b"3", "/other")]
    core.close()
    assert core.waiting == 0


@virtually
async def test_closing_twice_and_late_events_are_nothing():
    sock = Told(outcomes=[errno.ENOBUFS])
    owner, core = core_of(sock)
    core.send(b"x", PEER)
    core.read(True)
    core.close()
    core.close()
    core.on_event(datagram.READ | datagram.WRITE)
    await asyncio.sleep(1)
    assert (owner.got, owner.errors, sock.sent) == ([], [], [])

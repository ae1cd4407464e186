"""What the service manager is told: when, where, and that it never matters whether it hears."""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import closing, contextmanager

import pytest

import trews
from trews import Drained, Server
from trews.notify import MAX_STATUS, Notifier, plain, watchdog_interval
from trews.testing import VirtualLoop

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no Unix sockets here")


class Manager:
    """systemd's end of it."""

    def __init__(self, address):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(address)
        self.sock.setblocking(False)
        self.environment = {"NOTIFY_SOCKET": address.replace("\0", "@")}

    def heard(self) -> list[str]:
        """What was told since it was last asked."""
        found = []
        while True:
            try:
                found.append(self.sock.recv(10_000).decode())
            except BlockingIOError:
                return found


@pytest.fixture(params=["path", "abstract"])
def manager(request, tmp_path):
    made = Manager(str(tmp_path / "notify") if request.param == "path" else f"\0{tmp_path}")
    yield made
    made.sock.close()


@contextmanager
def notifier(environment):
    with closing(VirtualLoop()) as loop:
        made = Notifier(environment)
        yield made, loop
        made.close()
        assert loop._next() is None


READY = "READY=1\nSTATUS=listening on tcp:80"


def test_it_is_told_when_it_is_ready_and_when_it_stops(manager):
    with notifier(manager.environment) as (notify, loop):
        assert notify.is_wanted
        assert not manager.heard()
        notify.ready(loop, "listening on tcp:80")
        assert manager.heard() == [READY]
        loop.advance(1000)
        assert not manager.heard()  # no watchdog
        notify.stopping("stopping, 3 connections open")
        assert manager.heard() == ["STOPPING=1\nSTATUS=stopping, 3 connections open"]


@pytest.mark.parametrize("environment", [{}, {"NOTIFY_SOCKET": ""}, {"WATCHDOG_USEC": "1000000"}])
def test_where_nobody_waits_nothing_is_told(environment, caplog):
    with notifier(environment) as (notify, loop):
        assert not notify.is_wanted
        notify.ready(loop, "x")
        loop.advance(1000)
        notify.stopping("x")
        assert notify._socket is None
    assert not caplog.records


# -- the watchdog

INTERVALS = [
    ({}, None),
    ({"WATCHDOG_USEC": "30000000"}, 15.0),
    ({"WATCHDOG_USEC": "1"}, 0.01),  # and not all the time
    ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
    ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getppid())}, None),
    ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": ""}, None),
    ({"WATCHDOG_USEC": "0"}, None),
    ({"WATCHDOG_USEC": ""}, None),
    ({"WATCHDOG_USEC": "-5"}, None),
    ({"WATCHDOG_USEC": "30s"}, None),
    ({"WATCHDOG_USEC": "9" * 5000}, None),
    ({"WATCHDOG_USEC": "\u0663"}, None),
]


@pytest.mark.parametrize(("environment", "seconds"), INTERVALS)
def test_it_is_fed_twice_in_each_period_if_it_is_meant_for_us(environment, seconds):
    assert watchdog_interval(environment) == seconds


def test_it_is_fed_from_ready_to_the_end(manager):
    with notifier({**manager.environment, "WATCHDOG_USEC": "20000000"}) as (notify, loop):
        loop.advance(100)
        assert not manager.heard()  # starting may take as long as TimeoutStartSec= allows
        notify.ready(loop, "listening on tcp:80")
        loop.advance(9.9)
        assert manager.heard() == [READY]
        loop.advance(0.2)
        assert manager.heard() == ["WATCHDOG=1"]
        loop.advance(40)
        assert manager.heard() == ["WATCHDOG=1"] * 4
        notify.stopping("x")
        loop.advance(10)
        assert manager.heard()[1:] == ["WATCHDOG=1"]
        notify.close()
        loop.advance(100)
        assert not manager.heard()


def test_a_loop_that_is_stuck_does_not_feed_it(manager):
    with notifier({**manager.environment, "WATCHDOG_USEC": "20000000"}) as (notify, loop):

        def stuck():
            loop.clock.tick += 1000  # time.sleep(1000)
            found.append(manager.heard())

        found = []
        notify.ready(loop, "listening on tcp:80")
        loop.call_later(5, stuck)
        loop.advance(6)
        assert found == [[READY]]
        loop.settle()
        assert manager.heard() == ["WATCHDOG=1"]  # once, and not for the time that was lost


# -- it never matters

UNUSABLE = [
    "/nonexistent/notify",
    "@trews-nobody-is-here",
    "relative-and-not-there",
    "vsock:2:1234",
    "/" + "x" * 500,
    "/x\0y",
    "@",
    "/\x1b[31m\n",
    "/\udcff",
]


@pytest.mark.parametrize("address", UNUSABLE, ids=ascii)
def test_what_cannot_be_told_is_logged_once_and_stops_nothing(address, caplog):
    with notifier({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1000000"}) as (notify, loop):
        notify.ready(loop, "x")
        loop.advance(10)
        notify.stopping("x")
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage().isprintable()
    assert "cannot tell the service manager" in record.getMessage()


def test_a_manager_that_does_not_listen_is_not_waited_for(manager, caplog):
    with notifier({**manager.environment, "WATCHDOG_USEC": "2000000"}) as (notify, loop):
        notify.ready(loop, "x")
        loop.advance(2000)  # its queue is full after some
        assert len(caplog.records) == 1
        assert 1 < len(manager.heard()) < 2000
        loop.advance(1)
        assert manager.heard() == ["WATCHDOG=1"]  # and it goes on when there is room


def test_children_do_not_have_the_socket(manager):
    with notifier(manager.environment) as (notify, loop):
        notify.ready(loop, "x")
        assert not notify._socket.get_inheritable()
        assert not notify._socket.getblocking()


def test_a_status_is_one_line_of_bounded_length(manager):
    assert plain("a\nREADY=0\x1b\u2028\udcff") == "a?READY=0???"
    with notifier(manager.environment) as (notify, loop):
        notify.ready(loop, "x\n" * 100_000)
        (text,) = manager.heard()
        assert len(text) == len("READY=1\nSTATUS=") + MAX_STATUS


# -- what a server tells


class Once(Server):
    """Notes what had been told when it started; stops itself."""

    def on_start(self):
        self.before = self.manager.heard()
        trews.after(0, self.at_work)

    def at_work(self):
        self.meanwhile = self.manager.heard()
        self.stop()


async def echo(conn):
    async for data in conn:
        await conn.send(data)


def test_serve_tells_it_whoever_stops_the_server(manager, monkeypatch):
    monkeypatch.setenv("NOTIFY_SOCKET", manager.environment["NOTIFY_SOCKET"])
    for _ in range(2):  # in the same process
        server = Once(echo)
        server.manager = manager
        assert trews.serve(server, "tcp:127.0.0.1:0") == Drained(0, 0)
        assert server.before == []  # not yet: on_start may open the database
        assert server.meanwhile == [f"READY=1\nSTATUS=listening on tcp:127.0.0.1:{server.port}"]
        assert manager.heard() == ["STOPPING=1\nSTATUS=stopping, 0 connections open"]


def test_a_server_that_fails_to_start_is_never_ready(manager, monkeypatch):
    monkeypatch.setenv("NOTIFY_SOCKET", manager.environment["NOTIFY_SOCKET"])

    class Fails(Server):
        async def on_start(self):
            await asyncio.sleep(0)
            raise RuntimeError("no database")

    with pytest.raises(RuntimeError, match="no database"):
        trews.serve(Fails(echo), "tcp:127.0.0.1:0")
    assert not manager.heard()


def test_a_server_that_is_stopped_while_it_starts_is_never_ready(manager, monkeypatch):
    monkeypatch.setenv("NOTIFY_SOCKET", manager.environment["NOTIFY_SOCKET"])

    class Brief(Server):
        def on_start(self):
            self.stop()

    assert trews.serve(Brief(echo), "tcp:127.0.0.1:0") == Drained(0, 0)
    assert manager.heard() == ["STOPPING=1\nSTATUS=stopping, 0 connections open"]

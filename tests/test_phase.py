"""The states of a connection, as they can be seen from outside."""

from __future__ import annotations

from trews import Connection
from trews.phase import Consumer, Phase
from trews.testing import wire


class Watched(Connection):
    """Notes its phase in each callback."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, Phase]] = [("init", self._phase)]

    def on_connect(self) -> None:
        self.seen.append(("on_connect", self._phase))

    def on_read(self, message: bytes) -> None:
        self.seen.append(("on_read", self._phase))
        if message == b"close":
            self.close()
            self.seen.append(("closed", self._phase))

    def on_close(self, reason: object) -> None:
        self.seen.append(("on_close", self._phase))


def test_every_phase_in_order() -> None:
    w = wire(Watched)
    w.feed(b"close")
    assert w.connection.seen == [
        ("init", Phase.NEW),
        ("on_connect", Phase.OPEN),
        ("on_read", Phase.OPEN),
        ("closed", Phase.FLUSHING),
        ("on_close", Phase.CLOSED),
    ]


def test_a_lost_connection_delivers_and_ends_in_down() -> None:
    w = wire(Watched)
    w.connection.pause_reading()
    w.feed(b"late").reset()
    w.connection.resume_reading()
    w.settle()
    assert [name for name, _ in w.connection.seen] == ["init", "on_connect", "on_read", "on_close"]
    assert w.connection.seen[-1] == ("on_close", Phase.CLOSED)


def test_flushing_lasts_while_the_peer_takes_nothing() -> None:
    w = wire(Watched, capacity=10)
    w.clog()
    w.connection.write(b"x" * 100)
    w.feed(b"close")
    before = w.connection._phase
    w.unclog()
    assert w.sent() == b"x" * 100
    after = w.connection._phase
    assert (before, after) == (Phase.FLUSHING, Phase.CLOSED)


def test_phases_only_go_forward() -> None:
    assert list(Phase) == sorted(Phase)


def test_who_takes_messages() -> None:
    class Sink(Connection):
        pass

    class Derived(Watched):
        pass

    assert Connection._consumer is Consumer.READ
    assert Watched._consumer is Consumer.ON_READ
    assert Derived._consumer is Consumer.ON_READ
    assert Sink._consumer is Consumer.NOBODY

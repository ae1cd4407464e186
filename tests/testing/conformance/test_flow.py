import pytest

from trews.connection import Connection
from trews.transport.memory import MemorySocket
from trews.transport.stream import StreamTransport


def test_a_link_that_takes_everything_is_noticed(monkeypatch, passes):
    monkeypatch.setattr(MemorySocket, "_room", lambda self: 1 << 40)
    assert not passes("on_full_and_on_drain_come_in_pairs")


@pytest.mark.parametrize("name", ["pause_reading_makes_the_peer_wait", "an_async_on_read_makes_the_peer_wait"])
def test_a_transport_that_does_not_pause_is_noticed(monkeypatch, passes, name):
    monkeypatch.setattr(StreamTransport, "pause_reading", lambda self: None)
    assert not passes(name)


def test_a_forgotten_on_drain_is_noticed(monkeypatch, passes):
    monkeypatch.setattr(Connection, "resume_writing", lambda self: None)
    assert not passes("drain_waits_and_goes_on")

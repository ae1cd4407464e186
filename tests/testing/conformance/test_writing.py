import pytest

from trews.connection import Connection
from trews.transport import core
from trews.transport.memory import MemorySocket


@pytest.mark.parametrize(
    "name", ["a_large_write_arrives_whole_while_others_are_served", "close_right_after_a_large_write_delivers_it"]
)
def test_bytes_that_are_accepted_and_dropped_are_noticed(monkeypatch, passes, name):
    send = MemorySocket.send
    monkeypatch.setattr(
        MemorySocket, "send", lambda self, data: send(self, data[:-1] if len(data) > 9 else data) + (len(data) > 9)
    )
    assert not passes(name)


def test_a_missing_write_limit_is_noticed(monkeypatch, passes):
    monkeypatch.setattr(Connection, "_admit_more", lambda self: True)
    assert not passes("a_peer_that_never_reads_ends_at_write_limit")


@pytest.mark.pure_only
def test_keeping_a_buffer_that_the_user_changes_is_noticed(monkeypatch, passes):
    monkeypatch.setattr(core, "as_bytes", memoryview)
    assert not passes("what_was_written_may_be_changed_afterwards")

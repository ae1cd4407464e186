import pytest

from trews.connection import Connection
from trews.testing.conformance import CHECKS
from trews.testing.conformance.ending import PATHS
from trews.transport.memory import MemorySocket


def test_every_path_has_its_checks():
    for path in PATHS:
        assert f"on_close_comes_once_after_{path.name}" in CHECKS


def test_a_missing_reset_is_noticed(monkeypatch, passes):
    monkeypatch.setattr(MemorySocket, "setsockopt", lambda self, *args: None)
    assert not passes("the_peer_of_abort_sees_a_reset")


@pytest.mark.parametrize("path", [path.name for path in PATHS])
def test_a_second_on_close_is_noticed(monkeypatch, passes, path):
    end = Connection._end_if_idle

    def twice(self):
        if not self._is_ended:
            self.on_close(self.reason)
        end(self)

    monkeypatch.setattr(Connection, "_end_if_idle", twice)
    assert not passes(f"on_close_comes_once_after_{path}")


def test_a_loss_that_is_not_told_is_noticed(monkeypatch, passes):
    monkeypatch.setattr(Connection, "connection_lost", lambda self, exc: None)
    assert not passes("on_close_comes_once_after_a_reset")
    assert not passes("waiters_are_released_by_a_reset")

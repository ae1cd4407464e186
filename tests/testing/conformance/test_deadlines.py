import pytest

from trews.deadlines import Deadlines


@pytest.mark.parametrize(
    "name", ["a_message_has_its_time", "a_peer_that_takes_nothing_is_left", "close_does_not_wait_for_ever"]
)
def test_deadlines_that_never_come_are_noticed(monkeypatch, passes, name):
    assert passes(name)
    monkeypatch.setattr(Deadlines, "on_deadline", lambda self, now: 0.0)
    assert not passes(name)

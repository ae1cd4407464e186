import pytest

from trews.connection import Connection


@pytest.mark.leaks_ok("tasks that outlive their connection are what this is about")
@pytest.mark.parametrize("name", ["abort_cancels_the_handler", "spawned_tasks_die_with_the_connection"])
def test_tasks_that_outlive_their_connection_are_noticed(monkeypatch, passes, name):
    monkeypatch.setattr(Connection, "_cancel_tasks", lambda self: None)
    go_down = Connection._go_down

    def spare(self):
        spawned, self._spawned = self._spawned, set()
        go_down(self)
        self._spawned = spawned

    monkeypatch.setattr(Connection, "_go_down", spare)
    assert not passes(name)

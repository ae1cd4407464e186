import contextvars

import pytest

from trews.connection import Connection


@pytest.mark.parametrize("kind", ["a_plain", "an_async"])
def test_an_error_that_is_swallowed_is_noticed(monkeypatch, passes, kind):
    monkeypatch.setattr(Connection, "_failed", lambda self, exc: None)
    assert not passes(f"{kind}_on_read_that_raises_ends_only_its_connection")


def test_a_shared_context_is_noticed(monkeypatch, passes):
    shared = contextvars.copy_context()
    monkeypatch.setattr("trews.lifecycle.contextvars.copy_context", lambda: shared)
    assert not passes("each_connection_has_a_context_of_its_own")

"""What a server tells of its connections."""

from __future__ import annotations

import trews
from trews.registry import Connections, Drained, Stats


def test_connections_may_come_and_go_while_iterating():
    connections = Connections()
    some = [trews.Connection() for _ in range(3)]
    for connection in some:
        connections._add(connection)
    seen = []
    for connection in connections:
        seen.append(connection)
        connections._discard(connection)
        connections._add(trews.Connection())
    assert seen == some
    assert len(connections) == 3
    assert some[0] not in connections
    assert repr(connections) == "<3 connections>"


def test_membership_is_that_of_the_object():
    connections = Connections()
    connection = trews.Connection()
    connections._add(connection)
    assert connection in connections
    for other in (trews.Connection(), None, 3):
        assert other not in connections
    connections._discard(connection)
    connections._discard(connection)  # twice does no harm
    assert connection not in connections


def test_counts_begin_at_nothing():
    assert set(vars(Stats()).values()) == {0}
    assert Drained(2, 1) == (2, 1)

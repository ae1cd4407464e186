"""The checks of `switch` would notice it if something were wrong."""

from __future__ import annotations

from trews import connection, handover
from trews.connection import Connection
from trews.errors import Switched
from trews.handover import Handover
from trews.inbox import Inbox
from trews.lifecycle import Lifecycle
from trews.reader import Reader


def forgetful(old, new):
    handover.hand_over(old, new)
    new._remote_address = ("elsewhere", 1)


def test_bytes_that_are_lost_are_noticed(monkeypatch, passes):
    monkeypatch.setattr(Inbox, "leftover", lambda self: self.clear() or b"")
    assert not passes("a_switch_keeps_every_byte")
    assert not passes("data_and_fin_behind_a_switch_reach_the_other")
    assert not passes("one_may_switch_again_and_again")


def test_an_end_that_is_not_told_is_noticed(monkeypatch, passes):
    monkeypatch.setattr(Handover, "eof_received", lambda self: True)
    init = Handover.__init__
    monkeypatch.setattr(
        Handover,
        "__init__",
        lambda self, transport, new, data, eof, full: init(self, transport, new, data, False, full),
    )
    assert not passes("a_switch_after_the_peers_fin_tells_it_again")


def test_an_old_one_that_does_not_end_is_noticed(monkeypatch, passes):
    monkeypatch.setattr(Switched, "is_clean", False)
    assert not passes("on_close_comes_once_after_a_switch")


def test_who_waits_in_vain_is_noticed(monkeypatch, passes):
    monkeypatch.setattr(Lifecycle, "_signal", lambda self, reader: None)
    monkeypatch.setattr(Reader, "wake", lambda self: None)
    assert not passes("a_switch_is_visible_to_those_who_wait")


def test_an_old_one_that_writes_on_is_noticed(monkeypatch, passes):
    monkeypatch.setattr(Connection, "_write_unowned", lambda self, data: None)
    assert not passes("the_old_one_cannot_write_or_end_anything_any_more")


def test_facts_that_are_forgotten_are_noticed(monkeypatch, passes):
    monkeypatch.setattr(connection, "hand_over", forgetful)
    assert not passes("the_others_facts_are_the_same")


def test_a_file_that_is_forgotten_is_noticed(monkeypatch, passes):
    monkeypatch.setattr(Connection, "switch", lambda self, other: handover.hand_over(self, other()))
    assert not passes("a_switch_that_cannot_be_changes_nothing")


def test_bytes_that_are_counted_twice_are_noticed(monkeypatch, passes):
    monkeypatch.setattr(Connection, "_let_go", lambda self, new: None)
    assert not passes("what_waits_at_a_switch_is_sent_first")

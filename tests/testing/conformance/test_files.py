"""The checks of files would notice it if something were wrong."""

from __future__ import annotations

from trews.calls import Started
from trews.transport.core import StreamCore
from trews.transport.filepart import FilePart
from trews.transport.memory import MemorySocket


def test_what_overtakes_a_file_is_noticed(monkeypatch, passes):
    write_file = StreamCore.write_file

    def late(self, part):
        self.loop.call_soon(write_file, self, part)

    monkeypatch.setattr(StreamCore, "write_file", late)
    assert not passes("a_file_arrives_whole_between_what_is_written")


def test_a_byte_that_is_left_out_is_noticed(monkeypatch, passes):
    read = FilePart.read
    monkeypatch.setattr(FilePart, "read", lambda self, sent: read(self, sent + (sent > 70_000)))
    assert not passes("a_file_arrives_whole_between_what_is_written")
    assert not passes("close_right_after_a_file_delivers_it")


def test_the_wrong_part_is_noticed(monkeypatch, passes):
    read = FilePart.read
    monkeypatch.setattr(FilePart, "read", lambda self, sent: read(self, sent)[::-1])
    assert not passes("a_part_of_a_file_is_sent")
    assert not passes("an_open_file_is_sent_and_stays_open")


def test_a_file_that_counts_for_write_limit_is_noticed(monkeypatch, passes):
    write_file = StreamCore.write_file

    def in_memory(self, part):
        write_file(self, part)
        self.file_bytes = 0

    monkeypatch.setattr(StreamCore, "write_file", in_memory)
    assert not passes("a_file_is_not_in_memory_and_does_not_reach_write_limit")


def test_an_error_that_is_swallowed_is_noticed(monkeypatch, passes):
    monkeypatch.setattr(Started, "__del__", lambda self: self.done() and self.exception())
    assert not passes("a_failure_that_nobody_awaits_is_the_connections")


def test_a_file_that_is_sent_to_nobody_is_noticed(monkeypatch, passes):
    settle = Started.settle
    monkeypatch.setattr(Started, "settle", lambda self, exc: settle(self, None))
    for name in (
        "a_missing_file_is_told_where_it_is_awaited",
        "a_file_that_becomes_shorter_is_told",
        "a_file_that_is_too_short_sends_nothing",
        "a_file_ends_with_its_connection",
    ):
        assert not passes(name)


def test_done_before_it_is_sent_is_noticed(monkeypatch, passes):
    init = FilePart.__init__

    def hasty(self, path_or_file, offset, count, done):
        init(self, path_or_file, offset, count, done)
        done(None)

    monkeypatch.setattr(FilePart, "__init__", hasty)
    assert not passes("drain_waits_for_a_file")


def test_lost_bytes_are_noticed(monkeypatch, passes):
    send = MemorySocket.send
    monkeypatch.setattr(
        MemorySocket, "send", lambda self, data: send(self, data[:-1] if len(data) > 9 else data) + (len(data) > 9)
    )
    assert not passes("close_write_right_after_a_file_delivers_it")

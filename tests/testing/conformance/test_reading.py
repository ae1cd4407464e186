import asyncio

import pytest

from trews import Connection, TimedOut
from trews.transport.memory import MemorySocket

recv = MemorySocket.recv


@pytest.mark.parametrize(
    ("broken", "name"),
    [
        (lambda self, size: recv(self, size)[::-1], "bytes_arrive_in_order"),
        (lambda self, size: recv(self, size)[1:], "messages_do_not_depend_on_chunking"),
        (lambda self, size: recv(self, size) * 2, "messages_wait_for_read"),
    ],
)
def test_bytes_that_are_swapped_lost_or_doubled_are_noticed(monkeypatch, passes, broken, name):
    assert passes(name)
    monkeypatch.setattr(MemorySocket, "recv", broken)
    assert not passes(name)


def test_a_read_that_eats_what_it_has_not_returned_is_noticed(monkeypatch, passes):
    read = Connection.read

    async def eats(self, *args, **kwargs):
        try:
            return await read(self, *args, **kwargs)
        except (asyncio.CancelledError, TimedOut):
            self._inbox.clear()
            raise

    monkeypatch.setattr(Connection, "read", eats)
    assert not passes("a_cancelled_read_loses_nothing")
    assert not passes("a_timed_out_read_loses_nothing")

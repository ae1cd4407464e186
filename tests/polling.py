"""What tests of the poller and its dispatcher share: watchers, connected pairs, and all pollers there are."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests import kqueue
from trews.backends import BACKENDS, _Kqueue

NAMES = list(dict.fromkeys([*BACKENDS, "kqueue"]))


def kqueue_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is none an imitation stands for it: see tests/kqueue.py."""
    if "kqueue" not in BACKENDS:
        kqueue.install(monkeypatch)
        monkeypatch.setitem(BACKENDS, "kqueue", _Kqueue)


@contextlib.contextmanager
def pairs() -> Iterator[Callable[[], tuple[socket.socket, socket.socket]]]:
    """Makes connected, non-blocking pairs of sockets and closes them all."""
    with contextlib.ExitStack() as made:

        def make() -> tuple[socket.socket, socket.socket]:
            near, far = socket.socketpair()
            for end in (near, far):
                end.setblocking(False)
                made.enter_context(end)
            return near, far

        yield make


class Watcher:
    """Notes its events, and does something at each."""

    def __init__(self, act: Callable[[], Any] = lambda: None) -> None:
        self.events: list[int] = []
        self.act = act

    def on_event(self, mask: int) -> None:
        self.events.append(mask)
        self.act()


def count_polls(dispatcher: Any) -> list[float | None]:
    """The timeouts of the polls that were made since."""
    polls: list[float | None] = []
    real = dispatcher.poll

    def poll(timeout: float | None) -> list[tuple[int, int]]:
        polls.append(timeout)
        found: list[tuple[int, int]] = real(timeout)
        return found

    dispatcher.poll = poll
    return polls

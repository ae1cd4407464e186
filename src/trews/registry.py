"""What a server tells of itself: its state, the connections that are open, counts, how they ended."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, NamedTuple

from trews.connection import Connection

if TYPE_CHECKING:
    from collections.abc import Iterator


class State(enum.IntEnum):
    """Where a server is in its life; the picture is in `server`."""

    NEW = 0
    STARTING = 1
    SERVING = 2
    STOPPING = 3
    STOPPED = 4


class Drained(NamedTuple):
    """How a stopped server's connections ended: in their own time, or cut off when the grace was over."""

    closed: int
    aborted: int


class Stats:
    """What a server has done so far. Counts are connections and bytes; `handshakes_failed` is about TLS."""

    def __init__(
        self,
        accepted: int = 0,
        refused: int = 0,
        failed: int = 0,
        handshakes_failed: int = 0,
        open: int = 0,
        bytes_in: int = 0,
        bytes_out: int = 0,
    ) -> None:
        self.accepted = accepted
        self.refused = refused
        self.failed = failed
        self.handshakes_failed = handshakes_failed
        self.open = open
        self.bytes_in = bytes_in
        self.bytes_out = bytes_out

    def __eq__(self, other: object) -> bool:
        return vars(self) == vars(other) if isinstance(other, Stats) else NotImplemented

    def __repr__(self) -> str:
        return f"Stats({', '.join(f'{name}={count}' for name, count in vars(self).items())})"


class Connections:
    """The open connections of a server. Iterating is safe while they come and go."""

    def __init__(self) -> None:
        self._all: dict[int, Connection] = {}

    def __iter__(self) -> Iterator[Connection]:
        return iter(list(self._all.values()))

    def __len__(self) -> int:
        return len(self._all)

    def __contains__(self, connection: object) -> bool:
        return isinstance(connection, Connection) and self._all.get(connection._id) is connection

    def __repr__(self) -> str:
        return f"<{len(self)} connections>"

    def _add(self, connection: Connection) -> None:
        self._all[connection._id] = connection

    def _discard(self, connection: Connection) -> None:
        self._all.pop(connection._id, None)

"""The states of a connection.

NEW ──> OPEN ──close, EOF, deadline──> FLUSHING ──sent, FIN──> DOWN ──its code has returned──> CLOSED
         └──────lost, aborted─────────────┴───────────────────^          (and on_close is called)
"""

from __future__ import annotations

import enum


class Phase(enum.IntEnum):
    """Where a connection is in its life."""

    NEW = 0
    OPEN = 1
    FLUSHING = 2
    DOWN = 3
    CLOSED = 4


class Consumer(enum.IntEnum):
    """Who takes messages that no `read()` waits for."""

    ON_READ = 0
    READ = 1  # nobody: they are kept for the next read()
    NOBODY = 2  # thrown away

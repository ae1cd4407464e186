"""How long a client that has lost its server waits before it tries again."""

from __future__ import annotations

FIRST = 0.5  # seconds
MOST = 60.0
STEADY = 10.0  # a connection that was there for so long was a good one


class Backoff:
    """Waits that double, and are short again after a good connection."""

    def __init__(self) -> None:
        self._longest = FIRST

    def next_wait(self, seconds_up: float = 0.0) -> float:
        """Seconds to wait now.

        Args:
            seconds_up: how long the last connection was there; 0 for an attempt that failed. A short one counts as
                little: a server that accepts and closes at once must not be asked again at once.

        Returns:
            0.5 s, then twice as much each time up to 60 s; less a random part of up to a half, so that the many clients
            of a server that went down do not all come back in the same moment.
        """
        import random  # not at the top: slow to import

        if seconds_up >= STEADY:
            self._longest = FIRST
        longest = self._longest
        self._longest = min(2 * longest, MOST)
        return longest * (1 - random.random() / 2)

"""Telling the service manager that started this program how it is: ready, stopping, alive.

`NOTIFY_SOCKET` in the environment says where; without it nothing is told. That it cannot be told never stops the
program. The watchdog is fed by the loop itself: a loop that is stuck goes hungry, as it should.

Source: sd_notify(3), sd_watchdog_enabled(3).
"""

from __future__ import annotations

import logging
import os
import socket
from typing import TYPE_CHECKING

from trews.errors import sentence

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping

logger = logging.getLogger("trews")

SHORTEST = 0.01  # seconds between two signs of life, whatever is asked for
MAX_STATUS = 1000  # characters; a datagram must not be refused for its size


class Notifier:
    """What one run of a server tells.

    Args:
        environment: where `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID` are looked up. It is left as it is: the
            program's own code may want to tell something, too.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        path = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + path[1:] if path.startswith("@") else path
        self._interval = watchdog_interval(environment) if path else None
        self._socket: socket.socket | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._has_failed = False

    @property
    def is_wanted(self) -> bool:
        """Whether anybody is to be told."""
        return bool(self._address)

    def ready(self, loop: asyncio.AbstractEventLoop, status: str) -> None:
        """Connections are accepted. From now on the watchdog is fed, twice in each of its periods."""
        self._send("READY=1", f"STATUS={plain(status)}")
        if self._interval is not None:
            self._timer = loop.call_later(self._interval, self._feed, loop, self._interval)

    def stopping(self, status: str) -> None:
        """It is draining. The watchdog is fed until the end."""
        self._send("STOPPING=1", f"STATUS={plain(status)}")

    def close(self) -> None:
        """Nothing more is told."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _feed(self, loop: asyncio.AbstractEventLoop, interval: float) -> None:
        self._send("WATCHDOG=1")
        self._timer = loop.call_later(interval, self._feed, loop, interval)

    def _send(self, *assignments: str) -> None:
        if not self.is_wanted:
            return
        try:
            if self._socket is None:  # it is not inherited by children: Python's sockets are not
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                self._socket.setblocking(False)
            self._socket.sendto("\n".join(assignments).encode("utf-8", "replace"), self._address)
        except (OSError, ValueError, AttributeError) as exc:  # no such file, a path with a NUL, no AF_UNIX
            if not self._has_failed:
                self._has_failed = True
                shown = self._address.replace("\0", "@", 1)
                logger.warning("cannot tell the service manager at NOTIFY_SOCKET=%r: %s", shown, sentence(exc))


def watchdog_interval(environment: Mapping[str, str]) -> float | None:
    """Seconds between two signs of life, half of what is allowed; None if nobody waits for them."""
    pid, period = environment.get("WATCHDOG_PID"), environment.get("WATCHDOG_USEC", "")
    if pid is not None and pid != str(os.getpid()):
        return None  # meant for a process that has started this one
    if not (period.isascii() and period.isdigit() and len(period) <= 18) or int(period) == 0:
        return None
    return max(int(period) / 2_000_000, SHORTEST)


def plain(status: str) -> str:
    """One line."""
    return "".join(char if char.isprintable() else "?" for char in status)[:MAX_STATUS]

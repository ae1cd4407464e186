"""Sockets that a proxy has connected, until its PROXY header has been read: `proxy_protocol=` of a listener.

The header is read from the socket itself, before there is a transport, and not one byte beyond it is taken: a TLS
handshake on the same descriptor may follow. So bytes are looked at first (MSG_PEEK), and those that surely belong to
the header are taken, even of an unfinished one: what is left unread would wake the loop again and again.
What the bytes mean is `proxy_header`'s.
"""

from __future__ import annotations

import ipaddress
import logging
import socket
from typing import TYPE_CHECKING, Any

from trews.addresses import from_name, shown
from trews.errors import sentence
from trews.proxy_header import MAX_HEADER, cut

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from trews.endpoint import Endpoint

logger = logging.getLogger("trews")

HEADER_TIMEOUT = 10.0  # seconds from accept to the end of the header
MAX_ARRIVING = 1000  # sockets of one listener whose header is not complete
QUIET = 60.0  # seconds between two lines in the log about the same
SHOWN = 32  # bytes of what came instead of a header


class Arrival:
    """One socket whose header is being read."""

    __slots__ = ("address", "due", "sock", "taken")

    def __init__(self, sock: socket.socket, address: Any, due: float) -> None:
        self.sock = sock
        self.address = address
        self.due = due
        self.taken = b""


class Arrivals:
    """All of those of one listener.

    Args:
        accept: told `(socket, source, destination)` of each that may go on; destination is None, and source the
            peer's own address, where the header says that there is no other.
        refused: told of each that was closed instead.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        endpoint: Endpoint,
        accept: Callable[..., None],
        refused: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._endpoint = endpoint
        self._accept = accept
        self._refused = refused
        # A peer on a Unix socket has no address: who may open the file is trusted.
        self._networks = [ipaddress.ip_network(text) for text in endpoint.get("proxy_protocol")]
        self._trusts_all = endpoint.kind == "unix"
        self._waiting: dict[int, Arrival] = {}  # by descriptor, the oldest first
        self._timer: asyncio.TimerHandle | None = None
        self._quiet_until: dict[str, float] = {}

    @property
    def count(self) -> int:
        """How many sockets wait."""
        return len(self._waiting)

    def add(self, sock: socket.socket, address: Any) -> None:
        """Take in a socket that was accepted. Mostly its header is there already."""
        arrival = Arrival(sock, address, self._loop.time() + HEADER_TIMEOUT)
        if not (self._trusts_all or is_within(address, self._networks)):
            self._refuse(arrival, "is not among those whose PROXY headers are taken")
            return
        if self._read(arrival):
            return
        if len(self._waiting) >= MAX_ARRIVING:  # silent ones must not lock out the others
            self._refuse(next(iter(self._waiting.values())), "had to give way: too many have sent no PROXY header")
        self._waiting[sock.fileno()] = arrival
        self._loop.add_reader(sock.fileno(), self._read, arrival)
        self._set_timer()

    def take_all(self) -> None:
        """Let those go on whose header is there, and the loop has not told yet."""
        for arrival in list(self._waiting.values()):
            self._read(arrival)

    def close(self) -> None:
        """Drop all of them: nobody has said a word yet."""
        for arrival in list(self._waiting.values()):
            self._refuse(arrival, "")

    def _read(self, arrival: Arrival) -> bool:
        """Whether it waits no longer: its header is complete, or it was closed."""
        sock, before = arrival.sock, arrival.taken
        peeked = b""
        try:
            peeked = sock.recv(MAX_HEADER - len(before), socket.MSG_PEEK)
            if not peeked:
                return self._refuse(arrival, "hung up before its PROXY header was complete")
            count, is_complete, ends = cut(before + peeked)
            arrival.taken += sock.recv(count - len(before))
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as exc:
            return self._refuse(arrival, "was lost before its PROXY header was complete: %s", sentence(exc))
        except ValueError as exc:
            came = (before + peeked)[:SHOWN]
            return self._refuse(arrival, "sent no PROXY header, but %r: %s", came, exc)
        if not is_complete or len(arrival.taken) < count:
            return False
        self._forget(arrival)
        source, destination = ends or (arrival.address, None)
        self._accept(sock, source, destination)
        return True

    def _refuse(self, arrival: Arrival, why: str, *values: Any) -> bool:
        """Close it. What is said of it in the log ends with `why`, which is a constant."""
        self._forget(arrival)
        arrival.sock.close()
        now = self._loop.time()
        if why and now >= self._quiet_until.get(why, 0.0):  # a flood must not fill the log
            self._quiet_until[why] = now + QUIET
            peer = shown(from_name(arrival.address)) if arrival.address else "a client"
            logger.warning("%s: %s " + why + "; it was closed", self._endpoint, peer, *values)
        self._refused()
        return True

    def _forget(self, arrival: Arrival) -> None:
        fd = arrival.sock.fileno()
        if self._waiting.pop(fd, None) is None:
            return
        self._loop.remove_reader(fd)
        if not self._waiting and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # -- the deadline: all wait equally long, so one timer for the oldest is enough

    def _set_timer(self) -> None:
        if self._timer is None and self._waiting:
            self._timer = self._loop.call_at(next(iter(self._waiting.values())).due, self._on_deadline)

    def _on_deadline(self) -> None:
        self._timer = None
        now = self._loop.time()
        for arrival in list(self._waiting.values()):
            if arrival.due > now:
                break
            self._refuse(arrival, f"has sent no whole PROXY header within {HEADER_TIMEOUT:g} s")
        self._set_timer()


def is_within(address: Any, networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> bool:
    """Whether a peer's address is in one of the networks; one mapped from IPv4 counts as both."""
    if not isinstance(address, tuple):
        return False
    peer = ipaddress.ip_address(address[0])
    mapped = peer.ipv4_mapped if isinstance(peer, ipaddress.IPv6Address) else None
    return any(peer in network or (mapped is not None and mapped in network) for network in networks)

"""A relay of datagrams: each sender has a socket of its own towards the target, as behind a NAT (RFC 4787)."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, ClassVar

import trews

logger = logging.getLogger("trews")

IDLE = 120.0  # seconds without a datagram either way, then a sender is forgotten (RFC 4787, REQ-5)
SENDERS = 1000  # at once: each costs a descriptor. The one that came first gives way to a new one
QUIET = 60.0  # seconds between two lines in the log about a target that cannot be had
WAITING = 64  # datagrams of one sender while its socket is made


class DatagramRelay(trews.Datagram):
    """What comes goes to `target`, and what comes back goes to whom it is for.

    Attributes:
        target: where to, of kind `udp`; to be set by a subclass.
    """

    target: ClassVar[trews.Endpoint]

    def on_open(self) -> None:
        self.senders: dict[Any, Sender] = {}
        self.quiet_until = 0.0

    def complain(self, why: str) -> None:
        """Log what keeps datagrams from the target: once a minute, as senders can be forged by the thousand."""
        now = asyncio.get_running_loop().time()
        if now >= self.quiet_until:
            self.quiet_until = now + QUIET
            logger.warning("%s: %s", self.target.shown, why)

    def on_read(self, data: bytes, address: Any) -> None:
        sender = self.senders.get(address)
        if sender is None:
            while len(self.senders) >= SENDERS:
                self.senders.pop(next(iter(self.senders))).task.cancel()
            sender = self.senders[address] = Sender(self, address)
        sender.send(data)


class Sender:
    """One of those that send to us."""

    def __init__(self, relay: DatagramRelay, address: Any) -> None:
        self._relay = relay
        self._address = address
        self._waiting: list[bytes] = []
        self._peer: trews.Datagram | None = None
        self.task: asyncio.Task[Any] = relay.spawn(self._live())

    def send(self, data: bytes) -> None:
        """Pass it on; what there is no room for is lost, as anywhere else on its way."""
        if self._peer is not None:
            _write(self._peer, data, None)
        elif len(self._waiting) < WAITING:
            self._waiting.append(data)

    async def _live(self) -> None:
        try:
            async with trews.connect(self._relay.target, trews.Datagram) as peer:
                self._peer = peer
                for data in self._waiting:
                    _write(peer, data, None)
                self._waiting.clear()
                await self._answers(peer)
        except trews.Error as exc:
            self._relay.complain(str(exc).partition("\n")[0])
        finally:
            if self._relay.senders.get(self._address) is self:
                del self._relay.senders[self._address]

    async def _answers(self, peer: trews.Datagram) -> None:
        moved = -1
        while True:
            try:
                data, _ = await peer.read(timeout=IDLE)
            except trews.TimedOut:
                before, moved = moved, peer.bytes_in + peer.bytes_out
                if moved == before:
                    return
            except OSError as exc:  # nobody is there; somebody may be later
                logger.info("%s: %s", self._relay.target.shown, exc)
            else:
                _write(self._relay, data, self._address)


def _write(datagram: trews.Datagram, data: bytes, address: Any) -> None:
    try:
        datagram.write(data, address)
    except (OSError, trews.Error) as exc:
        logger.info("%r: a datagram is lost: %s", datagram, exc)

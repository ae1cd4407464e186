"""What has come of a TLS connection, sealed: opened bit by bit, so much in a turn, and with an eye on what is in it.

OpenSSL works off all that it is given in one call, until there is data: of 256 KiB of key updates that is half a
second. So it is given slices, and a peer that sends records without data, over and over, is found out.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from trews.errors import TLSError

if TYPE_CHECKING:
    from collections.abc import Callable

RECORD = 16 * 1024  # bytes in one record at most (RFC 8446, 5.1)
RECORDS_A_TURN = 256  # then the others get theirs
OVERHEAD = 96  # bytes around the data of a record, at most (TLS 1.2 with CBC)
BARREN_MAX = 4 * RECORD  # bytes without data. A record, tickets, a renegotiation with its certificates are less.


class Records:
    """The receiving half of a session.

    Args:
        incoming: the memory that `session` reads from.
        broken: makes the error that stands for one of OpenSSL's.

    Attributes:
        rest: what comes after all that was taken: an error, or `b""` for the peer's goodbye; None: more may come.
        has_more: `take` may give something without anything being fed.
    """

    def __init__(
        self, session: ssl.SSLObject, incoming: ssl.MemoryBIO, broken: Callable[[ssl.SSLError], TLSError]
    ) -> None:
        self._session = session
        self._incoming = incoming
        self._broken = broken
        self._sealed: bytes | memoryview = b""  # not given to OpenSSL yet
        self._barren = 0  # bytes given to it, less the records that came of them
        self._is_cut = False
        self.rest: TLSError | bytes | None = None
        self.has_more = False

    def feed(self, data: bytes) -> None:
        """This has come."""
        self._sealed = b"".join((self._sealed, data)) if self._sealed else data
        self.has_more = True

    def cut(self) -> None:
        """Nothing more will come. (OpenSSL is not told: to some contexts that would be a goodbye.)"""
        self._is_cut = True

    def load(self) -> int:
        """Give all to OpenSSL, for a call that waits for input; returns how much it has not worked off."""
        self._incoming.write(self._sealed)
        self._sealed = b""
        return self._incoming.pending

    def take(self) -> list[bytes]:
        """The data of what has come, so much as a turn allows."""
        session, incoming = self._session, self._incoming
        pieces: list[bytes] = []
        self.has_more = False
        try:
            self._give()
            while True:
                try:
                    piece = session.read(RECORD)
                except ssl.SSLWantReadError:
                    if not self._sealed:
                        break
                    self._give()
                    continue
                if not piece:
                    self.rest = b""
                    break
                pieces.append(piece)
                self._barren = max(0, self._barren - len(piece) - OVERHEAD)
                if not incoming.pending and not session.pending():
                    if not self._sealed:
                        break
                    self._give()
                if len(pieces) == RECORDS_A_TURN:
                    self.has_more = True
                    break
        except ssl.SSLZeroReturnError:  # the end, after we have said ours
            self.rest = b""
        except ssl.SSLError as exc:
            self.rest = self._broken(exc)
        except TLSError as exc:
            self.rest = exc
        if self._is_cut and self.rest is None and not self.has_more:
            self.rest = TLSError("the peer, or somebody between, cut the stream short: it ended without TLS' goodbye")
        return pieces

    def _give(self) -> None:
        piece = memoryview(self._sealed)[:RECORD]
        self._sealed = memoryview(self._sealed)[RECORD:] if len(self._sealed) > RECORD else b""
        self._barren += len(piece)
        if self._barren > BARREN_MAX:
            raise TLSError("the peer sends much on the level of TLS, and no data: this looks like an attack")
        self._incoming.write(piece)

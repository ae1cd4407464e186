"""What goes wrong in HTTP: by the peer (`BadMessage`), by this program (`BadAnswer`), or as
the answer that a handler wants (`Error`).

HTTPError
├── BadMessage    the peer's message cannot be accepted; has the status that says so
├── BadAnswer     also ValueError: what this program wants to send is no message
└── Error         raised by a handler: the answer is this status
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import trews.errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


# RFC 9110, 15; what Python says differs from version to version in the last four.
_REASONS = {
    **{status.value: status.phrase for status in HTTPStatus},
    413: "Content Too Large",
    414: "URI Too Long",
    416: "Range Not Satisfiable",
    422: "Unprocessable Content",
}


class HTTPError(trews.errors.Error):
    """The root of the exceptions of `trews.http`."""


class BadMessage(HTTPError):
    """A message of the peer that cannot be accepted.

    Attributes:
        status: the status that tells a client of it: 400, 408, 413, 414, 431, 501 or 505; 502 if the peer is a server.
    """

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class Error(HTTPError):
    """Raised anywhere in a handler: the answer is this status.

    Args:
        status: 400 to 599 (anything from 200 on is accepted).
        text: the body, for the client to see; the status's own words by default.
        headers: fields of the answer.
    """

    def __init__(
        self, status: int, text: str | None = None, headers: Mapping[str, str] | Iterable[tuple[str, str]] = ()
    ) -> None:
        if not (issubclass(type(status), int) and 200 <= status <= 599):
            raise ValueError(f"http.Error takes a status from 200 to 599, not {status!r}")
        super().__init__(status, text)
        self.status: int = int(status)
        self.text = text
        self.headers: Any = headers

    def __str__(self) -> str:
        return f"{self.status} {self.text or reason(self.status)}"


class BadAnswer(HTTPError, ValueError):
    """What this program wants to send is no HTTP message; nothing of it was sent."""


def reason(status: int) -> str:
    """The words that go with a status (RFC 9110, 15); `"Unknown"` for one without."""
    return _REASONS.get(status, "Unknown")

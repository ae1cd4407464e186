"""Addresses of sockets, as people see them: `(host, port)`, or the path of a Unix socket."""

from __future__ import annotations

import socket
from typing import Any


def from_name(name: Any) -> Any:
    """What `getsockname` says, as `(host, port)` or a path; addresses mapped from IPv4 are shown as such."""
    if isinstance(name, tuple) and len(name) >= 2:
        host, port = name[:2]
        return (host.removeprefix("::ffff:") if "." in host else host, port)
    if isinstance(name, bytes):  # an abstract Unix socket
        return "@" + name.removeprefix(b"\0").decode("utf-8", "backslashreplace")
    return name


def shown(address: Any) -> str:
    """An address as text: `127.0.0.1:4040`, `[::1]:4040`, `/run/x.sock`, `?` if it has none."""
    if isinstance(address, tuple):
        host, port = address[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    # A Unix client chooses its own name, and a log must stay one line an entry.
    return "".join(c if c.isprintable() else _escaped(c) for c in str(address)) if address else "?"


def unknown(host: str, port: int | str, exc: Exception) -> str:
    """Why a host or the name of a service could not be looked up."""
    reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
    if isinstance(exc, socket.gaierror) and exc.errno == socket.EAI_SERVICE:
        return f"the service {port!r} is not known ({reason}); give the number of its port"
    return f"the host {host!r} is not known ({reason})"


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")

"""Looking at connections while they run: traffic as a hexdump, calls from the wrong thread.

Both put wrappers on the one connection that they look at; the others pay nothing.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING, Any

from trews.addresses import shown
from trews.transport.core import as_bytes

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from trews.lifecycle import Lifecycle

is_tracing = os.environ.get("TREWS_TRACE", "") not in ("", "0")

_OWN_THREAD = (
    *("write", "send", "close", "abort", "close_write", "pause_reading", "resume_reading", "spawn"),
    *("read", "read_all", "drain", "wait_closed", "join", "leave"),
)


def start_tracing() -> None:
    """Print the traffic of every connection made from now on, as TREWS_TRACE=1 does."""
    global is_tracing
    is_tracing = True


def check_threads(connection: Any) -> None:
    """Have the methods of a connection or Datagram refuse calls from other threads (debug mode)."""
    own = threading.get_ident()
    for name in (name for name in _OWN_THREAD if hasattr(connection, name)):
        setattr(connection, name, _checked(name, getattr(connection, name), own))


def _checked(name: str, method: Callable[..., Any], own: int) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        if threading.get_ident() != own:
            raise RuntimeError(
                f"{name}() was called from another thread; use trews.call_from_thread(connection.{name}, ...)"
            )
        return method(*args, **kwargs)

    return call


def trace(connection: Lifecycle, transport: asyncio.BaseTransport) -> None:
    """Print to stderr what this connection sends and receives."""
    write, received, eof, down = (
        connection.write,
        connection.data_received,
        connection.eof_received,
        connection._go_down,
    )

    def traced_write(data: Any) -> None:
        raw = as_bytes(data)
        show(f"{connection!r} sends {len(raw)} bytes", raw)
        write(raw)

    def traced_received(data: bytes) -> None:
        show(f"{connection!r} receives {len(data)} bytes", data)
        received(data)

    def traced_eof() -> bool:
        show(f"{connection!r} receives the end", b"")
        return eof()

    def traced_down() -> None:
        down()
        show(f"{connection!r} has ended: {connection._reason}", b"")

    connection.write = traced_write
    connection.data_received = traced_received  # type: ignore[method-assign]
    connection.eof_received = traced_eof  # type: ignore[method-assign]
    connection._go_down = traced_down  # type: ignore[method-assign]
    # Transports look the methods up here. uvloop's tells its protocol's connection_made by itself.
    transport.set_protocol(connection)
    show(f"{connection!r} is made", b"")


def trace_datagrams(datagram: Any) -> None:
    """Print to stderr what a Datagram sends and receives."""
    write, took, down = datagram.write, datagram._took, datagram._go_down

    def traced_write(data: Any, address: Any = None) -> None:
        raw = as_bytes(data)
        to = "" if address is None else f" to {shown(address)}"
        show(f"{datagram!r} sends {len(raw)} bytes{to}", raw)
        write(raw, address)

    def traced_took(data: bytes, address: Any) -> None:
        show(f"{datagram!r} receives {len(data)} bytes from {shown(address)}", data)
        took(data, address)

    def traced_down() -> None:
        down()
        show(f"{datagram!r} has ended: {datagram.reason}", b"")

    datagram.write, datagram._took, datagram._go_down = traced_write, traced_took, traced_down
    show(f"{datagram!r} is open", b"")


def show(headline: str, data: bytes) -> None:
    """Print to stderr what has happened, and the bytes that it is about."""
    print(headline, *hexdump(data), sep="\n", file=sys.stderr, flush=True)


def hexdump(data: bytes) -> list[str]:
    """Lines of offset, sixteen bytes in hexadecimal, and the same as characters where they are printable."""
    lines = []
    for offset in range(0, len(data), 16):
        row = data[offset : offset + 16]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        lines.append(f"  {offset:08x}  {row.hex(' '):<47}  {text}")
    return lines

"""Addresses of sockets, as people see them: `(host, port)`, or the path of a Unix socket."""

from __future__ import annotations

import socket
from typing import Any

MOST_LISTED = 10  # interfaces; a machine of containers has hundreds


def from_name(name: Any) -> Any:
    """What `getsockname` says, as `(host, port)` or a path.

    Addresses mapped from IPv4 are shown as such, and those that mean nothing without an interface have it:
    `fe80::1%eth0`.
    """
    if isinstance(name, tuple) and len(name) >= 2:
        if len(name) == 2 and ":" not in name[0]:
            return name
        host, port = name[:2]
        if len(name) == 4 and name[3] and "%" not in host:
            host = f"{host}%{_interface(name[3])}"
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


def literal(host: str, port: int) -> Any | None:
    """What the socket calls take for an address that is written out; None for a name, which must be looked up.

    Raises:
        OSError: the interface after the `%` does not exist.
    """
    import ipaddress  # here and below, because it costs 1.5 ms to import

    plain, percent, scope = host.partition("%")
    try:
        if ipaddress.ip_address(plain).version == 4:
            return None if percent else (plain, port)
    except ValueError:
        return None
    return plain, port, 0, scope_id(scope) if percent else 0


def scope_id(interface: str) -> int:
    """The number of an interface, from its name or from the number itself.

    Raises:
        OSError: there is none of that name; says which there are.
    """
    if interface.isascii() and interface.isdecimal() and len(interface) <= 9:
        return int(interface)
    try:
        return socket.if_nametoindex(interface)
    except (OSError, ValueError):
        known = ", ".join(name for _, name in socket.if_nameindex()[:MOST_LISTED])
        raise OSError(f"there is no network interface {interface!r}; there are: {known}") from None


def is_address(text: Any) -> bool:
    """Whether it is an address as text; no name, and no number or bytes, of which `ipaddress` would make one."""
    if not isinstance(text, str):
        return False
    import ipaddress

    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def is_group(host: str) -> bool:
    """Whether a host is the address of a multicast group."""
    import ipaddress

    try:
        return ipaddress.ip_address(host).is_multicast
    except ValueError:
        return False


def unknown(host: str, port: int | str, exc: Exception) -> str:
    """Why a host or the name of a service could not be looked up."""
    reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
    if isinstance(exc, socket.gaierror) and exc.errno == socket.EAI_SERVICE:
        return f"the service {port!r} is not known ({reason}); give the number of its port"
    return f"the host {host!r} is not known ({reason})"


def _interface(number: int) -> str:
    try:
        return socket.if_indextoname(number)
    except OSError:  # it is gone
        return str(number)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")

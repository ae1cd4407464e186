"""Binding: the addresses that a server's endpoint means, and sockets bound to them, for streams and for datagrams.

Names are looked up for the kind of socket, as services may have other ports. Not here: accepting (`listener`), and
what only datagrams and groups need (`bound`).
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import stat
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from trews.addresses import literal, unknown
from trews.errors import ListenError, sentence

if TYPE_CHECKING:
    from collections.abc import Callable

    from trews.endpoint import Endpoint

logger = logging.getLogger("trews")

BACKLOG = 4096  # the kernel takes less if net.core.somaxconn is less
PAIR_ATTEMPTS = 20  # for one free port on IPv4 and IPv6


# -- addresses


def addresses_of(endpoint: Endpoint, kind: int = socket.SOCK_STREAM) -> list[tuple[int, Any]]:
    """The families and addresses to bind; all interfaces are IPv4 and, if the machine has it, IPv6.

    Args:
        kind: `SOCK_STREAM` or `SOCK_DGRAM`.

    Raises:
        ListenError: there are none, in one sentence.
    """
    found = _resolve(endpoint, kind)
    if not endpoint.get("ipv6only"):
        return found
    left = [entry for entry in found if entry[0] == socket.AF_INET6]
    if not left:
        what = "this machine has no IPv6" if not endpoint.host else f"{endpoint.host} has no address of IPv6"
        raise ListenError(f"cannot listen on {endpoint.shown}: ipv6only=yes, and {what}")
    return left


def _resolve(endpoint: Endpoint, kind: int) -> list[tuple[int, Any]]:
    port = endpoint.port if endpoint.port is not None else 0
    try:
        address = literal(endpoint.host, port) if isinstance(port, int) else None
        if address is not None:
            return [(socket.AF_INET if len(address) == 2 else socket.AF_INET6, address)]
        if endpoint.host:
            found = socket.getaddrinfo(endpoint.host, port, type=kind, flags=socket.AI_PASSIVE)
            return _usable([(family, address) for family, _, _, _, address in found])
        number = socket.getaddrinfo(None, port, type=kind)[0][4][1]
    except (socket.gaierror, UnicodeError) as exc:
        raise ListenError(f"cannot listen on {endpoint.shown}: {unknown(endpoint.host, port, exc)}") from None
    except OSError as exc:  # an interface that is not there, or what looking up needs
        raise ListenError(f"cannot listen on {endpoint.shown}: {sentence(exc)}") from None
    addresses: list[tuple[int, Any]] = [(socket.AF_INET, ("0.0.0.0", number))]
    if has_ipv6():
        addresses.append((socket.AF_INET6, ("::", number, 0, 0)))
    return addresses


def _usable(addresses: list[tuple[int, Any]]) -> list[tuple[int, Any]]:
    """Without repetitions, and without IPv6 where the hosts file knows it and the machine does not."""
    unique = list(dict.fromkeys(addresses))
    others = [entry for entry in unique if entry[0] != socket.AF_INET6]
    return others if others and len(others) < len(unique) and not has_ipv6() else unique


def has_ipv6() -> bool:
    """Whether this machine can bind addresses of IPv6."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as sock:
            sock.bind(("::1", 0))
        return True
    except OSError:
        return False


# -- sockets of a network


def bind_all(
    endpoint: Endpoint, addresses: list[tuple[int, Any]], bind_one: Callable[[int, Any], socket.socket]
) -> list[socket.socket]:
    """A socket for each of these addresses. Of port 0 comes one port that is free on all of them.

    Args:
        bind_one: makes one, of a family and an address.

    Raises:
        ListenError: one cannot be bound; none is left bound then.
    """
    for attempt in range(PAIR_ATTEMPTS):
        port = addresses[0][1][1]
        sockets: list[socket.socket] = []
        with ExitStack() as opened:
            try:
                for family, address in addresses:
                    sock = opened.enter_context(bind_one(family, (address[0], port, *address[2:])))
                    port = sock.getsockname()[1]
                    sockets.append(sock)
            except OSError as exc:
                # A port that was free on IPv4 need not be on IPv6: take another.
                is_unlucky = exc.errno == errno.EADDRINUSE and addresses[0][1][1] == 0 and sockets
                if is_unlucky and attempt + 1 < PAIR_ATTEMPTS:
                    continue
                raise cannot_listen(endpoint, exc) from None
            opened.pop_all()
        return sockets
    raise ListenError(f"cannot listen on {endpoint.shown}: no port is free on both IPv4 and IPv6")


def share_port(sock: socket.socket) -> None:
    """The option `reuse_port`, before `sock` is bound.

    Raises:
        OSError: the system does not know it.
    """
    if not hasattr(socket, "SO_REUSEPORT"):
        raise OSError("reuse_port= is not known to this system")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)


def cannot_listen(endpoint: Endpoint, exc: OSError) -> ListenError:
    """What the system said against it, in one sentence, with its number."""
    what = sentence(exc)
    if isinstance(exc, ListenError):
        what = str(exc)  # in words already
    elif exc.errno == errno.EADDRINUSE and endpoint.kind == "unix":
        what = "a server is listening there already"  # on an abstract name: it has no file
    elif exc.errno == errno.EADDRINUSE:
        what = "the address is in use; choose another port, or stop what listens there"
    elif exc.errno in (errno.EACCES, errno.EPERM) and endpoint.kind != "unix":
        what = "permission denied; ports below 1024 need a privilege, choose a higher one"
    elif exc.errno == errno.ENOENT:
        what = f"there is no directory {os.path.dirname(endpoint.path)!r}"
    elif "AF_UNIX path too long" in str(exc):
        what = "the path is too long for a socket (about 100 characters)"
    error = ListenError(f"cannot listen on {endpoint.shown}: {what}")
    error.errno = exc.errno
    return error


# -- Unix sockets


def bind_unix(endpoint: Endpoint, kind: int = socket.SOCK_STREAM) -> socket.socket:
    """A Unix socket; one for streams listens.

    The file of a server that is dead is replaced.

    Raises:
        ListenError: it cannot be bound, in one sentence.
    """
    if not hasattr(socket, "AF_UNIX"):
        raise ListenError(f"cannot listen on {endpoint.shown}: Python has no Unix sockets on this system")
    path = endpoint.path
    with ExitStack() as opened:
        try:
            sock = opened.enter_context(socket.socket(socket.AF_UNIX, kind))
            sock.setblocking(False)
            if path.startswith("@"):
                sock.bind("\0" + path[1:])
            else:
                _remove_stale(path, kind)
                sock.bind(path)
                mode = endpoint.get("mode")
                if mode is not None:
                    os.chmod(path, mode)  # before listen(): nobody can have connected yet
            if kind == socket.SOCK_STREAM:
                sock.listen(endpoint.get("backlog") or BACKLOG)
        except OSError as exc:
            raise cannot_listen(endpoint, exc) from None
        opened.pop_all()
        return sock


def _remove_stale(path: str, kind: int) -> None:
    """Remove the socket file of a server that is dead; refuse to take anything else's place."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return
    if not stat.S_ISSOCK(mode):
        raise ListenError("there is a file of that name that is no socket")
    with socket.socket(socket.AF_UNIX, kind) as probe:
        probe.settimeout(1)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except OSError as exc:
            if exc.errno != errno.EPROTOTYPE:  # a server of the other kind, of streams or of datagrams
                raise
    raise ListenError("a server is listening there already")


class SocketFile:
    """The file of a Unix socket that was bound. An abstract name has none."""

    def __init__(self, path: str) -> None:
        self._path = os.path.abspath(path)  # the process may change its directory
        self._inode = None if path.startswith("@") else _inode(path)

    def remove(self) -> None:
        """Remove it, if it is still this one's."""
        if self._inode is not None and self._inode == _inode(self._path):
            try:
                os.unlink(self._path)
            except OSError as exc:  # privileges were dropped since; the next server replaces it
                logger.warning("cannot remove the socket file %s: %s", self._path, sentence(exc))
        self._inode = None


def _inode(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino

"""`systemd:NAME`: listening sockets that systemd, or what does the same, has opened and passed to this process.

They are the descriptors from 3 on: `LISTEN_FDS` of them, for the process `LISTEN_PID`, called `LISTEN_FDNAMES`.
They are taken, and the variables removed, when the first is asked for: no child is to think that they are its own.
They stay open as long as the process lives. Listeners have copies, so what was closed can be listened on again.

Source: sd_listen_fds(3), systemd.socket(5).
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn
from weakref import WeakSet

from trews.addresses import from_name
from trews.endpoint import Endpoint
from trews.errors import ListenError, sentence
from trews.transport.listener import Listener, set_stream_options

if TYPE_CHECKING:
    from collections.abc import Iterable

FIRST = 3  # SD_LISTEN_FDS_START
UNNAMED = "unknown"  # what systemd calls a socket if it gives no names

_VARIABLES = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")
_HELP = "it must be started by its .socket unit"


@dataclass
class Passed:
    """One descriptor that was passed, and the sockets that listen on copies of it."""

    fd: int
    name: str
    copies: WeakSet[socket.socket] = field(default_factory=WeakSet)

    @property
    def is_used(self) -> bool:
        return any(copy.fileno() >= 0 for copy in self.copies)


_all: list[Passed] = []  # in the order in which they were passed


def listeners_of(endpoint: Endpoint) -> list[Listener]:
    """What listens on a `systemd:NAME` endpoint: one for each socket of that name.

    A number is that socket, from 0 on, if none has it for its name.

    Raises:
        ListenError: there is no such socket, it is in use already, or it cannot be listened on.
    """

    def refuse(why: str) -> NoReturn:
        raise ListenError(f"cannot listen on {endpoint.shown}: {why}") from None

    try:
        _take()
    except ValueError as exc:
        refuse(str(exc))
    chosen = _chosen(endpoint.path)
    if not chosen:
        refuse(f"no socket of that name was passed; there are {_listed(_all)}")
    for passed in chosen:
        if why := _why_not(passed):
            refuse(why)
    listeners: list[Listener] = []
    try:
        for passed in chosen:
            listeners.append(_listener(passed, endpoint))
    except OSError as exc:
        for listener in listeners:
            listener.close()
        refuse(sentence(exc))
    return listeners


def _take() -> None:
    """Read the environment, once.

    Raises:
        ValueError: nothing was passed to this process, or not as it should be.
    """
    if _all:
        return
    pid, count, names = (os.environ.get(variable) for variable in _VARIABLES)
    if not pid or not count:
        raise ValueError(f"no sockets were passed to this process; {_HELP}")
    if pid != str(os.getpid()):
        raise ValueError(
            f"the sockets were passed to process {pid}, and this is {os.getpid()}: what starts it must `exec` it"
        )
    if not (count.isascii() and count.isdigit() and count.strip("0")) or len(count) > 9:
        raise ValueError(f"LISTEN_FDS must be a number above 0, not {count!r}")
    if names and names.count(":") + 1 != int(count):
        raise ValueError(f"LISTEN_FDNAMES has {names.count(':') + 1} names for {count} sockets: {names!r}")
    for fd in range(FIRST, FIRST + int(count)):
        try:
            os.set_inheritable(fd, False)
        except OSError as exc:
            raise ValueError(f"LISTEN_FDS is {count}, but descriptor {fd}: {sentence(exc)}") from None
    called = names.split(":") if names else [UNNAMED] * int(count)  # now, as so many are really there
    _all.extend(Passed(FIRST + index, name) for index, name in enumerate(called))
    for variable in _VARIABLES:
        os.environ.pop(variable, None)


def _chosen(name: str) -> list[Passed]:
    named = [passed for passed in _all if passed.name == name]
    if not named and name.isascii() and name.isdigit():
        return _all[int(name[:9]) :][:1]
    return named


def _listed(all_passed: Iterable[Passed]) -> str:
    return ", ".join(f"{passed.name!r} (number {passed.fd - FIRST})" for passed in all_passed)


def _why_not(passed: Passed) -> str:
    """What speaks against listening on it, `""` for nothing."""
    what = f"socket {passed.name!r} (number {passed.fd - FIRST})"
    if passed.is_used:
        return f"{what} is listened on by this process already"
    try:
        sock = socket.socket(fileno=passed.fd)
    except OSError as exc:
        return f"{what} is no socket: {sentence(exc)}"
    try:
        if sock.family not in (socket.AF_INET, socket.AF_INET6, getattr(socket, "AF_UNIX", None)):
            return f"{what} is neither of TCP nor a Unix socket"
        if sock.type != socket.SOCK_STREAM:
            return f"{what} is not for streams, as only those are taken; its unit needs ListenStream="
        if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return f"{what} is a connection and does not listen; its unit needs Accept=no, or use fd:{passed.fd}"
        return ""
    finally:
        sock.detach()


def _listener(passed: Passed, endpoint: Endpoint) -> Listener:
    sock = socket.socket(fileno=os.dup(passed.fd))
    passed.copies.add(sock)
    sock.setblocking(False)
    name = sock.getsockname()
    if isinstance(name, tuple):
        set_stream_options(sock, endpoint)
        bound = Endpoint.parse(name)
    else:
        bound = Endpoint("unix", path=from_name(name))
    return Listener(sock, bound.__replace__(options=endpoint.options), owns_file=False)

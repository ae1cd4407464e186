"""Names to addresses and back, without holding up the loop.

The operating system is asked, in threads of their own (see `lookups`): the hosts file, DNS, whatever it is told to use.
Not here: a DNS client. Addresses are text, `127.0.0.1`, `::1`, `fe80::1%eth0`; ports have nothing to do with it.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import re
import socket
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from trews.addresses import from_name, is_address, literal, unknown
from trews.endpoint import Endpoint
from trews.errors import EndpointError, ResolveError, TimedOut, sentence
from trews.names import check_arguments, is_slip
from trews.transport.lookups import lookups

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping, Sequence
    from typing import TypeVar

    T = TypeVar("T")

logger = logging.getLogger("trews")

TIMEOUT = 30.0  # seconds
MAX_ADDRESSES = 32  # of one name that are used
MAX_CACHED = 1000  # names; the oldest makes room

_LOOPBACK = ("127.0.0.1", "::1")
_HOST_NAME = r"[A-Za-z0-9_.-]{1,253}"


class Resolver:
    """How `connect` and `Client` find the addresses of a name; pass one as `resolver=` to change it.

    Subclasses may override `look_up` to ask something else than the operating system.

    Args:
        overrides: names that are not looked up, with their address or addresses:
            `{"db.example": "127.0.0.1", "web.example": ["192.0.2.1", "2001:db8::1"]}`.
        cache_seconds: for how long an answer is used again, 0 for not at all (the default: the operating system
            may have a cache, and knows for how long an answer is good). Failures are not kept.

    Raises:
        TypeError: `overrides` is no mapping.
        ValueError: a name or an address that is none, a negative time.
    """

    # A subclass that forgets super().__init__() has neither.
    _overrides: Mapping[str, Sequence[str]] = MappingProxyType({})
    _cache_seconds = 0.0
    _cache: dict[str, tuple[float, list[str]]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name, value in vars(cls).items():
            if callable(value) and is_slip(name, "look_up"):
                raise TypeError(f"{cls.__name__}.{name} would never be called; did you mean look_up?")
        check_arguments(cls, {"look_up": "host"})

    def __init__(
        self, *, overrides: Mapping[str, str | Sequence[str]] | None = None, cache_seconds: float = 0.0
    ) -> None:
        if not cache_seconds >= 0:  # nor NaN
            raise ValueError(f"cache_seconds is a time in seconds, 0 for no cache, not {cache_seconds!r}")
        if overrides is not None and not hasattr(overrides, "items"):
            raise TypeError(
                f"overrides are addresses by name, such as {{'db.example': '127.0.0.1'}}, not {overrides!r}"
            )
        self._cache_seconds = cache_seconds
        self._cache = {}
        self._overrides = dict(_override(name, addresses) for name, addresses in (overrides or {}).items())

    async def resolve(self, host: str, timeout: float | None = TIMEOUT) -> list[str]:
        """The addresses of a host, in the order in which to try them; an address is its own.

        Args:
            timeout: in seconds.

        Raises:
            ResolveError: it has none, or cannot be looked up.
            TimedOut: there was no answer in time.
            EndpointError: it is not the name of a host, such as `127.1`.
        """
        name = _ascii(_checked(host))
        if is_address(name):
            return [name]
        overridden = self._overrides.get(_key(name))
        if overridden is not None:
            return list(overridden)
        known = self._known(name)
        if known is not None:
            return known
        try:
            asked = self.look_up(name)
            if not inspect.isawaitable(asked):
                raise TypeError(f"look_up is an async function, and this one returned {asked!r}")
            found = await _within(timeout, f"the host {host!r} was not looked up", asked)
            addresses = _listed(found)[:MAX_ADDRESSES]
        except OSError:
            raise
        except Exception as exc:  # of a look_up that is not ours: a bug, of which a client that tries again says little
            logger.error("%s.look_up(%r) failed", type(self).__name__, name, exc_info=exc)
            raise ResolveError(f"the host {host!r} could not be looked up: {exc!r}") from exc
        for address in addresses:
            if not is_address(address):
                raise ResolveError(f"the host {host!r} was looked up as {address!r}, which is not an address")
        if not addresses:
            raise ResolveError(f"the host {host!r} has no address")
        self._keep(name, addresses)
        return list(addresses)

    async def look_up(self, host: str) -> Sequence[str]:
        """Ask for the addresses of a name that is neither an address, overridden nor cached. May be overridden.

        Args:
            host: in ASCII (IDNA).

        Returns:
            Addresses as text, the best first.

        Raises:
            ResolveError: it has none. (Any other error but an OSError counts as one, and is logged as a bug.)
        """
        try:
            found = await _addresses(host, None)
        except (OSError, UnicodeError) as exc:
            if _key(host) == "localhost" or _key(host).endswith(".localhost"):
                return _LOOPBACK  # RFC 6761 §6.3: always, whatever the hosts file lacks
            raise _refusal(host, exc) from None
        return [from_name(entry[4])[0] for entry in found]

    async def canonical_name(self, host: str, timeout: float | None = TIMEOUT) -> str:
        """The name for which `host` is another one (CNAME), or itself; of an overridden name, itself.

        Raises:
            ResolveError, TimedOut, EndpointError: as `resolve`.
        """
        name = _ascii(_checked(host))
        if _key(name) in self._overrides:
            return name
        try:
            asked = _addresses(name, None, socket.AI_CANONNAME)
            found = await _within(timeout, f"the host {host!r} was not looked up", asked)
        except (OSError, UnicodeError) as exc:
            raise _refusal(host, exc) from None
        return _host_name(found[0][3] or name, host)  # only the first one has it

    async def name_of(self, address: str | tuple[Any, ...], timeout: float | None = TIMEOUT) -> str:
        """The name of an address (reverse look-up). It is what the owner of the address says, and proves nothing.

        Args:
            address: an address as text, or what a connection's `remote_address` has.

        Raises:
            ResolveError: there is none, or none that could be a host's.
            TimedOut: there was no answer in time.
            EndpointError: it is not an address.
        """
        text = address if isinstance(address, str) else address[0]
        target = literal(text, 0) if is_address(text) else None
        if target is None:
            raise EndpointError(f"expected an address, such as 192.0.2.1, not {address!r}")
        flags = socket.NI_NAMEREQD
        loop = asyncio.get_running_loop()
        asked: Awaitable[tuple[str, str]]
        if _is_stock(loop):
            asked = lookups.run(("name", target), partial(socket.getnameinfo, target, flags))
        else:
            asked = loop.getnameinfo(target, flags)
        try:
            found = await _within(timeout, f"the name of {text} was not looked up", asked)
        except (OSError, UnicodeError) as exc:
            if isinstance(exc, TimedOut):
                raise
            raise ResolveError(f"no name is known for {text} ({_reason(exc)})") from None
        return _host_name(found[0], text)

    def _known(self, name: str) -> list[str] | None:
        if not self._cache_seconds:
            return None
        until, addresses = self._cache.get(name.lower(), (0.0, []))
        if not addresses:
            return None
        if asyncio.get_running_loop().time() >= until:
            self._cache.pop(name.lower(), None)
            return None
        return list(addresses)

    def _keep(self, name: str, addresses: list[str]) -> None:
        if not self._cache_seconds:
            return
        key = name.lower()
        self._cache.pop(key, None)  # so that it is the youngest
        while len(self._cache) >= MAX_CACHED:
            self._cache.pop(next(iter(self._cache)), None)  # a loop in another thread may have been faster
        self._cache[key] = (asyncio.get_running_loop().time() + self._cache_seconds, addresses)


async def port_of(service: int | str, kind: int = socket.SOCK_STREAM) -> int:
    """The number of a port that may be given as the name of a service, such as `http`.

    Args:
        kind: `SOCK_STREAM` or `SOCK_DGRAM`: there are services of one only.

    Raises:
        ResolveError: there is no such service.
    """
    if isinstance(service, int):
        return service
    try:
        found = await _addresses(None, service, kind=kind)
    except (OSError, UnicodeError) as exc:
        raise ResolveError(
            f"the service {service!r} is not known ({_reason(exc)}); give the number of its port"
        ) from None
    port: int = found[0][4][1]
    return port


async def _addresses(
    host: str | None, service: str | None, flags: int = 0, kind: int = socket.SOCK_STREAM
) -> list[Any]:
    """What `getaddrinfo` says."""
    loop = asyncio.get_running_loop()
    if not _is_stock(loop):
        return await loop.getaddrinfo(host, service, type=kind, flags=flags)
    ask = partial(socket.getaddrinfo, host, service, type=kind, flags=flags)
    found: list[Any] = await lookups.run((host, service, flags, kind), ask)
    return found


def _is_stock(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether the loop would ask the operating system in a thread; one with names of its own is asked itself."""
    ask = getattr(loop.getaddrinfo, "__func__", None)
    return ask is asyncio.BaseEventLoop.getaddrinfo or type(loop).__module__.partition(".")[0] == "uvloop"


async def _within(timeout: float | None, what: str, asked: Awaitable[T]) -> T:
    try:
        async with asyncio.timeout(timeout) as bound:
            return await asked
    except TimeoutError:
        if not bound.expired():
            raise
        raise TimedOut(f"{what} within {timeout:g} s") from None


def _listed(addresses: str | Sequence[str]) -> list[str]:
    """Each of them once; a single one may stand alone."""
    return [addresses] if isinstance(addresses, str) else list(dict.fromkeys(addresses))


def _override(name: str, addresses: str | Sequence[str]) -> tuple[str, list[str]]:
    listed = _listed(addresses)
    if is_address(name):
        raise ValueError(f"the override of {name!r} is one of an address, and only names are looked up")
    if not listed:
        raise ValueError(f"the override of {name!r} has no address")
    for address in listed:
        if not is_address(address):
            raise ValueError(f"the override of {name!r} is not an address: {address!r}")
    return _key(_ascii(_checked(name))), listed


def _checked(host: str) -> str:
    """A host, by the rules of endpoints: no `127.1`, no characters that only look like others."""
    return Endpoint.parse((host, 0)).host or "localhost"


def _ascii(name: str) -> str:
    """The name as DNS has it (IDNA 2003, as everything in the standard library)."""
    if name.isascii():
        return name
    try:
        return name.encode("idna").decode()
    except UnicodeError as exc:
        raise ResolveError(f"the host {name!r} cannot be written as a name of DNS (IDNA): {exc}") from None


def _key(name: str) -> str:
    """With and without the dot at the end, which says that no search list is to be tried, it is one name."""
    return name.lower().removesuffix(".")


def _refusal(host: str, exc: Exception) -> Exception:
    if isinstance(exc, TimedOut | ResolveError):
        return exc
    if isinstance(exc, socket.gaierror | UnicodeError):
        return ResolveError(unknown(host, 0, exc))
    return ResolveError(f"the host {host!r} could not be looked up: {sentence(exc)}")


def _reason(exc: Exception) -> str:
    return exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)


def _host_name(name: str, asked: str) -> str:
    """What DNS said: whoever owns the zone may put line ends and worse into it, and a log is a log."""
    if not re.fullmatch(_HOST_NAME, name):
        raise ResolveError(f"the name that is known for {asked} is not one that a host can have")
    return name


DEFAULT = Resolver()

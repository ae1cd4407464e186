"""Who really asks, if a proxy asks for them: `Forwarded` and `X-Forwarded-*`, believed from known proxies only.

A field is a list to which each proxy on the way adds an element at its right end, and of which the client may have sent
any beginning. So it is read from the right, and only as far as a known proxy has written it:

    X-Forwarded-For: 6.6.6.6, 203.0.113.9, 10.0.0.2        from 10.0.0.1; 10.0.0.0/8 are proxies
                     |        |            └ written by 10.0.0.1, which is known: the request came from 10.0.0.2
                     |        └ written by 10.0.0.2, known, too: it came from 203.0.113.9, which is the client
                     └ written by the client: not looked at

What is left of the client's element is never looked at, so nothing that a client sends makes a proxy's word invalid.
What a proxy has written and cannot be read makes the whole field count for nothing.

Whether a proxy is known is asked of `remote_address`: after a PROXY header (`proxy_protocol=`) that is whom it names.

Source: RFC 7239, 4 to 7. X-Forwarded-* has no specification: it is read as the same list.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from trews.http.head import is_host

if TYPE_CHECKING:
    from collections.abc import Callable

    GetAll = Callable[[str], list[str]]

FIELDS = ("X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port", "Forwarded")
DEFAULT_FIELDS = ("X-Forwarded-For", "X-Forwarded-Proto")
MAX_HOPS = 32  # elements that are looked at: a client within a known network could send thousands of its own
_KNOWN = 1024  # addresses of which it is remembered what they are, and whether they are known proxies

_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}  # some proxies name a WebSocket's
_DEFAULT_PORTS = {"http": 80, "https": 443}
_IP4_NODE = re.compile(r"([0-9.]{7,15})(?::([0-9]{1,5}|_[0-9A-Za-z._-]{1,32}))?")
_IP6_NODE = re.compile(r"\[([0-9A-Fa-f:.]{2,45})\](?::([0-9]{1,5}|_[0-9A-Za-z._-]{1,32}))?")
_IP6_BARE = re.compile(r"([0-9A-Fa-f:.]{2,45})()")
_HIDDEN = re.compile(r"(?i:unknown|_[0-9A-Za-z._-]+)(?::(?:[0-9]{1,5}|_[0-9A-Za-z._-]{1,32}))?")
_PAIR = re.compile(
    r"[ \t]*([!#$%&'*+\-.^_`|~0-9A-Za-z]+)=(?:([!#$%&'*+\-.^_`|~0-9A-Za-z]+)"
    r'|"((?:[\t !#-\[\]-~\x80-\xff]|\\[\t !-~\x80-\xff])*)")[ \t]*(?:;|$)'
)
_ESCAPED = re.compile(r"\\(.)")
_REQUEST_ID = re.compile(r"[!-~]{1,128}")


class Origin(NamedTuple):
    """Where a request comes from.

    Attributes:
        client: `(host, port)`, the port 0 if it is not known; of a connection without a proxy its `remote_address`.
        scheme: `"https"` or `"http"`.
        host: the host that was asked for, perhaps with a port.
    """

    client: Any
    scheme: str
    host: str

    def environ(self) -> dict[str, str]:
        """The same as WSGI has it (PEP 3333)."""
        found = {"wsgi.url_scheme": self.scheme}
        if isinstance(self.client, tuple):
            found["REMOTE_ADDR"], found["REMOTE_PORT"] = self.client[0], str(self.client[1])
        if self.host:
            found["HTTP_HOST"] = self.host
        return found


class _Malformed(ValueError):
    """A proxy has written what means nothing."""


class Proxies:
    """The proxies that are believed.

    Args:
        trusted: addresses, networks (`"10.0.0.0/8"`), and `"unix"` for whoever comes by a Unix socket; one of them, or
            several, or a text with commas between them.
        fields: which of `FIELDS` they set. Others pass through a proxy as the client has sent them, and count for
            nothing. `Forwarded` stands alone: it says everything by itself.

    Raises:
        TypeError, ValueError: there is something else among them; says what.
    """

    def __init__(self, trusted: Any, fields: Any = DEFAULT_FIELDS) -> None:
        networks = []
        self._unix = False
        for text in _texts("trusted_proxies", trusted):
            if text == "unix":
                self._unix = True
                continue
            if text == "*":
                raise ValueError(
                    "trusted_proxies='*' would believe every client; name the addresses or networks of the proxies,"
                    " such as '10.0.0.0/8', or 'unix'"
                )
            try:
                networks.append(ipaddress.ip_network(text))
            except ValueError as exc:
                raise ValueError(
                    f"trusted_proxies are addresses, networks such as '10.0.0.0/8', and 'unix'; not {text!r} ({exc})"
                ) from None
        self._networks = tuple(networks)
        self.fields = frozenset(_field(text) for text in _texts("proxy_fields", fields))
        if "Forwarded" in self.fields and len(self.fields) > 1:
            raise ValueError(
                "proxy_fields are 'Forwarded' alone, or X-Forwarded-*: what a proxy does not set is forged"
            )
        self._is_known = lru_cache(_KNOWN)(self._look_up)

    def trusts(self, address: Any) -> bool:
        """Whether who has this address, as `remote_address` has it, is a known proxy."""
        return self._is_known(address[0]) if isinstance(address, tuple) else self._unix

    def _look_up(self, host: str) -> bool:
        try:
            ip = ipaddress.ip_address(host.partition("%")[0])
        except ValueError:
            return False
        return any(ip in network for network in self._networks if network.version == ip.version)

    def origin(self, get_all: GetAll, seen: Origin) -> Origin:
        """Where a request comes from, as far as its fields are to be believed.

        Args:
            get_all: the values of a field of the request, by its name as it is in `FIELDS`.
            seen: where it comes from without them.
        """
        if not self.trusts(seen.client):
            return seen
        if "Forwarded" in self.fields:
            try:
                return self._from_forwarded(_elements(get_all, "Forwarded"), seen)
            except _Malformed:
                return seen
        client, hops = self._walk(self._elements(get_all, "X-Forwarded-For"), seen.client)
        scheme = self._said(get_all, "X-Forwarded-Proto", hops, _read_scheme) or seen.scheme
        host = self._said(get_all, "X-Forwarded-Host", hops, _read_host) or seen.host
        port = self._said(get_all, "X-Forwarded-Port", hops, _read_port)
        return Origin(client, scheme, _with_port(host, port, scheme) if port else host)

    def request_id(self, get_all: GetAll, peer: Any) -> str:
        """The X-Request-ID that a known proxy has given; `""` without: one of visible ASCII, of at most 128."""
        if self.trusts(peer):
            found = get_all("X-Request-ID")
            if len(found) == 1 and _REQUEST_ID.fullmatch(found[0]):
                return found[0]
        return ""

    # -- X-Forwarded-*

    def _elements(self, get_all: GetAll, name: str) -> list[str]:
        return _elements(get_all, name) if name in self.fields else []

    def _walk(self, elements: list[str], peer: Any) -> tuple[Any, int]:
        """The client, and how many known proxies have written about it: one at least."""
        client = peer
        hops = 0
        for text in reversed(elements[-MAX_HOPS:]):
            hops += 1
            if _HIDDEN.fullmatch(text):
                break  # who says so is the last that is known
            try:
                client = _read_node(text, True)
            except _Malformed:
                return peer, 1
            if not self.trusts(client):
                break
        return client, hops or 1

    def _said(self, get_all: GetAll, name: str, hops: int, read: Any) -> Any:
        """What the proxy next to the client said; None if it said nothing that can be read."""
        elements = self._elements(get_all, name)
        if not elements:
            return None
        try:
            return read(elements[-min(hops, len(elements))])
        except _Malformed:
            return None

    # -- Forwarded

    def _from_forwarded(self, elements: list[str], seen: Origin) -> Origin:
        client, scheme, host = seen
        for text in reversed(elements[-MAX_HOPS:]):
            said = _read_pairs(text)
            # What the proxy next to the client says is the truth; what the others say is about one another.
            if "proto" in said:
                scheme = _read_scheme(said["proto"])
            if "host" in said:
                host = _read_host(said["host"])
            node = said.get("for")
            if node is None or _HIDDEN.fullmatch(node):
                break
            client = _read_node(node, False)
            if not self.trusts(client):
                break
        return Origin(client, scheme, host)


def read_proxies(trusted: Any, fields: Any) -> Proxies | None:
    """The settings `trusted_proxies` and `proxy_fields`; None if nobody is trusted.

    Raises:
        TypeError, ValueError: as `Proxies`.
    """
    proxies = Proxies(() if trusted is None else trusted, fields)  # whose fields are checked in any case
    return proxies if proxies._unix or proxies._networks else None


def _texts(name: str, value: Any) -> list[str]:
    if isinstance(value, str):
        return [part.strip() for part in value.split(",")]
    parts = list(value) if isinstance(value, Iterable) else [value]
    if not all(isinstance(part, str) for part in parts):
        raise TypeError(f"{name} is a text, or several of them, not {value!r}")
    return parts


def _field(text: str) -> str:
    for name in FIELDS:
        if name.lower() == text.lower():
            return name
    raise ValueError(f"proxy_fields are some of {', '.join(FIELDS)}; not {text!r}")


def _elements(get_all: GetAll, name: str) -> list[str]:
    """The elements of a list, without empty ones (RFC 9110, 5.6.1.2). A comma ends one even within quotes: no value
    that is of use here has one, and what a client begins with a quote must not swallow what a proxy adds."""
    found = (part.strip(" \t") for part in ",".join(get_all(name)).split(","))
    return [part for part in found if part]


def _read_pairs(text: str) -> dict[str, str]:
    """`for=…;proto=…` (RFC 7239, 4)."""
    found: dict[str, str] = {}
    at = 0
    while at < len(text):
        match = _PAIR.match(text, at)
        if match is None:
            raise _Malformed
        name, token, quoted = match.groups()
        name = name.lower()
        if name in found:
            raise _Malformed
        found[name] = token if token is not None else _ESCAPED.sub(r"\1", quoted)
        at = match.end()
    return found


@lru_cache(_KNOWN)
def _read_node(text: str, bare: bool) -> tuple[str, int]:
    """An address, perhaps with a port (RFC 7239, 6). Outside Forwarded, one of IPv6 may stand without its brackets."""
    match = _IP4_NODE.fullmatch(text) or _IP6_NODE.fullmatch(text) or (_IP6_BARE.fullmatch(text) if bare else None)
    if match is None:
        raise _Malformed
    try:
        ip = ipaddress.ip_address(match.group(1))
    except ValueError:
        raise _Malformed from None
    mapped = ip.ipv4_mapped if ip.version == 6 else None
    port = match.group(2)
    number = int(port) if port and port.isdigit() else 0
    if number > 65535:
        raise _Malformed
    return str(mapped or ip), number


def _read_scheme(text: str) -> str:
    scheme = _SCHEMES.get(text.lower())
    if scheme is None:
        raise _Malformed
    return scheme


def _read_host(text: str) -> str:
    if not text or text[0] == ":" or not is_host(text.encode("latin-1")):
        raise _Malformed
    return text


def _read_port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 5 or not 0 < int(text) < 65536:
        raise _Malformed
    return int(text)


def _with_port(host: str, port: int, scheme: str) -> str:
    """A host with this port, unless it has one, or needs none."""
    if not host or ":" in host.rpartition("]")[2] or port == _DEFAULT_PORTS[scheme]:
        return host
    return f"{host}:{port}"

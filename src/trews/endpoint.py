"""Endpoints: where to listen or to connect to, as one frozen value.

Not here: resolving names, opening sockets, or knowing which kinds a transport can open.

    endpoint = port | path | host ":" port | kind ":" address     each with [ "?" option *( "&" option ) ]
             | "exec:" command                                    all the rest, verbatim
    port     = 0 to 65535 | service name
    path     = "/", "./" or "../" and the rest; "unix:" takes any
    host     = name | IPv4 | "[" IPv6 [ "%" scope ] "]" | "*"     "*" and nothing are all interfaces
    option   = name "=" value                                     see _OPTIONS
"""

from __future__ import annotations

import ipaddress
import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from .errors import EndpointError

Value = str | int | float | bool | tuple[str, ...]

_NETWORK = ("tcp", "tls", "udp")
_EXAMPLES = {
    "tcp": "tcp:localhost:8000",
    "tls": "tls:example.org:443",
    "udp": "udp:localhost:5353",
    "unix": "unix:/run/app.sock",
    "stdio": "stdio:",
    "fd": "fd:3",
    "systemd": "systemd:NAME",
    "exec": "exec:command arguments",
    "memory": "memory:name",
}
KINDS = tuple(_EXAMPLES)


@dataclass(frozen=True, slots=True, repr=False)
class Endpoint:
    """Where to listen or to connect to. Made by `Endpoint.parse`, which validates; the constructor does not.

    Args:
        kind: one of `KINDS`.
        host: of tcp, tls and udp: a name, an IPv4 or an IPv6 address (`fe80::1%eth0`, no brackets);
            `""` is all interfaces for a listener and localhost for a client.
        port: of tcp, tls and udp: a number, or the name of a service still to be resolved.
        path: of unix (`@name` is abstract); the name of memory and systemd; the command of exec.
        fd: of fd: the number of the file descriptor.
        options: `(name, value)` in alphabetical order, values typed; `cert` and `key` are tuples.
        wildcard: the host was written as `*`, so commands, whose default is localhost, take all interfaces.
    """

    kind: str
    host: str = ""
    port: int | str | None = None
    path: str = ""
    fd: int | None = None
    options: tuple[tuple[str, Value], ...] = ()
    wildcard: bool = field(default=False, compare=False)

    @classmethod
    def parse(cls, value: EndpointLike, /) -> Endpoint:
        """The endpoint that `value` describes.

        Args:
            value: an Endpoint (returned as it is), a port, `(host, port)`, `(host, port, flowinfo, scope_id)`
                as sockets report it (the flow label is dropped), an `os.PathLike` of a Unix socket,
                or text: `4040`, `host:port`, `/path`, `kind:address?option=value&…`, percent-encoded.

        Raises:
            EndpointError: `value` is none of these; shows where, without passwords.
        """
        if isinstance(value, Endpoint):
            return value
        if isinstance(value, str):
            return _parse_text(value)
        if isinstance(value, int):
            return Endpoint("tcp", port=_checked_port(value))
        if isinstance(value, tuple):
            return _parse_address(value)
        if isinstance(value, os.PathLike):
            return _parse_path(os.fsdecode(value))
        raise EndpointError(f"expected a port, (host, port), a path or text, not {type(value).__name__}")

    def get(self, name: str, default: Any = None) -> Any:
        """The value of the option `name`, `default` if it was not given."""
        return next((value for known, value in self.options if known == name), default)

    def with_port(self, port: int | str) -> Endpoint:
        """The same endpoint on another port.

        Raises:
            EndpointError: not a port, or an endpoint of a kind that has none.
        """
        if self.kind not in _NETWORK:
            raise EndpointError(f"{self.kind} endpoints have no port")
        return replace(self, port=_checked_port(port))

    def with_options(self, **options: object) -> Endpoint:
        """The same endpoint with these options added or replaced; `None` takes one away.

        Args:
            options: typed values, or text as it would stand in an endpoint before percent-encoding.

        Raises:
            EndpointError: no such option, not for this kind, or a bad value.
        """
        found = dict(self.options)
        for name, value in options.items():
            label = _Piece(name)
            option = _option_for(self.kind, label)
            found.pop(name, None)
            for text in _texts(label, option, value):
                _add(found, option, label, _Piece(text))
        return replace(self, options=tuple(sorted(found.items())))

    @property
    def shown(self) -> str:
        """The endpoint for logs and messages: as `str`, with the password of `via` masked."""
        return _format(self, lambda url: _PASSWORD.sub(r"\1***\3", url))

    def __str__(self) -> str:
        """The canonical text, passwords included: `Endpoint.parse(str(e)) == e`."""
        return _format(self, lambda url: url)

    def __repr__(self) -> str:
        return f"Endpoint({self.shown!r})"


EndpointLike = (
    Endpoint | int | str | tuple[str, int | str] | tuple[str, int | str, int, int] | os.PathLike[str] | os.PathLike[bytes]
)


# Pieces of text -----------------------------------------------------------------------------------

# Greedy on purpose: with an unencoded "@", "/" or "&" in a password, rather mask too much.
_PASSWORD = re.compile(
    r"((?::|%3A)(?:/|%2F){2}(?:(?!:|%3A|@|%40).)*(?::|%3A))(.+)(@|%40)", re.IGNORECASE | re.DOTALL
)
# Control characters, lone surrogates (a name that is not UTF-8) and the line separators of Unicode.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029]")
_ESCAPES = re.compile(r"(?:%[0-9A-Fa-f]{2})+")


class _Piece:
    """Part of an endpoint's text that knows where in `whole` each of its characters stood.

    `whole` is `""` for what was not given as text: errors then have no position.
    """

    __slots__ = ("at", "text", "whole")

    def __init__(self, text: str, whole: str = "", at: Sequence[int] | None = None) -> None:
        self.text = text
        self.whole = whole
        self.at = range(len(text) + 1) if at is None else at

    def __getitem__(self, part: slice) -> _Piece:
        start, stop, _ = part.indices(len(self.text))
        return _Piece(self.text[start:stop], self.whole, self.at[start : stop + 1])

    def cut(self, index: int) -> tuple[_Piece, _Piece]:
        """What stands before and after the character at `index`."""
        return self[:index], self[index + 1 :]

    def split(self, separator: str) -> list[_Piece]:
        index = self.text.find(separator)
        if index < 0:
            return [self]
        head, tail = self.cut(index)
        return [head, *tail.split(separator)]

    @property
    def quoted(self) -> str:
        """The piece as it was written, for messages."""
        return repr(_masked(self.whole)[self.at[0] : self.at[-1]] if self.whole else self.text)

    def fail(self, message: str, index: int = 0) -> EndpointError:
        """The error that points at the character at `index` of this piece."""
        return EndpointError(message, _masked(self.whole), self.at[index] if self.whole else None)


def _masked(text: str) -> str:
    """`text` with passwords starred out, character for character so that positions hold."""
    return _PASSWORD.sub(lambda match: match[1] + "*" * len(match[2]) + match[3], text)


def _decode(piece: _Piece) -> _Piece:
    """Undo the percent-encoding, strictly: "%4" and bytes that are not UTF-8 are errors."""
    chars: list[str] = []
    at: list[int] = []
    index = 0
    while index < len(piece.text):
        if escapes := _ESCAPES.match(piece.text, index):
            text, widths = _unescape(piece, escapes)
        elif piece.text[index] == "%":
            raise piece.fail("'%' must be followed by two hexadecimal digits ('%25' is a '%')", index)
        else:
            text, widths = piece.text[index], [1]
        for char, width in zip(text, widths, strict=True):
            chars.append(char)
            at.append(piece.at[index])
            index += width
    decoded = _Piece("".join(chars), piece.whole, [*at, piece.at[-1]])
    _refuse_controls(decoded)
    return decoded


def _unescape(piece: _Piece, escapes: re.Match[str]) -> tuple[str, list[int]]:
    """What a run of escapes stands for, and how many characters each one took."""
    try:
        text = bytes.fromhex(escapes[0].replace("%", "")).decode()
    except UnicodeDecodeError as exc:
        raise piece.fail("these percent-encoded bytes are not UTF-8", escapes.start() + 3 * exc.start) from None
    return text, [3 * len(char.encode()) for char in text]


def _encode(text: str) -> str:
    """Percent-encode what is not plain: everything but letters, digits and a few marks."""
    return re.sub(r"[^\w.~/:@,*+=\[\]-]", lambda match: "".join(f"%{b:02X}" for b in match[0].encode()), text)


def _refuse_controls(piece: _Piece) -> None:
    if match := _CONTROL.search(piece.text):
        raise piece.fail(f"the character U+{ord(match[0]):04X} cannot stand in an endpoint", match.start())


def _nearest(word: str, known: Iterable[str]) -> str:
    """A clause that names the nearest of `known`, or all of them."""
    from difflib import get_close_matches  # here because only errors need it, and it costs 1 ms to import

    near = get_close_matches(word.lower(), list(known), 1)
    return f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"


# Hosts and ports ----------------------------------------------------------------------------------

_NUMBER = re.compile(r"[0-9]+")
_SERVICE = re.compile(r"[a-z][a-z0-9-]*")
_SCOPE = re.compile(r"[A-Za-z0-9._~-]+")
_LOOKS_IPV6 = re.compile(r"(?=.*:.*:)[0-9A-Fa-f:.]+(?:%[^:]*)?(?::[0-9]*)?")
_LOOKS_NUMERIC = re.compile(r"(?:0[xX][0-9A-Fa-f]*|[0-9]+)(?:\.(?:0[xX][0-9A-Fa-f]*|[0-9]+))*\.?")


def _number(piece: _Piece, low: int, high: int, what: str) -> int:
    text = piece.text
    # The length first: int() of thousands of digits raises an error of its own.
    if not _NUMBER.fullmatch(text) or len(text) > 10 or not low <= int(text) <= high:
        raise piece.fail(f"expected {what}, not {piece.quoted}")
    return int(text)


def _port(piece: _Piece) -> int | str:
    if not piece.text:
        raise piece.fail("a port is missing")
    if _SERVICE.fullmatch(piece.text):
        return piece.text
    return _number(piece, 0, 65535, "a port, 0 to 65535 or the name of a service")


def _checked_port(port: object) -> int | str:
    """A port that was given as a value of its own."""
    if isinstance(port, bool) or not isinstance(port, int | str):
        raise EndpointError(f"expected a port, a number or the name of a service, not {port!r}")
    return _port(_Piece(port if isinstance(port, str) else str(int(port))))


def _ipv6(piece: _Piece) -> str:
    address, _, scope = piece.text.partition("%")
    try:
        canonical = str(ipaddress.IPv6Address(piece.text))
    except ValueError:
        wrong = re.search(r"[^0-9A-Fa-f:.]", piece.text)
        index = wrong.start() if wrong else 0
        raise piece.fail(f"{piece.quoted} is not an IPv6 address", index) from None
    if scope and not _SCOPE.fullmatch(scope):
        raise piece.fail(f"{scope!r} is not the name or number of an interface", len(address) + 1)
    return canonical


def _name(piece: _Piece) -> str:
    """A host that is not IPv6: checked loosely, but nothing passes that a resolver would take for more."""
    for index, char in enumerate(piece.text):
        if reason := _why_not_in_host(char):
            raise piece.fail(reason, index)
    _check_labels(piece)
    if _LOOKS_NUMERIC.fullmatch(piece.text):
        _check_ipv4(piece)
    return piece.text


def _why_not_in_host(char: str) -> str:
    if char.isascii():
        return "" if char.isalnum() or char in "._-" else f"a host cannot contain {char!r}"
    if char.isspace() or not char.isprintable():
        return f"a host cannot contain U+{ord(char):04X}"
    # IDNA maps these to ASCII, after our checks: "１２７.1" or "example。org" would slip through them.
    plain = unicodedata.normalize("NFKC", char).replace("。", ".")
    return f"{char!r} only looks like {plain!r}: write that" if any(c.isascii() for c in plain) else ""


def _check_labels(piece: _Piece) -> None:
    start = 0
    for label in piece.text.removesuffix(".").split("."):
        if not label:
            raise piece.fail("a name between the dots of the host is missing", start)
        if len(label) > 63:
            raise piece.fail("the part of a host between two dots has at most 63 characters", start + 63)
        start += len(label) + 1
    if len(piece.text) > 254:
        raise piece.fail("a host has at most 253 characters", 253)


def _check_ipv4(piece: _Piece) -> None:
    try:
        ipaddress.IPv4Address(piece.text)
    except ValueError:
        # Resolvers read 127.1, 0x7f.1, 2130706433 and 010.0.0.1 each in their own way, which gets around
        # lists of allowed addresses.
        message = f"{piece.quoted} is not an IPv4 address: write four decimal numbers, such as 127.0.0.1"
        raise piece.fail(message) from None


def _host(piece: _Piece) -> str:
    """A host in text, without its brackets, or the value of an option."""
    return _ipv6(piece) if ":" in piece.text else _name(piece)


def _split_address(kind: str, address: _Piece) -> tuple[_Piece, _Piece]:
    """The host, brackets included, and the port."""
    text = address.text
    if text.startswith("["):
        return _split_brackets(address)
    if _NUMBER.fullmatch(text):
        return address[:0], address
    colons = text.count(":")
    if colons == 0:
        raise address.fail(f"a port is missing: expected host:port, such as {_EXAMPLES[kind]!r}", len(text))
    if _LOOKS_IPV6.fullmatch(text):
        raise address.fail(f"an IPv6 address needs brackets, such as '{kind}:[::1]:8000'")
    if colons > 1:
        second = text.index(":", text.index(":") + 1)
        raise address.fail(f"one ':' too many: expected host:port, such as {_EXAMPLES[kind]!r}", second)
    return address.cut(text.index(":"))


def _split_brackets(address: _Piece) -> tuple[_Piece, _Piece]:
    end = address.text.find("]") + 1
    if not end:
        raise address.fail("'[' without a ']' after the IPv6 address")
    if address.text[end : end + 1] != ":":
        raise address.fail("expected ':' and a port after ']'", end)
    return address.cut(end)


def _bracketed_or_name(host: _Piece) -> str:
    if host.text.startswith("["):
        # RFC 9844: a scope is written "%eth0" as everywhere else, so nothing in brackets is percent-decoded.
        return _ipv6(host[1:-1])
    return _name(_decode(host))


# Kinds --------------------------------------------------------------------------------------------


def _read_network(kind: str, address: _Piece) -> Endpoint:
    host, port = _split_address(kind, address)
    if host.text in ("", "*"):
        return Endpoint(kind, port=_port(port), wildcard=host.text == "*")
    return Endpoint(kind, _bracketed_or_name(host), _port(port))


def _read_unix(kind: str, address: _Piece) -> Endpoint:
    path = _decode(address)
    if path.text in ("", "@"):
        raise path.fail("a path is missing, such as 'unix:/run/app.sock'", len(path.text))
    return Endpoint(kind, path=re.sub("^/+", "/", path.text))


def _read_name(kind: str, address: _Piece) -> Endpoint:
    name = _decode(address)
    if not name.text or name.text.startswith("/"):
        raise name.fail(f"expected a name, such as {_EXAMPLES[kind]!r}")
    return Endpoint(kind, path=name.text)


def _read_fd(kind: str, address: _Piece) -> Endpoint:
    return Endpoint(kind, fd=_number(address, 0, 2**31 - 1, "the number of a file descriptor, such as 'fd:3'"))


def _read_stdio(kind: str, address: _Piece) -> Endpoint:
    if address.text:
        raise address.fail("stdio has no address: expected 'stdio:'")
    return Endpoint(kind)


_READERS: dict[str, Callable[[str, _Piece], Endpoint]] = {
    **dict.fromkeys(_NETWORK, _read_network),
    "unix": _read_unix,
    "stdio": _read_stdio,
    "fd": _read_fd,
    "systemd": _read_name,
    "memory": _read_name,
}


# Options ------------------------------------------------------------------------------------------

_BOOLEANS = dict.fromkeys(("yes", "true", "on", "1"), True) | dict.fromkeys(("no", "false", "off", "0"), False)
_DECIMAL = re.compile(r"[0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?")


def _read_string(value: _Piece) -> str:
    return value.text


def _read_count(value: _Piece) -> int:
    return _number(value, 1, 2**31 - 1, "a whole number above 0")


def _read_seconds(value: _Piece) -> float:
    seconds = float(value.text) if _DECIMAL.fullmatch(value.text) else 0.0
    if not 0 < seconds < float("inf"):
        raise value.fail(f"expected seconds, a number above 0, not {value.quoted}")
    return seconds


def _read_boolean(value: _Piece) -> bool:
    if value.text.lower() not in _BOOLEANS:
        raise value.fail(f"expected yes or no, not {value.quoted}")
    return _BOOLEANS[value.text.lower()]


def _read_mode(value: _Piece) -> int:
    if not re.fullmatch("[0-7]{1,4}", value.text):
        raise value.fail(f"expected permissions in octal, such as 660, not {value.quoted}")
    return int(value.text, 8)


def _read_words(value: _Piece) -> tuple[str, ...]:
    for word in value.split(","):
        if not word.text:
            raise word.fail("expected names with ',' between them, such as h2,http/1.1")
    return tuple(value.text.split(","))


def _read_networks(value: _Piece) -> tuple[str, ...]:
    return tuple(_network(part) for part in value.split(","))


def _network(part: _Piece) -> str:
    try:
        return str(ipaddress.ip_network(part.text))
    except ValueError as exc:
        why = "has bits set beyond its prefix" if "host bits" in str(exc) else "is not a network"
        raise part.fail(f"{part.quoted} {why}: expected one such as 10.0.0.0/8 or 2001:db8::/32") from None


def _read_url(value: _Piece) -> str:
    """The URL of a proxy: kept as written, for it is percent-encoded itself."""
    scheme = re.match(r"[a-z][a-z0-9+.-]*://", value.text)
    if not scheme:
        raise value.fail("expected the URL of a proxy, such as socks5://user:password@host:1080")
    address = value[scheme.end() :]
    if "@" in address.text:
        user, address = address.cut(address.text.rindex("@"))
        _check_user(user)
    _check_authority(address)
    return value.text


def _check_user(user: _Piece) -> None:
    if wrong := re.search(r"[^\w.~!$'()*+,;=:%-]", user.text, re.ASCII):
        raise user.fail(f"{wrong[0]!r} in a user or password must be percent-encoded", wrong.start())
    _decode(user)


def _check_authority(address: _Piece) -> None:
    """`host` or `host:port`; the scheme has a default port."""
    if ":" in address.text.rpartition("]")[2]:
        host, port = _split_address("tcp", address)
        _port(port)
    else:
        host = address
    _bracketed_or_name(host)


@dataclass(frozen=True, slots=True)
class _Option:
    """What an option takes. `repeats`: may be given more than once; `is_url`: is not percent-decoded again."""

    kinds: tuple[str, ...]
    read: Callable[[_Piece], Value]
    repeats: bool = False
    is_url: bool = False


_OPTIONS = {
    "backlog": _Option(("tcp", "tls", "unix", "fd", "systemd", "memory"), _read_count),
    "reuse_port": _Option(_NETWORK, _read_boolean),
    "ipv6only": _Option(_NETWORK, _read_boolean),
    "interface": _Option(_NETWORK, _read_string),
    "source": _Option(_NETWORK, _read_string),
    "timeout": _Option(_NETWORK, _read_seconds),
    "tcp_user_timeout": _Option(("tcp", "tls"), _read_seconds),
    "proxy_protocol": _Option(("tcp", "tls", "unix"), _read_networks),
    "via": _Option(("tcp", "tls"), _read_url, is_url=True),
    "cert": _Option(("tls",), _read_string, repeats=True),
    "key": _Option(("tls",), _read_string, repeats=True),
    "client_ca": _Option(("tls",), _read_string),
    "ca": _Option(("tls",), _read_string),
    "alpn": _Option(("tls",), _read_words),
    "server_name": _Option(("tls",), _host),
    "verify": _Option(("tls",), _read_boolean),
    "mode": _Option(("unix",), _read_mode),
}


def _read_options(kind: str, query: _Piece) -> tuple[tuple[str, Value], ...]:
    found: dict[str, Value] = {}
    for item in query.split("&"):
        equals = item.text.find("=")
        if equals < 1:
            raise item.fail("expected option=value", max(equals, 0) or len(item.text))
        name, value = item.cut(equals)
        option = _option_for(kind, name)
        _add(found, option, name, value if option.is_url else _decode(value))
    return tuple(sorted(found.items()))


def _option_for(kind: str, name: _Piece) -> _Option:
    option = _OPTIONS.get(name.text)
    if option is None:
        fitting = [known for known in _OPTIONS if kind in _OPTIONS[known].kinds]
        raise name.fail(f"unknown option {name.quoted}: {_nearest(name.text, fitting or _OPTIONS)}")
    if kind not in option.kinds:
        raise name.fail(f"the option {name.text!r} is for {_listed(option.kinds)} endpoints, not for {kind}")
    return option


def _listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def _add(found: dict[str, Value], option: _Option, name: _Piece, value: _Piece) -> None:
    if not value.text:
        raise value.fail(f"the value of {name.text!r} is missing")
    _refuse_controls(value)
    earlier = found.get(name.text, ())
    if not option.repeats:
        if name.text in found:
            raise name.fail(f"the option {name.text!r} is given twice")
        found[name.text] = option.read(value)
    elif isinstance(earlier, tuple):
        found[name.text] = (*earlier, value.text)


def _texts(name: _Piece, option: _Option, value: object) -> list[str]:
    """The texts that stand for a value given to `with_options`: one parser checks them all."""
    if value is None:
        return []
    if isinstance(value, os.PathLike):
        return [os.fsdecode(value)]
    if isinstance(value, str | int | float):
        return [_value_text(name.text, value)]
    if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return list(value) if option.repeats else [",".join(value)]
    raise name.fail(f"the option {name.text!r} cannot be a {type(value).__name__}")


def _value_text(name: str, value: Value) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ",".join(value)
    if isinstance(value, float) and value.is_integer() and value < 1e15:
        return str(int(value))
    return f"{value:o}" if name == "mode" and isinstance(value, int) else str(value)


# Values that are not text, and text ---------------------------------------------------------------


def _parse_address(address: tuple[object, ...]) -> Endpoint:
    """An address as sockets have it; scope ids go into the host, the flow label is dropped."""
    if len(address) not in (2, 4) or not isinstance(address[0], str):
        raise EndpointError(f"expected (host, port) or (host, port, flowinfo, scope_id), not {address!r}")
    host, port = address[0], _checked_port(address[1])
    if len(address) == 4 and address[3] and "%" not in host:
        host = f"{host}%{address[3]}"
    if host in ("", "*"):
        return Endpoint("tcp", port=port, wildcard=host == "*")
    return Endpoint("tcp", _host(_Piece(host)), port)


def _parse_path(path: str) -> Endpoint:
    _refuse_controls(_Piece(path))
    # A file may be called "@name"; only text can mean the abstract socket.
    return Endpoint("unix", path=re.sub("^/+", "/", f"./{path}" if path.startswith("@") else path))


def _parse_text(text: str) -> Endpoint:
    piece = _Piece(text, text)
    _refuse_padding(piece)
    _refuse_controls(piece)
    if re.match(r"\.{0,2}/", text):
        return _parse_kind("unix", piece)
    label, colon, rest = text.partition(":")
    # In any case: "TLS:443" as port 443 of a host called TLS would be served without encryption.
    kind = label.lower()
    if colon and kind == "exec":
        return Endpoint(kind, path=_command(piece[len(label) + 1 :]))
    if colon and kind in _READERS and not rest.startswith("//"):
        return _parse_kind(kind, piece[len(label) + 1 :])
    _refuse_url(piece)
    _refuse_unknown_kind(piece)
    return _parse_kind("tcp", piece)


def _parse_kind(kind: str, piece: _Piece) -> Endpoint:
    question = piece.text.find("?")
    if question < 0:
        return _READERS[kind](kind, piece)
    address, query = piece.cut(question)
    return replace(_READERS[kind](kind, address), options=_read_options(kind, query))


def _command(piece: _Piece) -> str:
    if not piece.text:
        raise piece.fail("a command is missing, such as 'exec:command arguments'")
    return piece.text


def _refuse_padding(piece: _Piece) -> None:
    if not piece.text:
        raise piece.fail("an endpoint is empty: expected a port, host:port or kind:address")
    if piece.text != piece.text.strip():
        end = 0 if piece.text[0].isspace() else len(piece.text.rstrip())
        raise piece.fail("an endpoint cannot begin or end with a space", end)


_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(?:[^/?#]*@)?([^/?#]*)(.*)")
_SCHEMES = {"http": ("tcp", ":80"), "ws": ("tcp", ":80"), "https": ("tls", ":443"), "wss": ("tls", ":443")}


def _refuse_url(piece: _Piece) -> None:
    url = _URL.match(_masked(piece.text))
    if not url:
        return
    scheme, host, path = url[1].lower(), url[2], url[3]
    kind, port = _SCHEMES.get(scheme, (scheme if scheme in KINDS else "tcp", ":PORT"))
    if kind not in _NETWORK:
        right = f"{kind}:/{host}{path}".replace("//", "/") if kind == "unix" else f"{kind}:{host}"
    else:
        right = f"{kind}:{host}" if re.search(r":[0-9]+$", host) else f"{kind}:{host}{port}"
    raise piece.fail(f"an endpoint is not a URL: write {right!r}", url.end(1) + 1)


def _refuse_unknown_kind(piece: _Piece) -> None:
    """Tell `ftp:x:21` and `unx:/path` from `host:port`, which is all that may come here."""
    label, colon, rest = piece.text.partition("?")[0].partition(":")
    if label.lower() in KINDS and not colon:
        raise piece.fail(f"{label!r} needs more: expected it as in {_EXAMPLES[label.lower()]!r}", len(label))
    if not colon or not re.fullmatch(r"[A-Za-z][\w+-]*", label) or _LOOKS_IPV6.fullmatch(label + colon + rest):
        return
    if _NUMBER.fullmatch(rest) or _SERVICE.fullmatch(rest):
        return
    hint = _nearest(label, KINDS)
    if ":" in rest or hint.startswith("did"):
        raise piece.fail(f"{label!r} is not a kind of endpoint: {hint}")


def _format(endpoint: Endpoint, url: Callable[[str], str]) -> str:
    """The canonical text; `url` may mask what stands in a URL."""
    if endpoint.kind == "exec":
        return f"exec:{endpoint.path}"
    items = [f"{name}={text}" for name, value in endpoint.options for text in _option_texts(name, value, url)]
    return "?".join(filter(None, (f"{endpoint.kind}:{_format_address(endpoint)}", "&".join(items))))


def _option_texts(name: str, value: Value, url: Callable[[str], str]) -> list[str]:
    option = _OPTIONS[name]
    if option.is_url:
        return [url(str(value))]
    texts = value if option.repeats and isinstance(value, tuple) else (_value_text(name, value),)
    return [_encode(text) for text in texts]


def _format_address(endpoint: Endpoint) -> str:
    if endpoint.fd is not None:
        return str(endpoint.fd)
    if endpoint.kind not in _NETWORK:
        return _encode(endpoint.path)
    if endpoint.host:
        host = f"[{endpoint.host}]" if ":" in endpoint.host else _encode(endpoint.host)
        return f"{host}:{endpoint.port}"
    # A lone word would be taken for a host without a port.
    is_number = isinstance(endpoint.port, int) and not endpoint.wildcard
    return str(endpoint.port) if is_number else f"*:{endpoint.port}"

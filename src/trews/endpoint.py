"""Endpoints: where to listen or to connect to, as one frozen value.

Not here: resolving names, opening sockets, or knowing which kinds a transport can open. Longer than most
files because every refusal is a sentence with a position, and the grammar stands whole in one place.

    endpoint = port | path | host ":" port | kind ":" address     each with [ "?" option *( "&" option ) ]
             | "exec:" command                                    all the rest, verbatim
    port     = 0 to 65535 | service name
    path     = "/", "./" or "../" and the rest; "unix:" takes any
    host     = name | IPv4 | "[" IPv6 [ "%" scope ] "]" | "*"     "*" and nothing are all interfaces
    option   = name "=" value                                     see _OPTIONS
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterable
from typing import Any

from .errors import EndpointError
from .value import Value

OptionValue = str | int | float | bool | tuple[str, ...]

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


class Endpoint(Value):
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

    __slots__ = __match_args__ = ("kind", "host", "port", "path", "fd", "options", "wildcard")
    kind: str
    host: str
    port: int | str | None
    path: str
    fd: int | None
    options: tuple[tuple[str, OptionValue], ...]
    wildcard: bool

    def __init__(
        self,
        kind: str,
        host: str = "",
        port: int | str | None = None,
        path: str = "",
        fd: int | None = None,
        options: tuple[tuple[str, OptionValue], ...] = (),
        wildcard: bool = False,
    ) -> None:
        self._set(kind, host, port, path, fd, options, wildcard)

    def _key(self) -> tuple[Any, ...]:
        return self.kind, self.host, self.port, self.path, self.fd, self.options  # however its wildcard is written

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
            return _parse_text(_Piece(value, _masked(value)))
        if isinstance(value, int):
            return Endpoint("tcp", port=_checked_port(value))
        if isinstance(value, tuple):
            return _parse_address(value)
        if isinstance(value, os.PathLike):
            return _parse_path(os.fsdecode(value))
        raise EndpointError(f"expected a port, (host, port), a path or text, not {type(value).__name__}")

    def get(self, name: str, default: Any = None) -> Any:
        """The value of the option `name`, `default` if it was not given."""
        options: dict[str, Any] = dict(self.options)
        return options.get(name, default)

    def with_port(self, port: int | str) -> Endpoint:
        """The same endpoint on another port.

        Raises:
            EndpointError: not a port, or an endpoint of a kind that has none.
        """
        if self.kind not in _NETWORK:
            raise EndpointError(f"{self.kind} endpoints have no port")
        return self.__replace__(port=_checked_port(port))

    def with_options(self, **options: object) -> Endpoint:
        """The same endpoint with these options added or replaced; `None` takes one away.

        Args:
            options: typed values, or text as it would stand in an endpoint before percent-encoding.

        Raises:
            EndpointError: no such option, not for this kind, or a bad value.
        """
        merged = {**dict(self.options), **options}
        query = _format_options((name, value) for name, value in merged.items() if value is not None)
        return self.__replace__(options=_read_options(self.kind, _Piece(query)) if query else ())

    @property
    def shown(self) -> str:
        """The endpoint for logs and messages: as `str`, with the password of `via` masked."""
        return re.sub(_SECRET, r"\1***\3", str(self)) if self.get("via") else str(self)

    def __str__(self) -> str:
        """The canonical text, passwords included: `Endpoint.parse(str(e)) == e`."""
        text = f"{self.kind}:{_format_address(self)}"
        return f"{text}?{_format_options(self.options)}" if self.options else text

    def __repr__(self) -> str:
        return f"Endpoint({self.shown!r})"


_Tuples = tuple[str, int | str] | tuple[str, int | str, int, int]
EndpointLike = Endpoint | int | str | _Tuples | os.PathLike[str] | os.PathLike[bytes]


def check_call(right: str, handler: object, endpoints: tuple[object, ...], settings: Iterable[str]) -> None:
    """Refuse a call in which handler and endpoints have changed places, or host and port stand apart (TypeError).

    Args:
        right: how it is called; the error's message.
    """
    is_swapped = isinstance(handler, Endpoint | int | str | tuple | os.PathLike) or any(map(callable, endpoints))
    if len(endpoints) == 2:  # "localhost", 4040
        host, port = endpoints
        is_apart = isinstance(host, str) and isinstance(port, int) and not set(host) & set(":/0123456789")
        is_swapped = is_swapped or is_apart
    if is_swapped or not endpoints or not {"host", "port"}.isdisjoint(settings):
        raise TypeError(right)


# Patterns are compiled when they are used first: at import those of this file would take 3 ms.

# Greedy on purpose: with an unencoded "@", "/" or "&" in a password, rather mask too much.
_SECRET = r"(?is)((?::|%3A)(?:/|%2F){2}(?:(?!:|%3A|@|%40).)*(?::|%3A))(.+)(@|%40)"
# Control characters, lone surrogates (a name that is not UTF-8) and the line separators of Unicode.
_CONTROL = "[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029]"


class _Piece:
    """Part of an endpoint's text, from `start` in `whole`, which is `""` for what was not given as text."""

    __slots__ = ("start", "text", "whole")

    def __init__(self, text: str, whole: str = "", start: int = 0) -> None:
        self.text = text
        self.whole = whole
        self.start = start

    def part(self, start: int, stop: int | None = None) -> _Piece:
        return _Piece(self.text[start:stop], self.whole, self.start + start)

    def cut(self, index: int) -> tuple[_Piece, _Piece]:
        """What stands before and after the character at `index`."""
        return self.part(0, index), self.part(index + 1)

    def split(self, separator: str) -> list[_Piece]:
        words = re.finditer(f"(?:^|{separator})([^{separator}]*)", self.text)
        return [self.part(word.start(1), word.end(1)) for word in words]

    def quoted(self) -> str:
        return repr(self.whole[self.start : self.start + len(self.text)] if self.whole else self.text)

    def fail(self, message: str, index: int = 0) -> EndpointError:
        """The error that points at the character at `index` of this piece."""
        return EndpointError(message, self.whole, self.start + index if self.whole else None)


def _masked(text: str) -> str:
    """`text` with passwords starred out, character for character so that positions hold."""
    if "@" not in text and "%40" not in text:
        return text  # as _SECRET would find, which takes 0.5 ms to compile
    return re.sub(_SECRET, lambda match: match[1] + "*" * len(match[2]) + match[3], text)


def _decode(piece: _Piece) -> str:
    """Undo the percent-encoding, strictly: "%4" and bytes that are not UTF-8 are errors."""

    def unescape(run: re.Match[str]) -> str:
        try:
            text = bytes.fromhex(run[0].replace("%", "")).decode()
        except UnicodeDecodeError as exc:
            wrong = run.start() + 3 * exc.start
            raise piece.fail("these percent-encoded bytes are not UTF-8", wrong) from None
        if control := re.search(_CONTROL, text):
            wrong = run.start() + 3 * len(text[: control.start()].encode())
            raise piece.fail(f"U+{ord(control[0]):04X} cannot stand in an endpoint", wrong)
        return text

    if bare := re.search("%(?![0-9A-Fa-f]{2})", piece.text):
        raise piece.fail("'%' must be followed by two hexadecimal digits ('%25' is a '%')", bare.start())
    return re.sub("(?:%[0-9A-Fa-f]{2})+", unescape, piece.text)


def _encode(text: str) -> str:
    """Percent-encode all but letters, digits and a few marks. What is not Unicode, `_decode` will refuse."""
    return re.sub(
        r"[^\w.~/:@*,-]",
        lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode(errors="surrogatepass")),
        text,
    )


def _nearest(word: str, known: Iterable[str]) -> str:
    """A clause that names the nearest of `known`, or all of them."""
    from difflib import get_close_matches  # here because only errors need it, and it costs 1 ms to import

    near = get_close_matches(word.lower(), list(known), 1)
    return f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"


_SERVICE = r"[a-z][a-z0-9-]*"
_LOOKS_IPV6 = r"(?=.*::|(?:[^:]*:){5})[0-9A-Fa-f:.]+(?:%[^:]*)?(?::[0-9]*)?"
_LOOKS_NUMERIC = r"(?:(?:0[xX][0-9A-Fa-f]*|[0-9]+)(?:\.|$))+"
_BAD_LABEL = r"^$|^\.|\.\.|[^.]{64}|^.{254}"


def _port(piece: _Piece) -> int | str:
    if re.fullmatch(_SERVICE, piece.text):
        return piece.text
    # At most 5 digits: int() of thousands of them raises an error of its own.
    if not re.fullmatch("[0-9]{1,5}", piece.text) or int(piece.text) > 65535:
        what = f"not {piece.quoted()}" if piece.text else "but it is missing"
        raise piece.fail(f"expected a port, 0 to 65535 or the name of a service, {what}")
    return int(piece.text)


def _checked_port(port: object) -> int | str:
    """A port that was given as a value of its own."""
    if isinstance(port, bool) or not isinstance(port, int | str):
        raise EndpointError(f"expected a port, a number or the name of a service, not {port!r}")
    return _port(_Piece(port if isinstance(port, str) else str(int(port))))


def _ipv6(piece: _Piece) -> str:
    plain = re.match(r"[0-9A-Fa-f:.]*(?:%[A-Za-z0-9._~-]+)?", piece.text)
    wrong = plain.end() if plain else 0
    try:
        if wrong == len(piece.text):
            import ipaddress  # here and below, because it costs 1.5 ms to import

            return str(ipaddress.IPv6Address(piece.text))
    except ValueError:
        wrong = 0
    raise piece.fail(f"{piece.quoted()} is not an IPv6 address", wrong)


def _name(piece: _Piece) -> str:
    """A host that is not IPv6: checked loosely, but nothing passes that a resolver would take for more."""
    for index, char in enumerate(piece.text):
        if reason := _why_not_in_host(char):
            raise piece.fail(reason, index)
    if wrong := re.search(_BAD_LABEL, piece.text):
        message = "a host is names of 1 to 63 characters with dots between, 253 in all"
        raise piece.fail(message, max(wrong.end() - 1, 0))
    if not re.fullmatch(_LOOKS_NUMERIC, piece.text):
        return piece.text
    import ipaddress

    try:
        # Resolvers read 127.1, 0x7f.1, 2130706433 and 010.0.0.1 each in their own way, which gets around
        # lists of allowed addresses.
        return str(ipaddress.IPv4Address(piece.text))
    except ValueError:
        message = f"{piece.quoted()} is not an IPv4 address: write four decimal numbers, such as 127.0.0.1"
        raise piece.fail(message) from None


def _why_not_in_host(char: str) -> str:
    if char.isascii():
        return "" if char.isalnum() or char in "._-" else f"a host cannot contain {char!r}"
    if char.isspace() or not char.isprintable():
        return f"a host cannot contain U+{ord(char):04X}"
    import unicodedata  # here because few need it

    # IDNA maps look-alikes to ASCII after our checks: full-width digits and dots would slip through them.
    plain = unicodedata.normalize("NFKC", char).replace("。", ".")
    return f"{char!r} only looks like {plain!r}: write that" if any(c.isascii() for c in plain) else ""


def _split_address(kind: str, address: _Piece) -> tuple[_Piece, _Piece]:
    """The host, brackets included, and the port."""
    text, example = address.text, f"expected host:port, such as {_EXAMPLES[kind]!r}"
    if match := re.fullmatch(r"((?:\[[^\]]*\]|(?!\[)[^:]*):)?([^:]*)", text):
        if match[1] is not None:
            return address.cut(match.start(2) - 1)
        if re.fullmatch("[0-9]+", text):
            return address.part(0, 0), address
        raise address.fail(f"a port is missing: {example}", len(text))
    host_end = text.find("]") + 1 if text.startswith("[") else 0
    if text.startswith("[") and text[host_end : host_end + 1] != ":":
        raise address.fail(f"expected ']', ':' and a port: {kind}:[::1]:8000", host_end)
    if re.fullmatch(_LOOKS_IPV6, text):
        raise address.fail(f"an IPv6 address needs brackets: {kind}:[::1]:8000")
    second = text.index(":", text.index(":", host_end) + 1)
    raise address.fail(f"one ':' too many: {example}", second)


def _read_network(kind: str, address: _Piece) -> Endpoint:
    host, port = _split_address(kind, address)
    if host.text in ("", "*"):
        return Endpoint(kind, port=_port(port), wildcard=host.text == "*")
    # RFC 9844: a scope is written "%eth0" as everywhere else. Hosts need no percent-encoding, so have none.
    name = _ipv6(host.part(1, -1)) if host.text.startswith("[") else _name(host)
    return Endpoint(kind, name, _port(port))


_ADDRESSES = {
    "unix": (r"@.+|[^@].*", "a path"),
    "stdio": (r"", "nothing after the colon"),
    "fd": (r"[0-9]{1,9}", "the number of a file descriptor"),
    "systemd": (r"[^/].*", "a name"),
    "memory": (r"[^/].*", "a name"),
    "exec": (r"(?!)", "a command"),  # only reached by an empty one
}


def _read_address(kind: str, address: _Piece) -> Endpoint:
    if kind in _NETWORK:
        return _read_network(kind, address)
    pattern, expected = _ADDRESSES[kind]
    text = _decode(address)
    if not re.fullmatch(pattern, text):
        raise address.fail(f"expected {expected}, as in {_EXAMPLES[kind]!r}")
    return Endpoint(kind, fd=int(text)) if kind == "fd" else Endpoint(kind, path=re.sub("^//+", "/", text))


def _parse_address(address: tuple[object, ...]) -> Endpoint:
    """An address as sockets have it; scope ids go into the host, the flow label is dropped."""
    if len(address) not in (2, 4) or not isinstance(address[0], str):
        raise EndpointError(f"expected (host, port) or (host, port, flowinfo, scope_id), not {address!r}")
    host, port = address[0], _checked_port(address[1])
    if host in ("", "*"):
        return Endpoint("tcp", port=port, wildcard=host == "*")
    if len(address) == 4 and address[3] and "%" not in host:
        host = f"{host}%{address[3]}"
    return Endpoint("tcp", _ipv6(_Piece(host)) if ":" in host else _name(_Piece(host)), port)


def _parse_path(path: str) -> Endpoint:
    # A file may be called "@name"; only text can mean the abstract socket.
    return _read_address("unix", _Piece(_encode(f"./{path}" if path.startswith("@") else path)))


def _parse_text(piece: _Piece) -> Endpoint:
    text = piece.text
    if padding := re.search(r"^\s|(?<!\s)\s+\Z|\A\Z", text):
        raise piece.fail("an endpoint cannot be empty, nor begin or end with a space", padding.start())
    if control := re.search(_CONTROL, text):
        raise piece.fail(f"U+{ord(control[0]):04X} cannot stand in an endpoint", control.start())
    if re.match(r"\.{0,2}/", text):
        return _parse_kind("unix", piece)
    label, colon, rest = text.partition(":")
    # In any case: "TLS:443" as port 443 of a host called TLS would be served without encryption.
    kind = label.lower() if colon else ""
    if kind == "exec" and rest:
        return Endpoint(kind, path=rest)
    if kind in _EXAMPLES and not rest.startswith("//"):
        return _parse_kind(kind, piece.part(len(kind) + 1))
    _refuse_url(piece)
    _refuse_unknown_kind(piece)
    return _parse_kind("tcp", piece)


def _parse_kind(kind: str, piece: _Piece) -> Endpoint:
    question = piece.text.find("?")
    if question < 0:
        return _read_address(kind, piece)
    address, query = piece.cut(question)
    return _read_address(kind, address).__replace__(options=_read_options(kind, query))


_SCHEMES = {"http": ("tcp", ":80"), "ws": ("tcp", ":80"), "https": ("tls", ":443"), "wss": ("tls", ":443")}


def _refuse_url(piece: _Piece) -> None:
    # In `whole` a password is masked already.
    url = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://(?:[^/?#]*@)?([^/?#]*)([^?#]*)", piece.whole)
    if not url:
        return
    kind, port = _SCHEMES.get(url[1].lower(), (url[1].lower(), ":PORT"))
    if kind in _ADDRESSES:
        right = f"{kind}:{url[2]}{url[3]}"
    else:
        has_port = re.search(r":[0-9]+$", url[2])
        right = f"{kind if kind in _NETWORK else 'tcp'}:{url[2]}{'' if has_port else port}"
    raise piece.fail(f"an endpoint is not a URL: write {right!r}", url.end(1) + 1)


def _refuse_unknown_kind(piece: _Piece) -> None:
    """Tell `ftp:x:21` and `unx:/path` from `host:port`, which is all that may come here."""
    address = piece.text.partition("?")[0]
    label, colon, rest = address.partition(":")
    if not colon and label.lower() in KINDS:
        raise piece.fail(f"{label!r} alone is not enough: write {_EXAMPLES[label.lower()]!r}", len(label))
    if label.lower() in ("ssl", "https", "wss") and re.fullmatch("[0-9]+", rest):
        # A host may be called so, but who means that is rarer, and would be served without encryption.
        right, host = f"tls:{rest}", f"tcp:{address}"
        raise piece.fail(f"{label!r} is not a kind of endpoint: did you mean {right!r}? (If it is a host: {host!r})")
    is_label = colon and re.fullmatch(r"[A-Za-z][\w+-]*", label) and not re.fullmatch(_LOOKS_IPV6, address)
    if is_label and not re.fullmatch("[0-9]+", rest) and not re.fullmatch(_SERVICE, rest):
        hint = _nearest(label, KINDS)
        if ":" in rest or hint.startswith("did"):
            raise piece.fail(f"{label!r} is not a kind of endpoint: {hint}")


class _Type:
    """What the value of an option looks like and becomes; `is_list`: several with "," between."""

    def __init__(self, pattern: str, expected: str, convert: Callable[[str], Any] = str, is_list: bool = False) -> None:
        self.pattern = pattern
        self.expected = expected
        self.convert = convert
        self.is_list = is_list


def _source(text: str) -> str:
    """An address with or without a port: `10.0.0.1`, `10.0.0.1:5000`, `fe80::1%eth0`, `[::1]:5000`."""
    match = re.fullmatch(r"\[([^\]]+)\](?::([0-9]{1,5}))?|([0-9.]+)(?::([0-9]{1,5}))?|([^\[]+)", text)
    if match is None:
        raise ValueError(text)
    import ipaddress

    host, port = match[1] or match[3] or match[5], match[2] or match[4]
    address = ipaddress.ip_address(host)
    if port is None:
        return str(address)
    if int(port) > 65535 or (match[1] and address.version == 4):
        raise ValueError(text)
    return f"[{address}]:{int(port)}" if match[1] else f"{address}:{int(port)}"


def _network(text: str) -> str:
    import ipaddress

    return str(ipaddress.ip_network(text))


_TEXT = _Type(r".+", "a value")
_COUNT = _Type(r"0*[1-9][0-9]{0,8}", "a whole number above 0", int)
_SECONDS = _Type(r"(?=[0.]*[1-9])[0-9]{0,20}\.?[0-9]{1,24}(e[+-]?[0-9]{1,2})?", "seconds, a number above 0", float)
_BOOLEAN = _Type("yes|true|on|1|no|false|off|0", "yes or no", ("yes", "true", "on", "1").__contains__)
_MODE = _Type(r"0?[0-7]{1,3}", "permissions in octal, such as 660", lambda text: int(text, 8))
_WORDS = _Type(r".+", "names with ',' between, such as h2,http/1.1", is_list=True)
_CLIENT_CERT = _Type("optional|required", "optional or required")
_NETWORKS = _Type(r".+", "a network, such as 10.0.0.0/8 or 2001:db8::/32", _network, True)
_SOURCE = _Type(r".+", "an address, such as 10.0.0.1, ::1 or 10.0.0.1:5000", _source)
_HOST = _Type(r"[\w.-]+|[0-9A-Fa-f:.]+", "the name of a host")
_PROXY = _Type(
    r"[a-z][a-z0-9+.-]*://"
    r"([\w.~!$'()*+,;=:%-]*@)?"
    r"(\[[0-9A-Fa-f:.]+\]|[\w.-]+)(:[0-9]{1,5})?/?",
    "the URL of a proxy, such as socks5://user:password@host:1080",
)
_OPTIONS = {
    "backlog": (("tcp", "tls", "unix", "fd", "memory"), _COUNT),
    "reuse_port": (_NETWORK, _BOOLEAN),
    "ipv6only": (_NETWORK, _BOOLEAN),
    "interface": (_NETWORK, _TEXT),
    "source": (_NETWORK, _SOURCE),
    "timeout": (_NETWORK, _SECONDS),
    "tcp_user_timeout": (("tcp", "tls"), _SECONDS),
    "proxy_protocol": (("tcp", "tls", "unix", "systemd"), _NETWORKS),
    "via": (("tcp", "tls"), _PROXY),
    "cert": (("tls",), _TEXT),
    "key": (("tls",), _TEXT),
    "client_ca": (("tls",), _TEXT),
    "client_cert": (("tls",), _CLIENT_CERT),
    "ca": (("tls",), _TEXT),
    "alpn": (("tls",), _WORDS),
    "server_name": (("tls",), _HOST),
    "verify": (("tls",), _BOOLEAN),
    "mode": (("unix",), _MODE),
}
_REPEATED = ("cert", "key")


def _read_options(kind: str, query: _Piece) -> tuple[tuple[str, OptionValue], ...]:
    found: dict[str, Any] = {}
    for item in query.split("&"):
        equals = item.text.find("=")
        if equals < 1:
            raise item.fail("expected option=value", 0 if equals == 0 else len(item.text))
        name, value = item.cut(equals)
        expected = _type_of(kind, name)
        if name.text in found and name.text not in _REPEATED:
            raise name.fail(f"the option {name.text!r} is given twice")
        values = [_read_value(expected, word) for word in (value.split(",") if expected.is_list else [value])]
        is_tuple = expected.is_list or name.text in _REPEATED
        found[name.text] = (*found.get(name.text, ()), *values) if is_tuple else values[0]
    return tuple(sorted(found.items()))


def _type_of(kind: str, name: _Piece) -> _Type:
    if name.text not in _OPTIONS:
        raise name.fail(f"unknown option {name.quoted()}: {_nearest(name.text, _OPTIONS)}")
    kinds, expected = _OPTIONS[name.text]
    if kind not in kinds:
        raise name.fail(f"the option {name.text!r} is for {', '.join(kinds)}, not for {kind}")
    return expected


def _read_value(expected: _Type, value: _Piece) -> Any:
    text = _decode(value)
    if expected is _PROXY:
        text = value.text  # a URL is percent-encoded itself, so it stays as it was written
    try:
        if re.fullmatch(expected.pattern, text, re.ASCII if expected is _PROXY else 0):
            return expected.convert(text)
    except ValueError:
        pass  # a network that is none
    raise value.fail(f"expected {expected.expected}{_got(expected, value)}")


def _got(expected: _Type, value: _Piece) -> str:
    """What stands there instead, and what was probably meant."""
    if expected is _PROXY:  # is not repeated: it may hold a password in a form that is not recognised
        return "; in a user or password '@' is written '%40', and '/' '%2F'" if "@" in value.text else ""
    hint = ""
    if expected is _NETWORKS:
        import ipaddress

        with contextlib.suppress(ValueError):
            hint = f": host bits are set, write {ipaddress.ip_network(_decode(value), strict=False)}"
    return f", not {value.quoted()}{hint}"


def _format_address(endpoint: Endpoint) -> str:
    host, port = endpoint.host, endpoint.port
    if endpoint.kind == "exec":
        return endpoint.path
    if endpoint.kind not in _NETWORK:
        return _encode(endpoint.path) if endpoint.fd is None else str(endpoint.fd)
    if not host:
        # A lone word would be taken for a host without a port.
        return str(port) if isinstance(port, int) and not endpoint.wildcard else f"*:{port}"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _format_options(options: Iterable[tuple[str, object]]) -> str:
    items = ((name, text) for name, value in options for text in _format_value(name, value))
    return "&".join(f"{_encode(name)}={text}" for name, text in items)


def _format_value(name: str, value: object) -> list[str]:
    if isinstance(value, list | tuple):
        texts = [_encode(str(item)) for item in value]
        return texts if name in _REPEATED else [",".join(text.replace(",", "%2C") for text in texts)]
    if not isinstance(value, str | int | float | os.PathLike):
        raise EndpointError(f"the option {name!r} cannot be a {type(value).__name__}")
    if name == "via":
        return [str(value).replace("&", "%26")]
    if isinstance(value, bool):
        return ["yes" if value else "no"]
    if isinstance(value, float):
        return [_encode(repr(value).removesuffix(".0"))]
    return [f"{value:o}" if name == "mode" and isinstance(value, int) else _encode(str(value))]

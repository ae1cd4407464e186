"""The grammar of endpoints, in its order: what parses, what is refused and where, the way back to text."""

from __future__ import annotations

import os
import pickle
import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trews.endpoint import KINDS, Endpoint
from trews.errors import EndpointError

TCP = "tcp"

# (text, the endpoint it is, its canonical text)
VALID = [
    # port
    ("4040", Endpoint(TCP, port=4040), "tcp:4040"),
    ("0", Endpoint(TCP, port=0), "tcp:0"),
    ("65535", Endpoint(TCP, port=65535), "tcp:65535"),
    ("4040?backlog=5", Endpoint(TCP, port=4040, options=(("backlog", 5),)), "tcp:4040?backlog=5"),
    # path
    ("/run/app.sock", Endpoint("unix", path="/run/app.sock"), "unix:/run/app.sock"),
    ("./app.sock", Endpoint("unix", path="./app.sock"), "unix:./app.sock"),
    ("../app.sock", Endpoint("unix", path="../app.sock"), "unix:../app.sock"),
    ("//run/app.sock", Endpoint("unix", path="/run/app.sock"), "unix:/run/app.sock"),
    ("/a%20b%3F", Endpoint("unix", path="/a b?"), "unix:/a%20b%3F"),
    ("/x?mode=600", Endpoint("unix", path="/x", options=(("mode", 0o600),)), "unix:/x?mode=600"),
    # host:port
    ("localhost:80", Endpoint(TCP, "localhost", 80), "tcp:localhost:80"),
    (":80", Endpoint(TCP, port=80), "tcp:80"),
    ("*:80", Endpoint(TCP, port=80), "tcp:*:80"),
    ("[::1]:80", Endpoint(TCP, "::1", 80), "tcp:[::1]:80"),
    ("example.org.:http", Endpoint(TCP, "example.org.", "http"), "tcp:example.org.:http"),
    ("tpc:8000", Endpoint(TCP, "tpc", 8000), "tcp:tpc:8000"),
    # tcp, tls, udp
    ("tcp:8000", Endpoint(TCP, port=8000), "tcp:8000"),
    ("tcp:*:8000", Endpoint(TCP, port=8000), "tcp:*:8000"),
    ("tcp:*:http", Endpoint(TCP, port="http"), "tcp:*:http"),
    ("tcp:127.0.0.1:8000", Endpoint(TCP, "127.0.0.1", 8000), "tcp:127.0.0.1:8000"),
    ("tcp:[::1]:8000", Endpoint(TCP, "::1", 8000), "tcp:[::1]:8000"),
    ("tcp:[0:0::1]:1", Endpoint(TCP, "::1", 1), "tcp:[::1]:1"),
    ("tcp:[FE80::1%eth0]:1", Endpoint(TCP, "fe80::1%eth0", 1), "tcp:[fe80::1%eth0]:1"),
    ("tcp:[fe80::1%2]:1", Endpoint(TCP, "fe80::1%2", 1), "tcp:[fe80::1%2]:1"),
    ("tcp:example.org:http", Endpoint(TCP, "example.org", "http"), "tcp:example.org:http"),
    ("tcp:bücher.example:80", Endpoint(TCP, "bücher.example", 80), "tcp:bücher.example:80"),
    ("tcp:a_b.c:080", Endpoint(TCP, "a_b.c", 80), "tcp:a_b.c:80"),
    ("tls:example.org:443", Endpoint("tls", "example.org", 443), "tls:example.org:443"),
    ("TLS:443", Endpoint("tls", port=443), "tls:443"),
    ("udp:5353", Endpoint("udp", port=5353), "udp:5353"),
    (
        "udp:224.0.0.251:5353?interface=eth0",
        Endpoint("udp", "224.0.0.251", 5353, options=(("interface", "eth0"),)),
        "udp:224.0.0.251:5353?interface=eth0",
    ),
    # unix
    ("unix:app.sock", Endpoint("unix", path="app.sock"), "unix:app.sock"),
    ("unix:/run/my app", Endpoint("unix", path="/run/my app"), "unix:/run/my%20app"),
    ("unix:/caf%C3%A9", Endpoint("unix", path="/café"), "unix:/café"),
    ("unix:/100%25", Endpoint("unix", path="/100%"), "unix:/100%25"),
    ("unix:@abstract", Endpoint("unix", path="@abstract"), "unix:@abstract"),
    # stdio, fd, systemd, memory
    ("stdio:", Endpoint("stdio"), "stdio:"),
    ("fd:3", Endpoint("fd", fd=3), "fd:3"),
    ("fd:0", Endpoint("fd", fd=0), "fd:0"),
    ("systemd:NAME", Endpoint("systemd", path="NAME"), "systemd:NAME"),
    ("memory:a name", Endpoint("memory", path="a name"), "memory:a%20name"),
    # exec: verbatim
    ("exec:ls -l", Endpoint("exec", path="ls -l"), "exec:ls -l"),
    ("exec:a?b=c&d %zz", Endpoint("exec", path="a?b=c&d %zz"), "exec:a?b=c&d %zz"),
    ("exec://bin/x", Endpoint("exec", path="//bin/x"), "exec://bin/x"),
]


@pytest.mark.parametrize(("text", "expected", "canonical"), VALID, ids=[row[0] for row in VALID])
def test_text_parses_and_has_one_canonical_form(text: str, expected: Endpoint, canonical: str) -> None:
    endpoint = Endpoint.parse(text)
    assert endpoint == expected
    assert str(endpoint) == canonical
    assert Endpoint.parse(canonical) == endpoint


# (text, option, typed value, canonical text)
OPTIONS: list[tuple[str, str, Any, str]] = [
    ("tcp:1?backlog=128", "backlog", 128, "tcp:1?backlog=128"),
    ("unix:x?backlog=1", "backlog", 1, "unix:x?backlog=1"),
    ("fd:3?backlog=1", "backlog", 1, "fd:3?backlog=1"),
    ("memory:x?backlog=1", "backlog", 1, "memory:x?backlog=1"),
    *((f"tcp:1?reuse_port={word}", "reuse_port", True, "tcp:1?reuse_port=yes") for word in ("yes", "true", "on", "1")),
    *((f"udp:1?ipv6only={word}", "ipv6only", False, "udp:1?ipv6only=no") for word in ("no", "false", "off", "0")),
    ("tcp:1?interface=lo", "interface", "lo", "tcp:1?interface=lo"),
    ("tls:a:1?source=10.0.0.1", "source", "10.0.0.1", "tls:a:1?source=10.0.0.1"),
    ("tcp:a:1?source=10.0.0.1:05000", "source", "10.0.0.1:5000", "tcp:a:1?source=10.0.0.1:5000"),
    ("tcp:a:1?source=0::1", "source", "::1", "tcp:a:1?source=::1"),
    ("tcp:a:1?source=[0::1]", "source", "::1", "tcp:a:1?source=::1"),
    ("tcp:a:1?source=[::1]:5000", "source", "[::1]:5000", "tcp:a:1?source=%5B::1%5D:5000"),
    ("tcp:a:1?source=fe80::1%25eth0", "source", "fe80::1%eth0", "tcp:a:1?source=fe80::1%25eth0"),
    ("tcp:a:1?source=[fe80::1%252]:1", "source", "[fe80::1%2]:1", "tcp:a:1?source=%5Bfe80::1%252%5D:1"),
    ("tcp:a:1?timeout=5", "timeout", 5.0, "tcp:a:1?timeout=5"),
    ("tcp:a:1?timeout=.25", "timeout", 0.25, "tcp:a:1?timeout=0.25"),
    ("tcp:a:1?tcp_user_timeout=1e1", "tcp_user_timeout", 10.0, "tcp:a:1?tcp_user_timeout=10"),
    (
        "unix:x?proxy_protocol=10.0.0.0/8,::1",
        "proxy_protocol",
        ("10.0.0.0/8", "::1/128"),
        "unix:x?proxy_protocol=10.0.0.0/8,::1/128",
    ),
    (
        "tcp:a:1?via=socks5://u:p%40w@h:1080",
        "via",
        "socks5://u:p%40w@h:1080",
        "tcp:a:1?via=socks5://u:p%40w@h:1080",
    ),
    ("tls:a:1?via=http://[::1]:3128/", "via", "http://[::1]:3128/", "tls:a:1?via=http://[::1]:3128/"),
    ("tls:1?cert=c.pem", "cert", ("c.pem",), "tls:1?cert=c.pem"),
    ("tls:1?key=a&key=b", "key", ("a", "b"), "tls:1?key=a&key=b"),
    ("tls:1?cert=a%26b,c", "cert", ("a&b,c",), "tls:1?cert=a%26b,c"),
    ("tls:1?client_ca=ca.pem", "client_ca", "ca.pem", "tls:1?client_ca=ca.pem"),
    ("tls:1?client_cert=optional", "client_cert", "optional", "tls:1?client_cert=optional"),
    ("tls:a:1?ca=x=y", "ca", "x=y", "tls:a:1?ca=x%3Dy"),
    ("tls:1?alpn=h2,http/1.1", "alpn", ("h2", "http/1.1"), "tls:1?alpn=h2,http/1.1"),
    ("tls:1?alpn=a%2Cb", "alpn", ("a,b",), "tls:1?alpn=a%2Cb"),
    ("tls:a:1?server_name=b.example", "server_name", "b.example", "tls:a:1?server_name=b.example"),
    ("tls:a:1?verify=no", "verify", False, "tls:a:1?verify=no"),
    ("unix:x?mode=0660", "mode", 0o660, "unix:x?mode=660"),
]


@pytest.mark.parametrize(("text", "name", "value", "canonical"), OPTIONS, ids=[row[0] for row in OPTIONS])
def test_options_are_typed(text: str, name: str, value: Any, canonical: str) -> None:
    endpoint = Endpoint.parse(text)
    assert endpoint.get(name) == value
    assert type(endpoint.get(name)) is type(value)
    assert str(endpoint) == canonical
    assert Endpoint.parse(canonical) == endpoint


def test_repeated_options_keep_their_order_and_names_have_one() -> None:
    endpoint = Endpoint.parse("tls:443?key=k1&cert=c1&key=k2&cert=c2")
    assert endpoint.options == (("cert", ("c1", "c2")), ("key", ("k1", "k2")))
    assert endpoint == Endpoint.parse("tls:443?cert=c1&cert=c2&key=k1&key=k2")


FIRST_LABEL_IS_NO_KIND = "is not a kind of endpoint: "
PORT = "expected a port, 0 to 65535 or the name of a service, "
NO_PORT = "a port is missing: expected host:port, such as 'tcp:localhost:8000'"
BRACKETS = "an IPv6 address needs brackets: tcp:[::1]:8000"
AFTER_BRACKET = "expected ']', ':' and a port: tcp:[::1]:8000"
IPV4 = "is not an IPv4 address: write four decimal numbers, such as 127.0.0.1"
LABELS = "a host is names of 1 to 63 characters with dots between, 253 in all"
SPACE = "an endpoint cannot be empty, nor begin or end with a space"
PROXY = "expected the URL of a proxy, such as socks5://user:password@host:1080"
NETWORK = "expected a network, such as 10.0.0.0/8 or 2001:db8::/32, not "
MODE = "expected permissions in octal, such as 660, not "
SECONDS = "expected seconds, a number above 0, not "

# (text, sentence, the text up to the character that is wrong)
REFUSED = [
    # the whole
    (" 80", SPACE, ""),
    ("80 ", SPACE, "80"),
    ("exec:ls\n", SPACE, "exec:ls"),
    ("unix:/a\0b", "U+0000 cannot stand in an endpoint", "unix:/a"),
    ("exec:a\tb", "U+0009 cannot stand in an endpoint", "exec:a"),
    ("unix:/\udcff", "U+DCFF cannot stand in an endpoint", "unix:/"),
    # port
    ("65536", PORT + "not '65536'", ""),
    ("9" * 5000, PORT, ""),
    ("tcp:99999", PORT + "not '99999'", "tcp:"),
    ("tcp:a:80a?x=1", "expected a port", "tcp:a:"),
    ("tcp:a:-1", PORT + "not '-1'", "tcp:a:"),
    ("tcp:a:HTTP", PORT + "not 'HTTP'", "tcp:a:"),
    ("a:٨٠", PORT, "a:"),
    ("localhost:", PORT + "but it is missing", "localhost:"),
    ("localhost", NO_PORT, "localhost"),
    ("4o40", NO_PORT, "4o40"),
    ("tcp:", NO_PORT, "tcp:"),
    ("tcp:localhost", NO_PORT, "tcp:localhost"),
    (
        "tls:example.org",
        "a port is missing: expected host:port, such as 'tls:example.org:443'",
        "tls:example.org",
    ),
    # kind
    ("tcp", "'tcp' alone is not enough: write 'tcp:localhost:8000'", "tcp"),
    ("stdio", "'stdio' alone is not enough: write 'stdio:'", "stdio"),
    ("ftp:x:21", f"'ftp' {FIRST_LABEL_IS_NO_KIND}did you mean 'tcp'?", ""),
    ("unx:/run/x", f"'unx' {FIRST_LABEL_IS_NO_KIND}did you mean 'unix'?", ""),
    ("systmd:NAME", f"'systmd' {FIRST_LABEL_IS_NO_KIND}did you mean 'systemd'?", ""),
    ("zz:x:1", f"'zz' {FIRST_LABEL_IS_NO_KIND}known are {', '.join(KINDS)}", ""),
    # URLs
    ("tcp://host:80", "an endpoint is not a URL: write 'tcp:host:80'", "tcp:"),
    ("tls://[::1]", "an endpoint is not a URL: write 'tls:[::1]:PORT'", "tls:"),
    ("http://x", "an endpoint is not a URL: write 'tcp:x:80'", "http:"),
    ("HTTPS://x/path?q", "an endpoint is not a URL: write 'tls:x:443'", "HTTPS:"),
    ("wss://x:1/path", "an endpoint is not a URL: write 'tls:x:1'", "wss:"),
    ("ftp://x", "an endpoint is not a URL: write 'tcp:x:PORT'", "ftp:"),
    ("unix:///run/x", "an endpoint is not a URL: write 'unix:/run/x'", "unix:"),
    # brackets
    ("::1", BRACKETS, ""),
    ("::1:80", BRACKETS, ""),
    ("tcp:::1:80", BRACKETS, "tcp:"),
    ("tcp:fe80::1%eth0:80", BRACKETS, "tcp:"),
    ("tcp:1:2:3:4:5:6:7:8:80", BRACKETS, "tcp:"),
    ("tcp:[::1:80", AFTER_BRACKET, "tcp:"),
    ("tcp:[::1]", AFTER_BRACKET, "tcp:[::1]"),
    ("tcp:[::1]80", AFTER_BRACKET, "tcp:[::1]"),
    ("tcp:[::1]:80:9", "one ':' too many", "tcp:[::1]:80"),
    ("tcp:a:b:80", "one ':' too many: expected host:port, such as 'tcp:localhost:8000'", "tcp:a:b"),
    ("::]", "one ':' too many", ":"),
    ("tcp:a[b:80", "a host cannot contain '['", "tcp:a"),
    ("tcp:[::g]:80", "'::g' is not an IPv6 address", "tcp:[::"),
    ("tcp:[1.2.3.4]:80", "'1.2.3.4' is not an IPv6 address", "tcp:["),
    ("tcp:[]:80", "'' is not an IPv6 address", "tcp:["),
    ("tcp:[::1%]:80", "'::1%' is not an IPv6 address", "tcp:[::1"),
    ("tcp:[::1%a/b]:80", "'::1%a/b' is not an IPv6 address", "tcp:[::1%a"),
    # hosts
    ("tcp:a b:80", "a host cannot contain ' '", "tcp:a"),
    ("tcp:a/b:80", "a host cannot contain '/'", "tcp:a"),
    ("tcp:a#b:80", "a host cannot contain '#'", "tcp:a"),
    ("tcp:u@b:80", "a host cannot contain '@'", "tcp:u"),
    ("tcp:a%62:80", "a host cannot contain '%'", "tcp:a"),
    ("tcp:a\u200bb:80", "a host cannot contain U+200B", "tcp:a"),
    ("tcp:a\u3000b:80", "a host cannot contain U+3000", "tcp:a"),
    ("tcp:\uff11.1:80", "'\uff11' only looks like '1': write that", "tcp:"),
    ("tcp:example\u3002org:80", "'\u3002' only looks like '.': write that", "tcp:example"),
    ("tcp:a..b:80", LABELS, "tcp:a."),
    ("tcp:.a:80", LABELS, "tcp:"),
    (f"tcp:{'a' * 64}:80", LABELS, f"tcp:{'a' * 63}"),
    (f"tcp:{'a.' * 127}a:80", LABELS, f"tcp:{'a.' * 126}a"),
    ("tcp:127.1:80", f"'127.1' {IPV4}", "tcp:"),
    ("tcp:2130706433:80", f"'2130706433' {IPV4}", "tcp:"),
    ("tcp:0x7f.1:80", f"'0x7f.1' {IPV4}", "tcp:"),
    ("tcp:010.0.0.1:80", f"'010.0.0.1' {IPV4}", "tcp:"),
    ("tcp:1.2.3.256:80", f"'1.2.3.256' {IPV4}", "tcp:"),
    ("tcp:127.0.0.1.:80", f"'127.0.0.1.' {IPV4}", "tcp:"),
    # the other kinds
    ("unix:", "expected a path, as in 'unix:/run/app.sock'", "unix:"),
    ("unix:@", "expected a path, as in 'unix:/run/app.sock'", "unix:"),
    ("stdio:x", "expected nothing after the colon, as in 'stdio:'", "stdio:"),
    ("fd:x", "expected the number of a file descriptor, as in 'fd:3'", "fd:"),
    ("fd:-1", "expected the number of a file descriptor, as in 'fd:3'", "fd:"),
    ("systemd:", "expected a name, as in 'systemd:NAME'", "systemd:"),
    ("memory:?backlog=1", "expected a name, as in 'memory:name'", "memory:"),
    ("exec:", "expected a command, as in 'exec:command arguments'", "exec:"),
    # percent-encoding
    ("unix:/x%4", "'%' must be followed by two hexadecimal digits ('%25' is a '%')", "unix:/x"),
    ("/100%", "'%' must be followed by two hexadecimal digits", "/100"),
    ("unix:/é%41%ff", "these percent-encoded bytes are not UTF-8", "unix:/é%41"),
    ("unix:/é%C3%A9%0A", "U+000A cannot stand in an endpoint", "unix:/é%C3%A9"),
    ("unix:/%00", "U+0000 cannot stand in an endpoint", "unix:/"),
    ("tls:1?cert=%zz", "'%' must be followed by two hexadecimal digits", "tls:1?cert="),
    # options
    ("tcp:80?", "expected option=value", "tcp:80?"),
    ("tcp:80?backlog", "expected option=value", "tcp:80?backlog"),
    ("tcp:80?=5", "expected option=value", "tcp:80?"),
    ("tcp:80?backlog=5&", "expected option=value", "tcp:80?backlog=5&"),
    ("tcp:80?backlog=5&&timeout=1", "expected option=value", "tcp:80?backlog=5&"),
    ("tcp:80?backlgo=5", "unknown option 'backlgo': did you mean 'backlog'?", "tcp:80?"),
    ("tcp:80?timeout=5&zz=5", "unknown option 'zz': known are backlog, ", "tcp:80?timeout=5&"),
    ("stdio:?backlog=5", "'backlog' is for tcp, tls, unix, fd, memory, not for stdio", "stdio:?"),
    ("tcp:80?mode=660", "the option 'mode' is for unix, not for tcp", "tcp:80?"),
    ("tcp:80?cert=x", "the option 'cert' is for tls, not for tcp", "tcp:80?"),
    ("udp:80?via=http://x", "the option 'via' is for tcp, tls, not for udp", "udp:80?"),
    ("tcp:80?backlog=1&backlog=2", "the option 'backlog' is given twice", "tcp:80?backlog=1&"),
    ("tcp:80?backlog=0", "expected a whole number above 0, not '0'", "tcp:80?backlog="),
    ("tcp:80?backlog=", "expected a whole number above 0, not ''", "tcp:80?backlog="),
    ("tls:1?cert=", "expected a value, not ''", "tls:1?cert="),
    ("tcp:80?reuse_port=maybe", "expected yes or no, not 'maybe'", "tcp:80?reuse_port="),
    ("tcp:a:1?timeout=0", SECONDS + "'0'", "tcp:a:1?timeout="),
    ("tcp:a:1?timeout=-1", SECONDS + "'-1'", "tcp:a:1?timeout="),
    ("tcp:a:1?timeout=inf", SECONDS + "'inf'", "tcp:a:1?timeout="),
    ("tcp:a:1?timeout=1e999", SECONDS + "'1e999'", "tcp:a:1?timeout="),
    ("unix:x?mode=888", MODE + "'888'", "unix:x?mode="),
    ("unix:x?mode=0o660", MODE + "'0o660'", "unix:x?mode="),
    ("unix:x?mode=1777", MODE + "'1777'", "unix:x?mode="),
    (
        "tcp:1?proxy_protocol=10.0.0.0/8,10.0.0.1/8",
        NETWORK + "'10.0.0.1/8': host bits are set, write 10.0.0.0/8\n",
        "tcp:1?proxy_protocol=10.0.0.0/8,",
    ),
    ("tcp:1?proxy_protocol=lan", NETWORK + "'lan'", "tcp:1?proxy_protocol="),
    ("tls:1?alpn=h2,,x", "expected names with ',' between, such as h2,http/1.1, not ''", "tls:1?alpn=h2,"),
    ("tls:1?client_cert=no", "expected optional or required, not 'no'", "tls:1?client_cert="),
    ("tls:a:1?server_name=a b", "expected the name of a host, not 'a b'", "tls:a:1?server_name="),
    ("tcp:a:1?via=proxy:1080", PROXY, "tcp:a:1?via="),
    (
        "tcp:a:1?via=http://u:p@ss:w@h:1",
        PROXY + "; in a user or password '@' is written '%40', and '/'",
        "tcp:a:1?via=",
    ),
    ("ssl:8443", "'ssl' is not a kind of endpoint: did you mean 'tls:8443'? (If it is a host: 'tcp:ssl:8443')", ""),
    ("HTTPS:443?timeout=3", "did you mean 'tls:443'? (If it is a host: 'tcp:HTTPS:443')", ""),
    ("tcp:a:1?via=http://", PROXY, "tcp:a:1?via="),
    ("tcp:a:1?via=http://h/path", PROXY, "tcp:a:1?via="),
    ("tcp:a:1?via=http://%0d%0a:x@h", "U+000D cannot stand in an endpoint", "tcp:a:1?via=http://"),
]


@pytest.mark.parametrize(("text", "sentence", "before"), REFUSED, ids=[ascii(row[0])[:60] for row in REFUSED])
def test_what_is_wrong_is_said_and_shown(text: str, sentence: str, before: str) -> None:
    with pytest.raises(EndpointError) as caught:
        Endpoint.parse(text)
    assert sentence in str(caught.value)
    assert caught.value.position == len(before)
    assert str(caught.value).endswith(f"\n  {' ' * len(before)}^")


# (value, endpoint)
VALUES: list[tuple[Any, Endpoint]] = [
    (8000, Endpoint(TCP, port=8000)),
    (0, Endpoint(TCP, port=0)),
    (("localhost", 80), Endpoint(TCP, "localhost", 80)),
    (("localhost", "http"), Endpoint(TCP, "localhost", "http")),
    (("localhost", "80"), Endpoint(TCP, "localhost", 80)),
    (("", 80), Endpoint(TCP, port=80)),
    (("*", 80), Endpoint(TCP, port=80)),
    (("::1", 80), Endpoint(TCP, "::1", 80)),
    (("::1", 80, 0, 0), Endpoint(TCP, "::1", 80)),
    (("fe80::1", 80, 0, 2), Endpoint(TCP, "fe80::1%2", 80)),
    (("fe80::1%eth0", 80, 0, 2), Endpoint(TCP, "fe80::1%eth0", 80)),
    (Path("/run/app.sock"), Endpoint("unix", path="/run/app.sock")),
    (Path("/a b%3F"), Endpoint("unix", path="/a b%3F")),
    (Path("@not-abstract"), Endpoint("unix", path="./@not-abstract")),
]


@pytest.mark.parametrize(("value", "expected"), VALUES, ids=[repr(row[0]) for row in VALUES])
def test_values_that_are_not_text(value: Any, expected: Endpoint) -> None:
    endpoint = Endpoint.parse(value)
    assert endpoint == expected
    assert Endpoint.parse(str(endpoint)) == endpoint


# (value, sentence)
REFUSED_VALUES: list[tuple[Any, str]] = [
    ("", SPACE),
    (True, "expected a port, a number or the name of a service, not True"),
    (-1, PORT + "not '-1'"),
    (65536, PORT + "not '65536'"),
    (3.5, "expected a port, (host, port), a path or text, not float"),
    (b"tcp:80", "expected a port, (host, port), a path or text, not bytes"),
    (None, "expected a port, (host, port), a path or text, not NoneType"),
    (("localhost",), "expected (host, port) or (host, port, flowinfo, scope_id), not ('localhost',)"),
    (("::1", 80, 0), "expected (host, port) or (host, port, flowinfo, scope_id)"),
    ((None, 80), "expected (host, port) or (host, port, flowinfo, scope_id)"),
    (("localhost", True), "expected a port, a number or the name of a service, not True"),
    (("[::1]", 80), "'[::1]' is not an IPv6 address"),
    (("127.1", 80), f"'127.1' {IPV4}"),
    (("a b", 80), "a host cannot contain ' '"),
    (("a.example", 80, 0, 3), "a host cannot contain '%'"),
    (Path("/a\nb"), "U+000A cannot stand in an endpoint"),
    (Path(os.fsdecode(b"/\xff")), "these percent-encoded bytes are not UTF-8"),
]


@pytest.mark.parametrize(("value", "sentence"), REFUSED_VALUES, ids=[ascii(row[0]) for row in REFUSED_VALUES])
def test_values_that_are_refused_have_no_position(value: Any, sentence: str) -> None:
    with pytest.raises(EndpointError) as caught:
        Endpoint.parse(value)
    assert sentence in str(caught.value)
    assert (caught.value.text, caught.value.position) == ("", None)


def test_an_endpoint_is_returned_as_it_is() -> None:
    endpoint = Endpoint.parse(80)
    assert Endpoint.parse(endpoint) is endpoint


def test_endpoints_are_frozen_hashable_values() -> None:
    endpoint = Endpoint.parse("tls:443?cert=c&key=k&alpn=h2")
    assert {endpoint: 1}[Endpoint.parse(str(endpoint))] == 1
    assert pickle.loads(pickle.dumps(endpoint)) == endpoint
    with pytest.raises(AttributeError):
        endpoint.port = 1  # type: ignore[misc]  # frozen is what this tests


def test_a_written_star_is_told_from_a_missing_host() -> None:
    assert Endpoint.parse("tcp:*:80") == Endpoint.parse("tcp:80")
    assert Endpoint.parse("tcp:*:80").wildcard
    assert Endpoint.parse(("*", 80)).wildcard
    assert not Endpoint.parse("tcp:80").wildcard


def test_with_port() -> None:
    endpoint = Endpoint.parse("tls:a:0?verify=no")
    assert str(endpoint.with_port(443)) == "tls:a:443?verify=no"
    assert endpoint.with_port("https").port == "https"
    with pytest.raises(EndpointError, match="not '70000'"):
        endpoint.with_port(70000)
    with pytest.raises(EndpointError, match="unix endpoints have no port"):
        Endpoint.parse("unix:x").with_port(1)


# (endpoint, options, canonical text)
WITH: list[tuple[str, dict[str, Any], str]] = [
    ("tcp:1", {"backlog": 5, "reuse_port": True}, "tcp:1?backlog=5&reuse_port=yes"),
    ("tcp:1?backlog=5", {"backlog": 6}, "tcp:1?backlog=6"),
    ("tcp:1?backlog=5&timeout=1", {"backlog": None}, "tcp:1?timeout=1"),
    ("tcp:1?backlog=5", {"backlog": None}, "tcp:1"),
    ("tcp:1", {"timeout": 0.5}, "tcp:1?timeout=0.5"),
    ("tcp:1", {"timeout": 2}, "tcp:1?timeout=2"),
    ("tls:1?cert=old", {"cert": ["a", "b,c"]}, "tls:1?cert=a&cert=b,c"),
    ("tls:1", {"cert": Path("a&verify=no")}, "tls:1?cert=a%26verify%3Dno"),
    ("tls:1", {"alpn": ("h2", "a,b")}, "tls:1?alpn=h2,a%2Cb"),
    ("tls:1", {"alpn": "h2,http/1.1"}, "tls:1?alpn=h2,http/1.1"),
    ("unix:x", {"mode": 0o600}, "unix:x?mode=600"),
    ("unix:x", {"mode": "600"}, "unix:x?mode=600"),
]


@pytest.mark.parametrize(("text", "options", "canonical"), WITH, ids=[row[2] for row in WITH])
def test_with_options(text: str, options: dict[str, Any], canonical: str) -> None:
    endpoint = Endpoint.parse(text).with_options(**options)
    assert str(endpoint) == canonical
    assert Endpoint.parse(canonical) == endpoint


# (endpoint, options, sentence)
WITH_REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("tcp:1", {"backlgo": 5}, "unknown option 'backlgo': did you mean 'backlog'?"),
    ("tcp:1", {"backlog=5&timeout": 5}, "unknown option"),
    ("tcp:1", {"mode": 0o600}, "the option 'mode' is for unix, not for tcp"),
    ("exec:x", {"backlog": 5}, "not for exec"),
    ("tcp:1", {"backlog": True}, "expected a whole number above 0, not 'yes'"),
    ("tcp:1", {"backlog": [1, 2]}, "expected a whole number above 0"),
    ("tcp:1", {"interface": b"lo"}, "the option 'interface' cannot be a bytes"),
    ("tcp:1", {"interface": "a\nb"}, "U+000A cannot stand in an endpoint"),
    ("tcp:1", {"timeout": float("nan")}, SECONDS),
    ("tcp:1", {"timeout": float("inf")}, SECONDS),
    ("tls:1", {"via": "http://h&verify=no"}, PROXY),
]


@pytest.mark.parametrize(("text", "options", "sentence"), WITH_REFUSED)
def test_with_options_refuses_what_parse_refuses(text: str, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(EndpointError) as caught:
        Endpoint.parse(text).with_options(**options)
    assert sentence in str(caught.value)


def test_get_has_a_default() -> None:
    assert Endpoint.parse("tcp:1").get("backlog") is None
    assert Endpoint.parse("tcp:1").get("backlog", 100) == 100


# Passwords


def test_passwords_are_in_str_but_not_in_repr_or_shown() -> None:
    endpoint = Endpoint.parse("tls:a:1?via=socks5://user:s3cret@h:1080&verify=no")
    assert "s3cret" in str(endpoint)
    assert endpoint.shown == "tls:a:1?verify=no&via=socks5://user:***@h:1080"
    assert repr(endpoint) == f"Endpoint({endpoint.shown!r})"


@pytest.mark.parametrize(
    "text",
    [
        "tcp:a:1?via=socks5://user:s3cret@h:99999999",
        "tcp:a:1?via=socks5://user:x/s3cret@h:1080",
        "tcp:a:1?via=socks5://user:x&s3cret@h:1080",
        "tcp:a:1?via=socks5://user:x@s3cret#@h:1080",
        "tcp:a:1?via=socks5%3A%2F%2Fuser%3As3cret%40h%3A1080",
        "tcp:a:1?via=socks5://:s3cret@h:1080&backlgo=5",
        "tcp:a:x!?via=http://user:s3cret@h",
        "http://user:s3cret@example.org",
        "http://user:x/s3cret@example.org",
    ],
)
def test_errors_do_not_show_passwords(text: str) -> None:
    with pytest.raises(EndpointError) as caught:
        Endpoint.parse(text)
    assert "s3cret" not in str(caught.value)
    assert "s3cret" not in caught.value.text
    assert len(caught.value.text) == len(text)


# Properties

PRINTABLE = st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp"))
LABEL = st.text(string.ascii_letters + string.digits + "-_ü", min_size=1, max_size=20)
NAMES = st.lists(LABEL, min_size=1, max_size=4).map(".".join).filter(lambda name: not name[-1].isdigit())
HOSTS = st.one_of(
    NAMES,
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(str),
    st.ip_addresses(v=6).map(lambda address: f"{address}%eth0"),
)
PORTS = st.integers(0, 65535) | st.from_regex(r"[a-z][a-z0-9-]{0,14}", fullmatch=True)
TEXTS = st.text(PRINTABLE, min_size=1)
ANY_OPTIONS = {
    "backlog": st.integers(1, 10**9 - 1),
    "reuse_port": st.booleans(),
    "timeout": st.floats(1e-6, 1e9),
    "interface": TEXTS,
    "proxy_protocol": st.lists(st.ip_addresses().map(str), min_size=1).map(tuple),
    "cert": st.lists(TEXTS, min_size=1).map(tuple),
    "alpn": st.lists(TEXTS, min_size=1).map(tuple),
    "verify": st.booleans(),
}


@given(HOSTS, PORTS, st.fixed_dictionaries({}, optional=ANY_OPTIONS))
def test_network_endpoints_come_back_from_text(host: str, port: int | str, options: dict[str, Any]) -> None:
    endpoint = Endpoint.parse((host, port))
    endpoint = Endpoint("tls", endpoint.host, endpoint.port).with_options(**options)
    again = Endpoint.parse(str(endpoint))
    assert again == endpoint
    assert str(again) == str(endpoint)
    for name, value in options.items():
        assert name == "proxy_protocol" or again.get(name) == value


@given(TEXTS.filter(lambda path: "\0" not in path and path not in ("@",)))
def test_paths_come_back_from_text(path: str) -> None:
    endpoint = Endpoint.parse(Path(path))
    assert Endpoint.parse(str(endpoint)) == endpoint
    assert str(endpoint).isprintable()
    assert " " not in str(endpoint)


ODD_TEXT = st.text() | st.text(alphabet=":/?&=%[]@.,*tcplsunix019é \n")


@given(ODD_TEXT | st.tuples(st.sampled_from(KINDS), ODD_TEXT).map(":".join))
def test_any_text_is_an_endpoint_that_comes_back_or_an_error_that_points_into_it(text: str) -> None:
    endpoint: Endpoint | None = None
    position: int | None = 0
    try:
        endpoint = Endpoint.parse(text)
    except EndpointError as error:
        position = error.position
    assert endpoint is None or Endpoint.parse(str(endpoint)) == endpoint
    assert position in range(len(text) + 1) if text else position is None


SOURCES = ["localhost", "127.1", "0x7f.1", "eth0", "10.0.0.1:", "10.0.0.1:65536", "10.0.0.1:1:2", "[10.0.0.1]:1"]


@pytest.mark.parametrize("source", [*SOURCES, "[::1", "::1]", "[::1]:x", "[::1]5", ":5000", "5000", "10.0.0.1:http"])
def test_a_source_is_an_address_with_or_without_a_port(source: str) -> None:
    with pytest.raises(EndpointError, match="expected an address, such as") as caught:
        Endpoint.parse(f"tcp:a:1?source={source}")
    assert caught.value.position == len("tcp:a:1?source=")

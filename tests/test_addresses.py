"""Addresses of sockets, as people see them."""

from __future__ import annotations

import socket

import pytest

from trews.addresses import from_name, is_address, is_group, literal, scope_id, shown

NUMBER, NAME = socket.if_nameindex()[0]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (("127.0.0.1", 80), ("127.0.0.1", 80)),
        (("::1", 80, 0, 0), ("::1", 80)),
        (("fe80::1%eth0", 80, 0, 2), ("fe80::1%eth0", 80)),
        (("fe80::1", 80, 0, NUMBER), (f"fe80::1%{NAME}", 80)),
        (("fe80::1", 80, 0, 99999), ("fe80::1%99999", 80)),  # an interface that is gone
        (("::ffff:127.0.0.1", 80, 0, 0), ("127.0.0.1", 80)),
        (("::ffff:1", 80, 0, 0), ("::ffff:1", 80)),
        ("/run/x.sock", "/run/x.sock"),
        ("", ""),
        (b"\0name", "@name"),
        (b"\0\xff", "@\\xff"),
        (None, None),
    ],
)
def test_from_name(name, expected):
    assert from_name(name) == expected


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (("127.0.0.1", 80), "127.0.0.1:80"),
        (("::1", 80), "[::1]:80"),
        (("localhost", 80), "localhost:80"),
        ("/run/x.sock", "/run/x.sock"),
        ("@name", "@name"),
        ("", "?"),
        (None, "?"),
    ],
)
def test_shown(address, expected):
    assert shown(address) == expected


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", ("127.0.0.1", 80)),
        ("::1", ("::1", 80, 0, 0)),
        ("fe80::1%2", ("fe80::1", 80, 0, 2)),
        (f"fe80::1%{NAME}", ("fe80::1", 80, 0, NUMBER)),
        *(
            (host, None)
            for host in ("localhost", "", "127.1", "0x7f.1", "2130706433", "010.0.0.1", "::1::", "127.0.0.1%2")
        ),
    ],
)
def test_literal(host, expected):
    assert literal(host, 80) == expected


@pytest.mark.parametrize("interface", ["nosuch0", "", "x" * 100, "1" * 5000, "²", "-1", "a\0b"])
def test_an_interface_that_is_not_there_is_one_sentence(interface):
    with pytest.raises(OSError, match=r"^there is no network interface '") as caught:
        scope_id(interface)
    assert caught.value.errno is None


@pytest.mark.parametrize(
    ("host", "answer"),
    [
        ("224.0.0.0", True),
        ("239.255.255.255", True),
        ("240.0.0.0", False),
        ("223.255.255.255", False),
        ("ff02::fb", True),
        ("ff02::fb%eth0", True),
        ("fe80::1", False),
        ("::", False),
        ("localhost", False),
        ("", False),
    ],
)
def test_what_is_a_group(host, answer):
    assert is_group(host) is answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [("127.0.0.1", True), ("::1", True), ("fe80::1%eth0", True)]
    + [(text, False) for text in ("localhost", "127.1", "", "eth0.100", "eth0:1", 2130706433, b"\x7f\0\0\1", None)],
)
def test_what_is_an_address(text, answer):
    assert is_address(text) is answer

"""Addresses of sockets, as people see them."""

from __future__ import annotations

import pytest

from trews.addresses import from_name, shown


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (("127.0.0.1", 80), ("127.0.0.1", 80)),
        (("::1", 80, 0, 0), ("::1", 80)),
        (("fe80::1%eth0", 80, 0, 2), ("fe80::1%eth0", 80)),
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

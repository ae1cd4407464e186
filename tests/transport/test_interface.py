"""Sockets that keep to one network interface."""

from __future__ import annotations

import errno
import os
import socket

import pytest

from trews import Endpoint, EndpointError
from trews.transport.interface import interface_index, interface_of, keep_to, needs_scope, with_scope

LOOPBACK = socket.if_nameindex()[0][1]

linux = pytest.mark.skipif(not hasattr(socket, "SO_BINDTODEVICE"), reason="SO_BINDTODEVICE is Linux's")


@linux
def test_a_socket_is_bound_to_it():
    with socket.socket() as sock:
        keep_to(sock, LOOPBACK)
        name = sock.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 32)
        assert name.rstrip(b"\0").decode() == LOOPBACK


@linux
@pytest.mark.parametrize("name", ["nosuch0", "x" * 100])
def test_an_interface_that_is_not_there_is_one_sentence(name):
    with socket.socket() as sock, pytest.raises(OSError, match=f"^there is no network interface '{name}'; there are: "):
        keep_to(sock, name)


@linux
@pytest.mark.parametrize(
    ("number", "sentence"),
    [(errno.EPERM, "^permission denied; before Linux 5.7"), (errno.ENOMEM, "^the network interface '\\w+' cannot be")],
)
def test_what_else_fails_is_one_sentence(monkeypatch, number, sentence):
    class Refusing(socket.socket):
        def setsockopt(self, *args):
            raise OSError(number, os.strerror(number))

    with Refusing() as sock, pytest.raises(OSError, match=sentence):
        keep_to(sock, LOOPBACK)


def test_where_the_system_cannot_do_it_the_option_is_refused(monkeypatch):
    monkeypatch.delattr(socket, "SO_BINDTODEVICE", raising=False)
    with pytest.raises(EndpointError, match="interface= is not to be had on this system; write an address"):
        interface_of(Endpoint.parse("tcp:localhost:80?interface=eth0"))
    assert interface_of(Endpoint.parse("tcp:localhost:80")) is None


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        *((host, True) for host in ("fe80::1", "FE80::1", "febf::1", "ff02::1")),
        *((host, False) for host in ("::1", "fec0::1", "fd00::2", "2001:db8::fe80", "ff05::1", "127.0.0.1", "fe::1")),
    ],
)
def test_which_addresses_need_an_interface(host, expected):
    assert needs_scope(host) is expected


def test_those_get_the_one_that_is_named():
    number = socket.if_nametoindex(LOOPBACK)
    assert with_scope(("fe80::1", 80, 0, 0), LOOPBACK) == ("fe80::1", 80, 0, number)
    assert with_scope(("fe80::1", 80, 0, 77), LOOPBACK) == ("fe80::1", 80, 0, 77)  # they have one
    assert with_scope(("2001:db8::1", 80, 0, 0), LOOPBACK) == ("2001:db8::1", 80, 0, 0)
    assert with_scope(("::1", 80, 0, 0), None) == ("::1", 80, 0, 0)
    with pytest.raises(OSError, match=r"^an address of one link only needs its interface: \[fe80::1%eth0\]$"):
        with_scope(("fe80::1", 80, 0, 0), None)
    with pytest.raises(OSError, match=r"^there is no network interface 'nosuch0'; there are: "):
        with_scope(("fe80::1", 80, 0, 0), "nosuch0")


def test_interfaces_by_name_and_number():
    assert interface_index(LOOPBACK) == socket.if_nametoindex(LOOPBACK)
    assert interface_index("17") == 17
    with pytest.raises(ValueError, match="no network interface"):
        interface_index("1" * 5000)

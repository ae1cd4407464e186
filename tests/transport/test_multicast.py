"""Groups: joining and leaving on real sockets of this machine, and what is said when that cannot be."""

from __future__ import annotations

import errno
import os
import socket
import struct
import subprocess
import sys

import pytest

from tests.conftest import absent
from trews.errors import ListenError
from trews.transport import multicast

GROUP = "239.255.40.1"
SOURCE_GROUP = "232.1.2.3"


def udp(family=socket.AF_INET, address=""):
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.settimeout(5)
    sock.bind((address, 0))
    return sock


def port(sock):
    return sock.getsockname()[1]


@pytest.fixture
def sender():
    with udp(address="127.0.0.1") as sock:
        multicast.set_outgoing(sock, "127.0.0.1", 0, True)
        yield sock


@pytest.fixture(scope="module")
def interface_v6():
    """An interface on which IPv6 groups work; on the loopback they do after

    ip -6 route add local ff00::/8 dev lo table local
    """
    group = socket.inet_pton(socket.AF_INET6, "ff02::4242")
    for index, name in socket.if_nameindex():
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            try:
                sock.settimeout(0.5)
                sock.bind(("::", 0))
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group + struct.pack("@I", index))
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
                sock.sendto(b"", ("ff02::4242", port(sock), 0, index))
                sock.recv(1)
            except OSError:
                continue
            return name
    return absent("no interface with multicast over IPv6")


@pytest.mark.parametrize("interface", ["127.0.0.1", "lo", str(socket.if_nametoindex("lo"))])
def test_what_is_sent_to_a_group_comes_until_it_is_left(sender, interface):
    with udp() as sock:
        multicast.join(sock, GROUP, interface, None)
        sender.sendto(b"in", (GROUP, port(sock)))
        assert sock.recvfrom(10) == (b"in", sender.getsockname())
        multicast.leave(sock, GROUP, interface, None)
        sender.sendto(b"out", (GROUP, port(sock)))
        sender.sendto(b"plain", ("127.0.0.1", port(sock)))
        assert sock.recv(10) == b"plain"


@pytest.mark.parametrize("interface", ["127.0.0.1", "lo"])
def test_from_one_source_only(sender, interface):
    with udp() as sock, udp(address="127.0.0.2") as other:
        multicast.set_outgoing(other, "lo", None, None)
        multicast.join(sock, SOURCE_GROUP, interface, "127.0.0.1")
        other.sendto(b"other", (SOURCE_GROUP, port(sock)))
        sender.sendto(b"right", (SOURCE_GROUP, port(sock)))
        assert sock.recv(10) == b"right"
        multicast.leave(sock, SOURCE_GROUP, interface, "127.0.0.1")
        sender.sendto(b"left", (SOURCE_GROUP, port(sock)))
        sender.sendto(b"plain", ("127.0.0.1", port(sock)))
        assert sock.recv(10) == b"plain"


def test_over_ipv6(interface_v6):
    with udp(socket.AF_INET6) as sock, udp(socket.AF_INET6) as sender:
        multicast.set_outgoing(sender, interface_v6, 1, True)
        multicast.join(sock, "ff02::4242", interface_v6, None)
        index = socket.if_nametoindex(interface_v6)
        sender.sendto(b"in", ("ff02::4242", port(sock), 0, index))
        data, address = sock.recvfrom(10)
        assert (data, address[1]) == (b"in", port(sender))
        multicast.leave(sock, "ff02::4242%" + interface_v6, None, None)
        sender.sendto(b"out", ("ff02::4242", port(sock), 0, index))
        sender.sendto(b"plain", ("::1", port(sock)))
        assert sock.recv(10) == b"plain"


def test_over_ipv6_from_one_source_only(interface_v6):
    with udp(socket.AF_INET6) as sock, udp(socket.AF_INET6) as sender:
        multicast.set_outgoing(sender, interface_v6, 1, True)
        index = socket.if_nametoindex(interface_v6)
        with udp(socket.AF_INET6) as probe:  # which address it will send from
            multicast.join(probe, "ff35::1", interface_v6, None)
            sender.sendto(b"", ("ff35::1", port(probe), 0, index))
            source = probe.recvfrom(10)[1][0]
        multicast.join(sock, "ff35::1", interface_v6, source)
        sender.sendto(b"in", ("ff35::1", port(sock), 0, index))
        assert sock.recv(10) == b"in"
        multicast.leave(sock, "ff35::1", interface_v6, source)
        multicast.join(sock, "ff35::1", interface_v6, "fd00::dead:1")
        sender.sendto(b"out", ("ff35::1", port(sock), 0, index))
        sender.sendto(b"plain", ("::1", port(sock)))
        assert sock.recv(10) == b"plain"


def test_groups_of_other_programs_do_not_come_in(sender):
    """ip(7), IP_MULTICAST_ALL: otherwise a socket on all addresses gets what anybody on the machine has joined."""
    with udp() as sock:
        other = [sys.executable, "-c", OTHER, GROUP]
        with subprocess.Popen(other, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdout.readline() == b"joined\n"
            multicast.join(sock, "239.255.40.2", "127.0.0.1", None)
            sender.sendto(b"theirs", (GROUP, port(sock)))
            sender.sendto(b"ours", ("239.255.40.2", port(sock)))
            assert sock.recv(10) == b"ours"
            process.communicate(timeout=20)


OTHER = """
import socket, sys
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.setsockopt(0, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(sys.argv[1]) + socket.inet_aton("127.0.0.1"))
print("joined", flush=True)
sys.stdin.read()
"""


def test_how_datagrams_leave():
    with udp() as sock, udp(socket.AF_INET6) as six:
        multicast.set_outgoing(sock, "127.0.0.1", 7, False)
        assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL) == 7
        assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP) == 0
        assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, 4) == socket.inet_aton("127.0.0.1")
        multicast.set_outgoing(six, "lo", 7, False)
        assert six.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS) == 7
        assert six.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP) == 0
        assert six.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF) == socket.if_nametoindex("lo")
        multicast.set_outgoing(sock, None, None, None)
        assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL) == 7


@pytest.mark.parametrize(
    ("group", "interface", "source", "message"),
    [
        ("10.0.0.1", None, None, "'10.0.0.1' is not a multicast group"),
        ("here", None, None, "'here' is not the address of a multicast group"),
        (GROUP, "nope0", None, "there is no network interface 'nope0'; there are: lo"),
        (GROUP, "lo", "::1", "the source '::1' is not of the same kind as the group"),
        (GROUP, "lo", "me", "'me' is not the address of a source"),
    ],
)
def test_what_makes_no_sense(group, interface, source, message):
    with udp() as sock, pytest.raises(ValueError, match=message):
        multicast.join(sock, group, interface, source)


def test_an_interface_for_ipv6_is_given_by_name():
    with udp(socket.AF_INET6) as sock, pytest.raises(ValueError, match="by its name, such as eth0, not as '::1'"):
        multicast.join(sock, "ff02::fb", "::1", None)


def test_what_the_system_refuses():
    with udp() as sock:
        multicast.join(sock, GROUP, "lo", None)
        with pytest.raises(ListenError, match=f"^cannot join {GROUP} on lo: it is joined already$") as caught:
            multicast.join(sock, GROUP, "lo", None)
        assert caught.value.errno == errno.EADDRINUSE
        with pytest.raises(ListenError, match=r"^cannot leave 239.255.40.9 on lo: it was not joined there$"):
            multicast.leave(sock, "239.255.40.9", "lo", None)
        with pytest.raises(ListenError, match=r"on 203.0.113.7: that interface cannot do multicast"):
            multicast.join(sock, GROUP, "203.0.113.7", None)
        with pytest.raises(ListenError, match=r"^cannot send to groups on 203.0.113.7: no interface has that address$"):
            multicast.set_outgoing(sock, "203.0.113.7", None, None)


def test_too_many_groups():
    with udp() as sock, pytest.raises(ListenError, match="too many groups on one socket"):
        for number in range(100_000):
            multicast.join(sock, f"239.{number >> 16}.{number >> 8 & 255}.{number & 255}", "lo", None)


class NoMulticast:
    """A socket of a machine whose interfaces cannot do it."""

    family = socket.AF_INET

    def setsockopt(self, level, option, value):
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))


def test_no_usable_interface_is_one_sentence():
    with pytest.raises(ListenError) as caught:
        multicast.join(NoMulticast(), GROUP, None, None)
    assert str(caught.value) == (
        f"cannot join {GROUP}: no interface of this machine can do multicast there; name one: interface=eth0"
    )


def test_elsewhere_the_order_of_the_structure_is_another(monkeypatch):
    calls = []

    class Sock:
        family = socket.AF_INET

        def setsockopt(self, *args):
            calls.append(args)

    monkeypatch.setattr(multicast, "_IS_LINUX", False)
    multicast.join(Sock(), SOURCE_GROUP, "127.0.0.1", "10.0.0.9")
    ((_, _, value),) = calls
    assert [socket.inet_ntoa(part) for part in struct.unpack("4s4s4s", value)] == [
        SOURCE_GROUP,
        "10.0.0.9",
        "127.0.0.1",
    ]
    with pytest.raises(ListenError, match="for Linux only"):
        multicast.join(Sock(), SOURCE_GROUP, "lo", "10.0.0.9")

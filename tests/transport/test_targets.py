"""The addresses that a client may try. (That they are tried, and what comes of it: test_connector, test_bound.)"""

from __future__ import annotations

import socket

import pytest

import trews
from trews import ConnectError, Endpoint, Resolver
from trews.transport.targets import source_of, targets, timed_out

NUMBER, NAME = socket.if_nameindex()[0]
NAMES = Resolver(overrides={"both": ["::1", "127.0.0.1"], "near": ["fe80::1", "127.0.0.1"]})


def found(text: str, kind: int = socket.SOCK_STREAM):
    """What may be tried, and what is left out."""
    endpoint = Endpoint.parse(text)
    attempts: list[tuple[str, str]] = []
    usable = trews.run(targets(endpoint.host, endpoint.port or 0, endpoint, attempts, NAMES, kind))
    return usable, attempts


@pytest.mark.parametrize(
    ("rest", "usable", "left_out"),
    [
        ("both:7", [("::1", 7, 0, 0), ("127.0.0.1", 7)], []),
        ("127.0.0.1:7", [("127.0.0.1", 7)], []),
        ("both:7?ipv6only=yes", [("::1", 7, 0, 0)], [("127.0.0.1:7", "left out, for ipv6only=yes")]),
        (
            "both:7?source=127.0.0.2:99",
            [("127.0.0.1", 7)],
            [("[::1]:7", "left out, for source=127.0.0.2:99 is an address of IPv4")],
        ),
        (
            "near:7",
            [("127.0.0.1", 7)],
            [("[fe80::1]:7", "an address of one link only needs its interface: [fe80::1%eth0]")],
        ),
        (f"near:7?interface={NAME}", [("fe80::1", 7, 0, NUMBER), ("127.0.0.1", 7)], []),
        ("[ff02::1]:7", [("ff02::1", 7, 0, 0)], []),
        (f"[ff02::1]:7?interface={NAME}", [("ff02::1", 7, 0, NUMBER)], []),
        (f"[ff02::1%{NAME}]:7", [("ff02::1", 7, 0, NUMBER)], []),
    ],
)
@pytest.mark.parametrize("scheme", ["tcp", "udp"])
def test_what_the_endpoint_allows(scheme, rest, usable, left_out):
    assert found(f"{scheme}:{rest}") == (usable, left_out)


def test_no_host_is_this_machine():
    hosts = {address[0] for address in found("udp:0")[0]}
    assert hosts
    assert hosts <= {"127.0.0.1", "::1"}


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_service_is_looked_up_for_that_kind_of_socket(kind, monkeypatch):
    asked = []

    def getaddrinfo(host, service, type, flags):
        asked.append((host, service, type))
        return [(socket.AF_INET, type, 0, "", ("0.0.0.0", 69))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    assert found("127.0.0.1:tftp", kind)[0] == [("127.0.0.1", 69)]
    assert asked == [(None, "tftp", kind)]


@pytest.mark.parametrize(
    ("text", "why"),
    [("127.0.0.1:nosuchservice", "the service 'nosuchservice' is not known"), ("udp:none.invalid:7", "the host 'none")],
)
def test_unknown_names_are_one_sentence(text, why):
    with pytest.raises(ConnectError, match=f"^cannot connect to {Endpoint.parse(text)}: .*{why}"):
        found(text)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("10.0.0.1", ("10.0.0.1", 0)),
        ("10.0.0.1:5000", ("10.0.0.1", 5000)),
        ("::1", ("::1", 0, 0, 0)),
        ("[::1]:5000", ("::1", 5000, 0, 0)),
        (f"fe80::1%25{NAME}", ("fe80::1", 0, 0, NUMBER)),
        (f"fe80::1&interface={NAME}", ("fe80::1", 0, 0, NUMBER)),
    ],
)
@pytest.mark.parametrize("scheme", ["tcp", "udp"])
def test_sources(scheme, source, expected):
    assert source_of(Endpoint.parse(f"{scheme}:localhost:7?source={source}")) == expected


def test_no_source():
    assert source_of(Endpoint.parse("tcp:localhost:7")) is None


def test_a_source_of_one_link_needs_its_interface():
    with pytest.raises(OSError, match="an address of one link only needs its interface"):
        source_of(Endpoint.parse("tcp:localhost:7?source=fe80::1"))


def test_what_has_not_failed_by_the_end_of_the_time_had_no_answer():
    endpoint = Endpoint.parse("tcp:localhost:7")
    error = timed_out(endpoint, [("a", "refused"), ("b", "")], 2)
    assert str(error).endswith("a: refused; b: no answer within 2 s")
    assert "tcp:localhost:7: no answer within 2 s" in str(timed_out(endpoint, [], 2))

"""What `Connection.tls` tells."""

from __future__ import annotations

import asyncio

import pytest

from tests.servers import virtually
from tests.tlspeer import V12, VERSIONS, contexts, memory_ends, secured
from trews.transport.tls import TLSSocket

BOTH_VERSIONS = pytest.mark.parametrize("version", VERSIONS.values(), ids=VERSIONS)


@BOTH_VERSIONS
@virtually
async def test_what_is_known(version):
    async with secured(version=version) as (connection, _peer):
        tls = connection.tls
        name = "TLSv1.2" if version is V12 else "TLSv1.3"
        assert tls.version == name
        assert "AES" in tls.cipher or "CHACHA" in tls.cipher
        assert tls.alpn is None
        assert tls.peer_certificate is None
        assert tls.peer_certificate_der is None
        assert tls.is_resumed is False
        assert name in repr(tls)
    assert tls.version == name  # also after its end
    async with secured(version=version, server_side=False) as (connection, _peer):
        assert ("DNS", "localhost") in connection.tls.peer_certificate["subjectAltName"]
        assert connection.tls.peer_certificate_der.startswith(b"0\x82")
        assert connection.tls.server_name == "localhost"


@virtually
async def test_in_the_handshake_nothing_is_known_and_nothing_raises():
    near, _ = memory_ends()
    loop = asyncio.get_running_loop()
    tls = TLSSocket(loop, near, near, contexts()[1], server_side=True).tls
    assert (tls.version, tls.cipher, tls.alpn, tls.server_name) == ("", "", None, None)
    assert (tls.peer_certificate, tls.peer_certificate_der, tls.is_resumed) == (None, None, False)
    assert "alpn" in repr(tls)


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("localhost", "localhost"),
        ("localhost.", "localhost"),
        ("b\u00fccher.example", "xn--bcher-kva.example"),
        ("127.0.0.1", "127.0.0.1"),
        ("fe80::1%eth0", "fe80::1"),
    ],
)
@virtually
async def test_the_name_that_is_asked_for_is_as_certificates_have_it(name, asked):
    near, _ = memory_ends()
    loop = asyncio.get_running_loop()
    tls = TLSSocket(loop, near, near, contexts()[0], server_side=False, server_name=name).tls
    assert tls.server_name == asked


@pytest.mark.parametrize("name", ["a" * 64 + ".example", "a" * 300, "..", "."])
@virtually
async def test_a_name_that_is_none(name):
    near, _ = memory_ends()
    loop = asyncio.get_running_loop()
    with pytest.raises(ValueError, match="cannot be the name of a server"):
        TLSSocket(loop, near, near, contexts()[0], server_side=False, server_name=name)

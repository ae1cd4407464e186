"""Errors of TLS as sentences: from handshakes that really fail, seen from both sides."""

import errno
import shutil
import ssl
import subprocess

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.conftest import absent
from tests.handshakes import DAY, NOW, Authority, shake
from trews.transport.tls_errors import _REASONS, _REFUSED, explain


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("stranger"))


@pytest.fixture(scope="module")
def pem(authority):
    return authority.issue("server.pem", "localhost", "127.0.0.1")


def serving(path):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(path)
    return context


def told(done):
    """What a client that wanted the host `mail`, and its server, make of how a handshake went."""
    return (
        explain(done.client, server_side=False, host="mail") if done.client else "",
        explain(done.server, server_side=True) if done.server else "",
    )


def test_an_authority_that_the_client_does_not_know(pem, stranger):
    client, server = told(shake(serving(pem), stranger.trusting()))
    assert client == (
        "the certificate of mail is signed by an authority that is not trusted here: trust a private one with ca=FILE, "
        "or in an SSLContext of your own (or mail does not send its whole chain)"
    )
    assert "the client does not trust this server's certificate" in server


@pytest.mark.parametrize(
    ("age", "client_says", "server_says"),
    [
        (9, "has expired: it must be renewed there", "the client says that this server's certificate has expired"),
        (-9, "is not valid yet (or the clock of this machine is wrong)", "the client refuses this server's"),
    ],
)
def test_a_certificate_out_of_its_time(authority, age, client_says, server_says):
    path = authority.issue("date.pem", "localhost", age=age, days=3)
    client, server = told(shake(serving(path), authority.trusting()))
    assert client_says in client
    assert server_says in server


@pytest.mark.parametrize("name", ["other.example", "127.0.0.2"])
def test_a_certificate_for_other_names(authority, pem, name):
    client, server = told(shake(serving(pem), authority.trusting(), name))
    assert client.startswith("the certificate of mail is for other names: ")
    assert "openssl s_client" in client
    assert "server_name=NAME" in client
    assert "the client refuses this server's certificate" in server


def test_a_certificate_that_signed_itself(authority, tmp_path):
    if shutil.which("openssl") is None:
        absent("there is no openssl")
    both = ["-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "cert.pem")]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *both, "-subj", "/CN=localhost"],
        check=True,
        capture_output=True,
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    client, _ = told(shake(context, authority.trusting()))
    assert client == (
        "mail has signed its certificate itself: if you know that it is the right one, trust it with ca=FILE, or in an "
        "SSLContext of your own"
    )


def test_a_certificate_without_the_identifier_of_its_authoritys_key(authority, tmp_path):
    ca = x509.load_pem_x509_certificate(authority.ca.cert_pem.bytes())
    ca_key = serialization.load_pem_private_key(authority.ca.private_key_pem.bytes(), None)
    key = ec.generate_private_key(ec.SECP256R1())
    names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    made = x509.CertificateBuilder(ca.subject, x509.Name([]), key.public_key(), 7, NOW - DAY, NOW + DAY)
    cert = made.add_extension(names, critical=True).sign(ca_key, hashes.SHA256())
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    pem, path = serialization.Encoding.PEM, tmp_path / "both.pem"
    path.write_bytes(cert.public_bytes(pem) + key.private_bytes(pem, *plain))
    context = authority.trusting()
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    client, _ = told(shake(serving(path), context))
    assert client.startswith("the certificate of mail does not say which key has signed it (Missing Authority Key")
    assert "authorityKeyIdentifier = keyid" in client


# (what the client shows, what both say)
CLIENT_CERTIFICATES = [
    ("", "{host} ", "the client shows no certificate, and client_ca= requires one"),
    ("stranger", "{host} does not trust this client's certificate", "is not signed by an authority in client_ca="),
    ("expired", "{host} says that this client's certificate has expired", "the client's certificate has expired"),
    ("early", "{host} refuses this client's certificate", "the client's certificate is not valid yet"),
]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(("shown", "client_says", "server_says"), CLIENT_CERTIFICATES)
def test_certificates_of_clients(authority, stranger, pem, version, shown, client_says, server_says):
    server = serving(pem)
    server.load_verify_locations(authority.path)
    server.verify_mode = ssl.CERT_REQUIRED
    client = authority.trusting()
    client.maximum_version = version
    if shown:
        issuer = stranger if shown == "stranger" else authority
        client.load_cert_chain(issuer.issue("me.pem", "me", age={"expired": 9, "early": -9}.get(shown, 0), days=3))
    by_client, by_server = told(shake(server, client))
    assert client_says.format(host="mail") in by_client
    assert "cert=" in by_client or shown == "early"
    assert server_says in by_server


@pytest.mark.parametrize("newer", ["server", "client"])
def test_no_version_in_common(authority, pem, newer):
    server, client = serving(pem), authority.trusting()
    new, old = (server, client) if newer == "server" else (client, server)
    new.minimum_version = ssl.TLSVersion.TLSv1_3
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    by_client, by_server = told(shake(server, client))
    assert by_client == "mail knows none of the versions of TLS that are allowed here (1.2 and 1.3)"
    assert by_server == "the client knows none of the versions of TLS that are allowed here (1.2 and 1.3)"


def test_no_cipher_in_common(authority, pem):
    server, client = serving(pem), authority.trusting()
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    server.set_ciphers("AES128+ECDHE")
    client.set_ciphers("AES256+ECDHE")
    by_client, by_server = told(shake(server, client))
    assert "has no cipher in common" in by_client
    assert by_server == "the client has no cipher in common with this server"


# (what comes to a server, what it says)
TO_SERVER = [
    (b"GET / HTTP/1.1\r\n\r\n", "the client speaks plain HTTP to this TLS port: its URL must begin with https://"),
    (b"POST / HTTP/1.1\r\n\r\n", "the client speaks plain HTTP"),
    (b"CONNECT a:443 HTTP/1.1\r\n\r\n", "the client takes this TLS port for an HTTP proxy"),
    (b"DELETE / HTTP/1.1\r\n\r\n", "the client does not speak TLS: it sent something else to this port"),
    (b"EHLO example.org\r\n", "the client does not speak TLS"),
    (b"\x00" * 40, "the client does not speak TLS"),
    (b"\x16\x03\x01\xff\xff" + b"a" * 40, "the client does not speak TLS"),
    (b"\x16\x03\x01\x00\x05aaaaaaa", "what came from the client is not right TLS"),
    (b"\x15\x03\x01\x00\x02\x02\x30", "what came from the client is not right TLS"),
]


@pytest.mark.parametrize(("data", "said"), TO_SERVER)
def test_plain_text_to_a_server(pem, data, said):
    incoming = ssl.MemoryBIO()
    tls = serving(pem).wrap_bio(incoming, ssl.MemoryBIO(), server_side=True)
    incoming.write(data)
    with pytest.raises(ssl.SSLError) as caught:
        tls.do_handshake()
    assert said in explain(caught.value, server_side=True)


def alert(number):
    return bytes([0x15, 3, 3, 0, 2, 2, number])


# (what comes to a client, what it says)
TO_CLIENT = [
    (b"HTTP/1.1 400 Bad Request\r\n\r\n", "mail does not speak TLS on this port: is it another port, or a tcp: "),
    (b"220 example.org ESMTP\r\n", "mail does not speak TLS on this port"),
    (b"SSH-2.0-OpenSSH_9\r\n", "mail does not speak TLS on this port"),
    (alert(40), "mail broke off the handshake: it may require a certificate"),
    (alert(42), "mail refuses this client's certificate"),
    (alert(46), "mail refuses this client's certificate"),
    (alert(49), "mail refuses this client's certificate"),
    (alert(70), "mail knows none of the versions"),
    (alert(80), "mail had a fault of its own"),
    (alert(112), "mail has no certificate for that name: say with server_name=NAME which one it has"),
    (alert(120), "mail speaks none of the protocols in alpn="),
    (alert(71), "mail broke off TLS: insufficient security"),
]


@pytest.mark.parametrize(("data", "said"), TO_CLIENT)
def test_plain_text_and_alerts_to_a_client(authority, data, said):
    incoming = ssl.MemoryBIO()
    tls = authority.trusting().wrap_bio(incoming, ssl.MemoryBIO(), server_hostname="localhost")
    incoming.write(data)
    with pytest.raises(ssl.SSLError) as caught:
        tls.do_handshake()
    assert said in explain(caught.value, server_side=False, host="mail")


def test_what_was_changed_on_the_way(authority, pem):
    done = shake(serving(pem), authority.trusting())
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = authority.trusting().wrap_bio(to_client, to_server, server_hostname="localhost")
    server = serving(pem).wrap_bio(to_server, to_client, server_side=True)
    for _ in range(3):
        for tls in (client, server):
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                pass
    client.write(b"hello")
    record = bytearray(to_server.read())
    record[-1] ^= 1
    to_server.write(record)
    for tls, side in ((server, "server"), (client, "client")):
        try:
            tls.read(9)
        except ssl.SSLError as exc:
            setattr(done, side, exc)
    by_client, by_server = told(done)
    assert by_server == (
        "what came from the client is not right TLS: it is broken, or somebody has changed it on the way"
    )
    assert by_client == "what was sent did not reach mail unchanged"


@pytest.mark.parametrize(
    "answer", [lambda hello: hello, lambda _: b"\x16\x03\x01\x00\x05aaaaaaa"], ids=["echo", "junk"]
)
def test_what_is_no_answer_of_tls_may_be_no_tls_at_all(authority, answer):
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = authority.trusting().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    incoming.write(answer(outgoing.read()))
    with pytest.raises(ssl.SSLError) as caught:
        tls.do_handshake()
    assert explain(caught.value, server_side=False, host="mail") == (
        "what came from mail is not right TLS: mail does not speak TLS on this port, or somebody has changed "
        "it on the way"
    )


@pytest.mark.parametrize("is_server", [True, False])
def test_an_end_in_the_handshake(authority, pem, is_server):
    incoming = ssl.MemoryBIO()
    context = serving(pem) if is_server else authority.trusting()
    tls = context.wrap_bio(incoming, ssl.MemoryBIO(), is_server, None if is_server else "localhost")
    incoming.write_eof()
    with pytest.raises(ssl.SSLEOFError) as caught:
        tls.do_handshake()
    for exc in (caught.value, ConnectionResetError(errno.ECONNRESET, "reset"), ssl.SSLZeroReturnError()):
        said = explain(exc, server_side=is_server, host="mail")
        assert "closed the connection during the TLS handshake" in said
        assert said.startswith("the client" if is_server else "mail")


def test_time_that_ran_out_and_what_is_not_of_tls():
    assert explain(TimeoutError(), server_side=True) == "the client did not finish the TLS handshake in time"
    assert explain(TimeoutError(), server_side=False).startswith("the server did not finish the TLS handshake in time")
    assert explain(OSError(errno.EHOSTUNREACH, "x"), server_side=False) == "the host cannot be reached"


def test_what_is_in_no_table_is_told_in_the_words_of_openssl():
    assert explain(ssl.SSLError(), server_side=True) == "TLS failed: for an unknown reason"
    odd = ssl.SSLError(1, "[SSL] some {odd} thing (_ssl.c:1006)")
    assert explain(odd, server_side=False, host="mail") == "TLS with mail failed: some {odd} thing"
    unverified = ssl.SSLCertVerificationError(1, "x")
    assert explain(unverified, server_side=True) == "the client's certificate is refused: it cannot be verified"
    unverified = ssl.SSLCertVerificationError(1, "x")
    unverified.verify_code, unverified.verify_message = 999, "Missing {Authority} Key Identifier."
    expected = "the certificate of mail is refused: Missing {Authority} Key Identifier"
    assert explain(unverified, server_side=False, host="mail") == expected
    expected = "the client's certificate is refused: Missing {Authority} Key Identifier"
    assert explain(unverified, server_side=True) == expected


def test_newer_openssl_writes_alerts_in_another_way():
    """3.2 and later: "ssl/tls alert", which Pythons that know no name for it give as text only."""
    newer = ssl.SSLError(1, "[SSL] ssl/tls alert handshake failure (_ssl.c:1006)")
    assert "broke off the handshake" in explain(newer, server_side=False)


@pytest.mark.parametrize("both", [*_REASONS.values(), *_REFUSED.values()])
def test_every_sentence_is_one_and_takes_any_host(both):
    for said in (both[0], both[1].format(host="{odd}")):
        assert said
        assert not said.endswith(".")
        assert "\n" not in said

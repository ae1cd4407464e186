"""The contexts of servers: options, several certificates, clients' certificates, what is negotiated."""

import gc
import socket
import ssl
import subprocess
import sys
import threading

import pytest

from tests.handshakes import Authority, shake
from trews.endpoint import Endpoint
from trews.errors import EndpointError, ListenError
from trews.transport import certificates
from trews.transport.certificates import ServerContext, asked_for, explain


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def cert(authority):
    return authority.issue("server.pem", "localhost", "127.0.0.1")


def server(*options):
    return ServerContext(Endpoint.parse("tls:0?" + "&".join(map(str, options))))


def test_the_library_is_imported_without_them():
    code = "import sys, trews; sys.exit(any('certificates' in name for name in sys.modules))"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_pair_a_file_with_both_and_a_client_that_trusts_the_authority(authority, cert):
    pair = authority.issue_pair("pair", "localhost")
    assert shake(server(f"cert={pair[0]}", f"key={pair[1]}").context, authority.trusting()).worked
    assert shake(server(f"cert={cert}").context, authority.trusting()).worked


def test_the_chain_is_sent(authority, tmp_path):
    intermediate = authority.ca.create_child_ca()
    leaf = intermediate.issue_cert("localhost")
    leaf.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "chain.pem"))
    assert shake(server(f"cert={tmp_path}/chain.pem").context, authority.trusting()).worked
    alone = tmp_path / "alone.pem"
    alone.write_bytes(leaf.private_key_pem.bytes() + leaf.cert_chain_pems[0].bytes())
    assert "signed by an authority" in explain(
        shake(server(f"cert={alone}").context, authority.trusting()).client, server_side=False
    )


# (options, what is wrong with them)
BAD_OPTIONS = [
    ("alpn=h2", "a server needs a certificate: cert=FILE&key=FILE"),
    ("key=k", "a server needs a certificate: cert=FILE&key=FILE"),
    ("cert=a&cert=b&key=k", "2 cert= and 1 key=: give one key= for each cert=, in their order, or none"),
    ("cert=a&key=k&key=l", "1 cert= and 2 key="),
    ("cert=a&ca=b", "ca= is for clients"),
    ("cert=a&verify=no", "verify= is for clients"),
    ("cert=a&verify=yes", "verify= is for clients"),
    ("cert=a&server_name=b", "server_name= is for clients"),
    ("cert=a&client_cert=optional", "client_cert= needs client_ca="),
    ("cert=a&alpn=" + "x" * 256, "alpn= takes names of at most 255 ASCII characters"),
]


@pytest.mark.parametrize(("options", "message"), BAD_OPTIONS)
def test_options_that_make_no_sense(options, message):
    with pytest.raises(EndpointError) as caught:
        server(options)
    assert message in str(caught.value)
    assert str(caught.value).startswith("tls:0?")


def test_files_that_cannot_be_used(cert, authority, tmp_path):
    with pytest.raises(ListenError) as caught:
        server("cert=nope.pem")
    message = "cannot listen on tls:0?cert=nope.pem: cert=nope.pem: no such file or directory"
    assert str(caught.value) == message
    with pytest.raises(ListenError, match="does not belong to the first certificate"):
        server(f"cert={cert}", f"key={authority.issue_pair('x', 'x')[1]}")
    with pytest.raises(ListenError, match=r"client_ca=nope\.pem: no such file"):
        server(f"cert={cert}", "client_ca=nope.pem")


# -- several certificates


@pytest.fixture(scope="module")
def several(authority):
    files = [
        authority.issue("1.pem", "first.example", "*.shared.example", "exact.wild.example"),
        authority.issue("2.pem", "second.example", "*.wild.example", "a.shared.example", "127.0.0.1"),
        authority.issue("3.pem", "third.example", "second.example"),
    ]
    return server(*(f"cert={file}" for file in files)).context


# (what the client asks for, the first name of the certificate that it gets)
CHOICES = [
    ("first.example", "first.example"),
    ("second.example", "second.example"),
    ("SECOND.Example", "second.example"),
    ("second.example.", "second.example"),
    ("third.example", "third.example"),
    ("x.wild.example", "second.example"),
    ("exact.wild.example", "first.example"),
    ("x.y.wild.example", "first.example"),
    ("wild.example", "first.example"),
    ("x.shared.example", "first.example"),
    ("a.shared.example", "second.example"),
    ("unknown.example", "first.example"),
    (None, "first.example"),
]


@pytest.mark.parametrize(("asked", "got"), CHOICES)
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_the_certificate_is_chosen_by_the_name_asked_for(authority, several, asked, got, version):
    client = authority.trusting()
    client.check_hostname = False
    client.maximum_version = version
    done = shake(several, client, asked)
    assert done.worked
    assert done.names[0] == got
    assert asked_for(done.server_tls) == (asked.lower().rstrip(".") if asked else None)


def test_pairs_of_files_belong_together_in_their_order(authority):
    one, two = authority.issue_pair("one", "one.example"), authority.issue_pair("two", "two.example")
    both = server(f"key={one[1]}", f"cert={one[0]}", f"cert={two[0]}", f"key={two[1]}").context
    for name in ("one.example", "two.example"):
        assert shake(both, authority.trusting(), name).names == [name]


def test_the_choice_works_on_a_socket_too(authority, several):
    ours, theirs = socket.socketpair()
    served = []

    def serve():
        with several.wrap_socket(theirs, server_side=True) as tls:
            served.append(asked_for(tls))
            tls.recv(1)

    thread = threading.Thread(target=serve)
    thread.start()
    with authority.trusting().wrap_socket(ours, server_hostname="second.example") as tls:
        tls.send(b"x")
    thread.join()
    assert served == ["second.example"]


def ask_for(context, name):
    """A handshake in which the client asks for these 12 bytes."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="aaaa.example")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    incoming.write(outgoing.read().replace(b"aaaa.example", name))
    server_tls = context.wrap_bio(incoming, ssl.MemoryBIO(), server_side=True)
    with pytest.raises(ssl.SSLError) as caught:
        server_tls.do_handshake()
    return server_tls, caught.value


def test_a_name_that_is_none_gets_the_first_and_is_not_repeated(several):
    tls, exc = ask_for(several, b"\x1b[31m.exampl")
    assert isinstance(exc, ssl.SSLWantReadError)
    assert asked_for(tls) is None


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_name_that_is_not_ascii_ends_the_handshake(several):
    """In Python's ssl module, before our code; it tells stderr."""
    _, exc = ask_for(several, b"\xff\xffaa.example")
    assert explain(exc, server_side=True) == "the client asked for a server by a name that is none"


def test_without_a_way_to_read_names_one_certificate_is_served_and_two_are_refused(authority, cert, monkeypatch):
    monkeypatch.setattr(certificates, "identity", lambda file: None)
    assert shake(server(f"cert={cert}").context, authority.trusting()).worked
    with pytest.raises(ListenError, match="so it cannot be one of several"):
        server(f"cert={cert}", f"cert={cert}")


# -- dates


@pytest.mark.parametrize(("age", "words"), [(9, "expired on 20"), (-9, "is not valid before 20")])
def test_a_certificate_out_of_its_time_is_served_with_a_warning(authority, caplog, age, words):
    path = authority.issue("date.pem", "localhost", age=age, days=3)
    context = server(f"cert={path}").context
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert f"the certificate in cert={path} {words}" in record.message
    lax = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    lax.check_hostname = False
    lax.verify_mode = ssl.CERT_NONE
    assert shake(context, lax).worked


def test_a_good_certificate_warns_of_nothing(cert, caplog):
    server(f"cert={cert}")
    assert not caplog.records


# -- what is negotiated


# (alpn= of the server, what the client offers, what they speak)
ALPN = [
    ("h2,http/1.1", ["http/1.1", "h2"], "h2"),
    ("h2,http/1.1", ["http/1.1"], "http/1.1"),
    ("h2", ["http/1.1"], None),
    ("h2", [], None),
    ("", ["h2"], None),
]


@pytest.mark.parametrize(("ours", "theirs", "spoken"), ALPN)
@pytest.mark.parametrize("name", ["localhost", "second.example"])
def test_alpn_by_the_servers_preference_and_none_without_overlap(authority, cert, ours, theirs, spoken, name):
    other = authority.issue("second.pem", "second.example")
    context = server(f"cert={cert}", f"cert={other}", *([f"alpn={ours}"] if ours else [])).context
    client = authority.trusting()
    if theirs:
        client.set_alpn_protocols(theirs)
    done = shake(context, client, name)
    assert done.worked
    assert done.client_tls.selected_alpn_protocol() == done.server_tls.selected_alpn_protocol() == spoken


def test_old_versions_compression_and_renegotiation_are_off(cert):
    context = server(f"cert={cert}").context
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert context.options & ssl.OP_NO_COMPRESSION
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert not context.options & ssl.OP_IGNORE_UNEXPECTED_EOF


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("name", ["localhost", "second.example"])
def test_sessions_are_resumed(authority, cert, version, name):
    context = server(f"cert={cert}", f"cert={authority.issue('second.pem', 'second.example')}").context
    client = authority.trusting()
    client.maximum_version = version
    first = shake(context, client, name)
    again = shake(context, client, name, first.client_tls.session)
    assert again.worked
    assert again.client_tls.session_reused
    assert not first.client_tls.session_reused
    assert asked_for(again.server_tls) == name


# -- certificates of clients


# (client_cert=, what the client shows, whether it comes in)
CLIENTS = [
    ("", "ours", True),
    ("", "", False),
    ("", "theirs", False),
    ("&client_cert=required", "", False),
    ("&client_cert=optional", "ours", True),
    ("&client_cert=optional", "", True),
    ("&client_cert=optional", "theirs", False),
]


@pytest.mark.parametrize(("option", "shown", "comes_in"), CLIENTS)
@pytest.mark.parametrize("name", ["localhost", "second.example"])
def test_certificates_of_clients(authority, cert, tmp_path, option, shown, comes_in, name):
    other = authority.issue("second.pem", "second.example")
    context = server(f"cert={cert}&cert={other}&client_ca={authority.path}{option}").context
    client = authority.trusting()
    if shown:
        issuer = authority if shown == "ours" else Authority(tmp_path)
        client.load_cert_chain(issuer.issue("me.pem", "me@example.org"))
    done = shake(context, client, name)
    assert done.worked == comes_in
    if comes_in:
        assert bool(done.server_tls.getpeercert()) == bool(shown)


def test_without_client_ca_nobody_is_asked(authority, cert):
    done = shake(server(f"cert={cert}").context, authority.trusting())
    assert done.server_tls.getpeercert() is None


# -- memory


def test_handshakes_leave_nothing_behind(authority, several):
    def count():
        gc.collect()
        return sum(isinstance(thing, ssl.SSLContext | ssl.SSLObject) for thing in gc.get_objects())

    client = authority.trusting()
    shake(several, client, "second.example")
    before = count()
    for _ in range(50):
        shake(several, client, "second.example")
    assert count() == before


def test_the_key_log_of_wireshark(authority, cert, monkeypatch, tmp_path):
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    assert shake(server(f"cert={cert}").context, authority.trusting()).worked
    assert "CLIENT_HANDSHAKE_TRAFFIC_SECRET" in (tmp_path / "keys").read_text()
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path))
    with pytest.raises(ListenError, match=r"SSLKEYLOGFILE=.*: .*directory"):
        server(f"cert={cert}")

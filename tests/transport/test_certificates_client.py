"""The contexts of clients: verified unless told otherwise, kept while nothing changes, never shared with others."""

import os
import shutil
import ssl
import threading

import pytest

from tests.handshakes import Authority, shake
from trews.endpoint import Endpoint
from trews.errors import ConnectError, EndpointError
from trews.transport import certificates
from trews.transport.certificates import CACHED, client_context


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def serving(authority):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(authority.issue("server.pem", "mail.example", "*.wild.example", "127.0.0.1", "fe80::1"))
    return context


@pytest.fixture(autouse=True)
def _nothing_kept():
    certificates._contexts.clear()
    yield
    certificates._contexts.clear()


def client(address, *options):
    return client_context(Endpoint.parse(f"tls:{address}:443" + ("?" + "&".join(options) if options else "")))


# (endpoint without its port, whether it connects)
VERIFIED = [
    ("mail.example", True),
    ("MAIL.example", True),
    ("mail.example.", True),
    ("x.wild.example", True),
    ("x.y.wild.example", False),
    ("other.example", False),
    ("127.0.0.1", True),
    ("127.0.0.2", False),
    ("[fe80::1]", True),
    ("[fe80::1%eth0]", True),
    ("[fe80::2]", False),
]


@pytest.mark.parametrize(("address", "connects"), VERIFIED)
def test_the_name_is_verified(authority, serving, address, connects):
    context, name = client(address, f"ca={authority.path}")
    assert shake(serving, context, name).worked == connects


def test_without_ca_the_systems_authorities_are_trusted_and_a_private_one_is_not(authority, serving):
    context, name = client("mail.example")
    failed = shake(serving, context, name).client
    assert isinstance(failed, ssl.SSLCertVerificationError)
    assert failed.verify_code == 20


def test_the_systems_store_is_the_one_of_openssl(authority, serving, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", authority.path)
    context, name = client("mail.example")
    assert shake(serving, context, name).worked


def test_a_store_that_is_not_there_is_told_to_the_log(authority, serving, monkeypatch, tmp_path, caplog):
    missing = tmp_path / "nope.pem"
    monkeypatch.setenv("SSL_CERT_FILE", str(missing))
    assert not shake(serving, *client("mail.example", "alpn=a")).worked
    assert [record.getMessage() for record in caplog.records] == [
        f"SSL_CERT_FILE={missing}: no such file, so the authorities in it are not trusted"
    ]
    client("mail.example", f"ca={authority.path}&alpn=b")
    assert len(caplog.records) == 1


def test_a_changed_store_of_the_system_is_taken_up(authority, serving, monkeypatch, tmp_path):
    store = tmp_path / "store.pem"
    monkeypatch.setenv("SSL_CERT_FILE", str(store))
    shutil.copy(Authority(tmp_path).path, store)
    assert not shake(serving, *client("mail.example")).worked
    with store.open("ab") as file:
        file.write(authority.ca.cert_pem.bytes())
    assert shake(serving, *client("mail.example")).worked


def test_with_ca_the_systems_authorities_are_not_trusted(authority, serving, monkeypatch, tmp_path):
    monkeypatch.setenv("SSL_CERT_FILE", authority.path)
    context, name = client("mail.example", f"ca={Authority(tmp_path).path}")
    assert not shake(serving, context, name).worked


def test_authorities_in_a_directory(authority, serving, tmp_path):
    shutil.copy(authority.path, tmp_path / "mine.crt")
    context, name = client("mail.example", f"ca={tmp_path}")
    assert shake(serving, context, name).worked


def test_the_very_certificate_may_be_trusted(authority, serving, tmp_path):
    leaf = authority.directory / "server.pem"
    context, name = client("mail.example", f"ca={leaf}")
    assert shake(serving, context, name).worked


def test_server_name_is_asked_for_and_verified_instead_of_the_host(authority, serving):
    asked = []
    serving.sni_callback = lambda tls, name, context: asked.append(name)
    context, name = client("127.0.0.9", f"ca={authority.path}", "server_name=x.wild.example")
    assert shake(serving, context, name).worked
    context, name = client("mail.example", f"ca={authority.path}", "server_name=other.example")
    assert not shake(serving, context, name).worked
    context, name = client("127.0.0.1", f"ca={authority.path}")
    assert shake(serving, context, name).worked
    serving.sni_callback = None
    assert asked == ["x.wild.example", "other.example", None]


# (host, server_name=, the name that is used)
NAMES = [
    ("a.example", None, "a.example"),
    ("bücher.example", None, "xn--bcher-kva.example"),
    ("", None, "localhost"),
    ("*", None, "localhost"),
    ("a.example", "2001:DB8::1", "2001:db8::1"),
    ("a.example", "b.example.", "b.example"),
]


@pytest.mark.parametrize(("host", "option", "used"), NAMES)
def test_the_name_that_is_asked_for(host, option, used):
    address = f"tls:{host}:1?verify=no" + (f"&server_name={option}" if option else "")
    assert client_context(Endpoint.parse(address))[1] == used


@pytest.mark.parametrize("name", [".a", "a..b", "x" * 64, "a." * 200 + "b", "."])
def test_a_name_that_is_none(name):
    with pytest.raises(EndpointError, match="cannot be the name of a server"):
        client("a.example", f"server_name={name}")


def test_names_in_the_subject_do_not_count(tmp_path, authority):
    context, _ = client("a.example", f"ca={authority.path}")
    assert not context.hostname_checks_common_name


def test_a_certificate_of_the_client(authority, serving, tmp_path):
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority.path)
    server.load_cert_chain(authority.directory / "server.pem")
    server.verify_mode = ssl.CERT_REQUIRED
    cert, key = authority.issue_pair("me", "me.example")
    context, name = client("mail.example", f"ca={authority.path}", f"cert={cert}", f"key={key}")
    done = shake(server, context, name)
    assert done.worked
    assert done.server_tls.getpeercert()["subjectAltName"] == (("DNS", "me.example"),)
    both = authority.issue("both.pem", "me.example")
    context, name = client("mail.example", f"ca={authority.path}", f"cert={both}")
    assert shake(server, context, name).worked


def test_alpn(authority, serving):
    context, name = client("mail.example", f"ca={authority.path}", "alpn=h2,http/1.1")
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(authority.directory / "server.pem")
    server.set_alpn_protocols(["http/1.1"])
    assert shake(server, context, name).client_tls.selected_alpn_protocol() == "http/1.1"


# (options, what is wrong with them)
BAD_OPTIONS = [
    ("client_ca=a", "client_ca= is for servers"),
    ("client_cert=optional", "client_cert= is for servers"),
    ("cert=a&cert=b", "a client shows one certificate, not 2"),
    ("key=a", "0 cert= and 1 key="),
    ("ca=a&verify=no", "ca= says whom to trust and verify=no trusts everybody: give one of them"),
    ("alpn=ü", "alpn= takes names of at most 255 ASCII characters"),
]


@pytest.mark.parametrize(("options", "message"), BAD_OPTIONS)
def test_options_that_make_no_sense(options, message):
    with pytest.raises(EndpointError) as caught:
        client("a.example", options)
    assert message in str(caught.value)


@pytest.mark.parametrize("option", ["ca", "cert"])
def test_files_that_cannot_be_used(option, tmp_path):
    with pytest.raises(ConnectError) as caught:
        client("a.example", f"{option}=nope.pem")
    expected = f"cannot connect to tls:a.example:443?{option}=nope.pem: {option}=nope.pem: no such file or directory"
    assert str(caught.value) == expected


# -- verify=no


def test_verify_no_trusts_everybody_and_warns_each_time(serving, caplog):
    for number in range(1, 4):
        context, name = client("anything.example", "verify=no")
        assert shake(serving, context, name).worked
        assert len(caplog.records) == number
    assert caplog.records[-1].levelname == "WARNING"
    assert "tls:anything.example:443?verify=no: verify=no, so whoever is between" in caplog.text


@pytest.mark.parametrize("first", ["verify=no", "verify=yes", ""])
def test_who_verifies_never_gets_the_context_of_who_does_not(first):
    """CVE-2024-35195: what was asked for once stuck to what came later."""
    for option in (first, "verify=no", "", "verify=off", "verify=yes", "verify=no"):
        context, _ = client("a.example", *([option] if option else []))
        verifies = option in ("", "verify=yes")
        assert context.check_hostname == verifies
        assert context.verify_mode == (ssl.CERT_REQUIRED if verifies else ssl.CERT_NONE)


def test_nothing_but_verify_weakens_it(authority):
    both = authority.issue("both.pem", "me.example")
    for options in ("alpn=h2", "server_name=b", f"cert={both}", f"ca={authority.path}", "timeout=1", "source=::1"):
        context, _ = client("127.0.0.1", options)
        assert context.check_hostname
        assert context.verify_mode == ssl.CERT_REQUIRED
        assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
        assert not context.options & ssl.OP_IGNORE_UNEXPECTED_EOF


# -- keeping them


def test_contexts_are_kept_for_all_hosts_and_loaded_once(monkeypatch):
    loads = []
    original = ssl.SSLContext.load_default_certs
    monkeypatch.setattr(
        ssl.SSLContext, "load_default_certs", lambda self, *args: loads.append(1) or original(self, *args)
    )
    contexts = {id(client(f"host{number}.example")[0]) for number in range(1000)}
    assert len(contexts) == len(loads) == 1


def test_every_option_that_matters_has_a_context_of_its_own(authority):
    both = authority.issue("both.pem", "me.example")
    ways = ["", "verify=no", "alpn=h2", "alpn=h2,x", "alpn=x,h2", f"cert={both}", f"ca={authority.path}"]
    contexts = [client("a.example", *([way] if way else []))[0] for way in ways]
    assert len({id(context) for context in contexts}) == len(ways)


def test_no_more_are_kept_than_a_bound_and_the_last_used_stay():
    used = client("a.example", "verify=no")[0]
    for number in range(2 * CACHED):
        client("a.example", "verify=no", f"alpn=p{number}")
        assert client("a.example", "verify=no")[0] is used
    assert len(certificates._contexts) == CACHED


def test_changed_files_are_taken_up(authority, serving, tmp_path):
    trusted = tmp_path / "ca.pem"
    other = Authority(tmp_path / "..")
    shutil.copy(other.path, trusted)
    context, name = client("mail.example", f"ca={trusted}")
    assert not shake(serving, context, name).worked
    shutil.copy(authority.path, tmp_path / "beside")
    os.replace(tmp_path / "beside", trusted)
    context, name = client("mail.example", f"ca={trusted}")
    assert shake(serving, context, name).worked
    assert len(certificates._contexts) == 1


def test_a_relative_path_is_another_file_in_another_directory(authority, serving, tmp_path, monkeypatch):
    shutil.copy(authority.path, tmp_path / "ca.pem")
    monkeypatch.chdir(tmp_path)
    first = client("mail.example", "ca=ca.pem")[0]
    (tmp_path / "b").mkdir()
    monkeypatch.chdir(tmp_path / "b")
    with pytest.raises(ConnectError):
        client("mail.example", "ca=ca.pem")
    monkeypatch.chdir(tmp_path)
    assert client("mail.example", "ca=ca.pem")[0] is first


def test_threads_share_them():
    found = []
    threads = [
        threading.Thread(target=lambda: found.extend(client("a.example", f"alpn=p{n % 7}") for n in range(50)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 400
    assert len(certificates._contexts) == 7

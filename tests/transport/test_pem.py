"""PEM files: what cannot be used is one sentence that names the file, and nothing is asked at the terminal."""

import errno
import os
import shutil
import ssl
import subprocess
import time

import pytest

from tests.conftest import absent
from tests.handshakes import Authority
from trews.transport import pem
from trews.transport.pem import File, Identity, Pair, PemError, identity, load_authorities, load_pair, stamps_of


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def good(authority):
    return authority.issue_pair("good", "localhost")


def server():
    return ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)


def openssl(*words):
    program = shutil.which("openssl")
    if program is None:
        absent("there is no openssl")
    subprocess.run([program, *map(str, words)], check=True, capture_output=True)


def refusal(cert, key=None):
    both = Pair(File.of("cert", str(cert)), File.of("key", str(key)) if key else File.of("cert", str(cert)))
    with pytest.raises(PemError) as caught:
        load_pair(server(), both)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_pair_of_files_and_one_file_with_both(authority, good):
    load_pair(server(), Pair(File.of("cert", str(good[0])), File.of("key", str(good[1]))))
    both = File.of("cert", str(authority.issue("both.pem", "localhost")))
    load_pair(server(), Pair(both, both))


def test_a_path_is_the_one_it_was_when_the_process_changes_its_directory(good, monkeypatch, tmp_path):
    monkeypatch.chdir(good[0].parent)
    both = Pair(File.of("cert", "good.pem"), File.of("key", "good.key"))
    monkeypatch.chdir(tmp_path)
    load_pair(server(), both)
    assert str(both.cert) == "cert=good.pem"


def test_what_is_missing_or_no_file_is_named(good, tmp_path):
    cert, key = good
    assert refusal("nope.pem", key) == "cert=nope.pem: no such file or directory"
    assert refusal(cert, "nope.key") == "key=nope.key: no such file or directory"
    assert refusal(tmp_path, key) == f"cert={tmp_path} is not a file"
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(pem.MAX_BYTES + 1)
    assert "is larger than 8 MiB" in refusal(large, key)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_not_waited_for(good, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert refusal(good[0], tmp_path / "pipe").endswith("pipe is not a file")


def test_what_may_not_be_read(good, monkeypatch):
    cert, key = good

    def guarded(path, mode):
        if path == str(key):
            raise PermissionError(errno.EACCES, "no")
        return open(path, mode)

    monkeypatch.setattr(pem, "open", guarded, raising=False)
    assert refusal(cert, key) == f"key={key}: permission denied"


def test_what_is_something_else_is_said(good, tmp_path):
    cert, key = good
    empty, text, der = tmp_path / "empty", tmp_path / "text", tmp_path / "der"
    empty.write_bytes(b"")
    text.write_bytes(b"hello")
    der.write_bytes(ssl.PEM_cert_to_DER_cert(cert.read_text().partition("-----END")[0] + "-----END CERTIFICATE-----"))
    assert refusal(empty, key) == f"there is no PEM certificate in cert={empty}"
    assert refusal(text, key) == f"there is no PEM certificate in cert={text}"
    assert refusal(cert, text) == f"there is no PEM private key in key={text}"
    assert "openssl x509 -inform DER" in refusal(der, key)
    assert "have cert= and key= changed places?" in refusal(key, cert)
    assert refusal(cert) == f"there is no private key in cert={cert}: name its file with key="


@pytest.mark.parametrize("option", ["ca", "client_ca"])
def test_a_key_in_place_of_an_authority(good, option):
    with pytest.raises(PemError) as caught:
        load_authorities(server(), File.of(option, str(good[1])))
    expected = f"there is no PEM certificate in {option}={good[1]}, but a private key; name the authority's certificate"
    assert str(caught.value) == expected


def test_a_key_of_another_certificate(authority, good):
    _, key = authority.issue_pair("other", "localhost")
    expected = f"the key in key={key} does not belong to the first certificate in cert={good[0]}"
    assert refusal(good[0], key) == expected


def test_a_key_of_another_kind(good, tmp_path):
    key = tmp_path / "rsa.key"
    openssl("genrsa", "-out", key, "2048")
    assert "does not belong to" in refusal(good[0], key)


@pytest.mark.parametrize("which", ["cert", "key"])
def test_what_is_cut_off_is_damaged(good, tmp_path, which):
    part = tmp_path / "part.pem"
    cert, key = good
    part.write_bytes((cert if which == "cert" else key).read_bytes()[:120])
    message = refusal(part, key) if which == "cert" else refusal(cert, part)
    assert message.endswith("is damaged: it cannot be decoded")


def test_a_key_with_a_passphrase_is_refused_and_nobody_is_asked(good, tmp_path):
    key = tmp_path / "locked.key"
    openssl("pkey", "-in", good[1], "-aes256", "-passout", "pass:secret", "-out", key)
    message = refusal(good[0], key)
    assert "is encrypted, and nobody is asked for its passphrase" in message
    assert f"openssl pkey -in {key} -out NEW.pem" in message


def test_a_key_that_is_too_short(tmp_path):
    cert, key = tmp_path / "weak.pem", tmp_path / "weak.key"
    openssl("req", "-x509", "-newkey", "rsa:1024", "-nodes", "-keyout", key, "-out", cert, "-subj", "/CN=x")
    context = server()
    context.set_ciphers("DEFAULT@SECLEVEL=2")
    with pytest.raises(PemError, match="is too weak"):
        load_pair(context, Pair(File.of("cert", str(cert)), File.of("key", str(key))))


# -- authorities


def loaded(path):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    load_authorities(context, File.of("ca", str(path)))
    return len(context.get_ca_certs())


def test_authorities_are_in_a_file_or_in_the_files_of_a_directory(authority, tmp_path):
    assert loaded(authority.path) == 1
    shutil.copy(authority.path, tmp_path / "one.crt")
    (tmp_path / "README").write_text("not a certificate")
    assert loaded(tmp_path) == 1
    other = tmp_path / "more"
    other.mkdir()
    shutil.copy(Authority(other).path, tmp_path / "1a2b3c4d.0")
    assert loaded(tmp_path) == 2


def test_authorities_that_are_none(authority, good, tmp_path):
    def refused(path):
        with pytest.raises(PemError) as caught:
            loaded(path)
        return str(caught.value)

    assert refused("nope.pem") == "ca=nope.pem: no such file or directory"
    assert (
        refused(tmp_path) == f"the directory ca={tmp_path} has no certificates in it: their files end in .pem or .crt"
    )
    bad = tmp_path / "bad.pem"
    bad.write_bytes(b"hello")
    assert refused(tmp_path) == f"there is no PEM certificate in ca={bad}"
    bad.write_bytes(good[0].read_bytes()[:200])
    assert refused(bad) == f"ca={bad} is damaged: it cannot be decoded"


# -- what a certificate says


def test_names_and_dates_of_the_first_certificate(authority):
    path = authority.issue("names.pem", "A.Example.org", "*.example.org", "127.0.0.1", "::1", age=10, days=20)
    found = identity(File.of("cert", str(path)))
    assert found.names[:3] == ("a.example.org", "*.example.org", "127.0.0.1")
    assert found.not_after - found.not_before == 20 * 86400
    assert found.trouble() == ""


def test_the_common_name_counts_where_there_is_no_other(tmp_path):
    cert, key = tmp_path / "old.pem", tmp_path / "old.key"
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, "-subj", "/CN=Old.example")
    assert identity(File.of("cert", str(cert))).names == ("old.example",)


@pytest.mark.parametrize(
    ("not_before", "not_after", "trouble"),
    [(-2, 2, ""), (-9, -2, "expired on "), (2, 9, "is not valid before ")],
)
def test_why_clients_will_refuse_it(not_before, not_after, trouble):
    now = time.time()
    found = Identity((), now + not_before * 86400, now + not_after * 86400).trouble()
    assert found.startswith(trouble)
    assert bool(found) == bool(trouble)


def test_what_cannot_be_decoded_says_nothing(tmp_path, monkeypatch, good):
    assert identity(File.of("cert", str(tmp_path / "nope"))) is None
    monkeypatch.delattr("_ssl._test_decode_cert")
    assert identity(File.of("cert", str(good[0]))) is None


# -- changes


def test_stamps_change_with_what_stands_at_the_end_of_the_links(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "cert.pem").write_text("same")
    link = tmp_path / "now"
    link.symlink_to("one")
    file = [File.of("cert", str(link / "cert.pem"))]
    before = stamps_of(file)
    assert stamps_of(file) == before
    link.unlink()
    assert stamps_of(file) == (None,)
    link.symlink_to("two")
    assert stamps_of(file) != before


def test_stamps_of_a_directory_change_with_its_files(tmp_path):
    file = [File.of("ca", str(tmp_path))]
    one = tmp_path / "one.pem"
    one.write_text("1")
    before = stamps_of(file)
    one.write_text("22")
    assert stamps_of(file) != before


def test_a_file_in_the_place_of_another_of_the_same_age_and_size_is_seen(tmp_path):
    one, other = tmp_path / "one.pem", tmp_path / "other.pem"
    for path in (one, other):
        path.write_text("1")
        os.utime(path, ns=(10**18, 10**18))
    before = stamps_of([File.of("cert", str(one))])
    os.replace(other, one)
    assert stamps_of([File.of("cert", str(one))]) != before

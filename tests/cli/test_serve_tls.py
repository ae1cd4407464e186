"""What is wrong with a certificate, on the command line: one sentence, and status 2."""

from __future__ import annotations

import datetime
import os
import socket
import ssl
import threading
from contextlib import contextmanager

import pytest
import trustme

ECHO = "class Echo(trews.Connection):\n    def on_read(self, data):\n        self.write(data)\n"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A private authority, and certificates good and bad."""
    folder = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    past = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    for name, made in {
        "good": authority.issue_cert("localhost"),
        "other": authority.issue_cert("example.org"),
        "old": authority.issue_cert("localhost", not_before=past - datetime.timedelta(days=1), not_after=past),
    }.items():
        made.cert_chain_pems[0].write_to_path(str(folder / f"{name}.pem"))
        made.private_key_pem.write_to_path(str(folder / f"{name}.key"))
    (folder / "empty.pem").write_bytes(b"")
    (folder / "echo.py").write_text(f"import trews\n\n\n{ECHO}")
    return folder


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("", b"a server needs a certificate"),
        ("?cert=none.pem&key=good.key", b"no such file"),
        ("?cert=good.pem&key=none.key", b"no such file"),
        ("?cert=good.pem&key=other.key", b"key"),
        ("?cert=good.key&key=good.pem", b"changed places"),
        ("?cert=empty.pem&key=good.key", b"certificate"),
        ("?cert=.&key=good.key", b"is not a file"),
        ("?cert=good.pem&key=good.key&client_ca=none.pem", b"no such file"),
        ("?cert=good.pem&key=good.key&ca=ca.pem", b"is for clients"),
        ("?crt=good.pem", b"did you mean 'cert'"),
    ],
)
def test_a_server_that_cannot_start(trews_command, files, monkeypatch, query, words):
    monkeypatch.chdir(files)
    ended = trews_command("serve", "echo.py:Echo", f"tls:localhost:0{query}", input=b"")
    assert (ended.returncode, ended.stdout) == (2, b"")
    assert words in ended.stderr
    assert b"Traceback" not in ended.stderr
    assert ended.stderr.startswith(b"trews: ")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root reads everything")
def test_a_key_that_may_not_be_read(trews_command, files, monkeypatch, tmp_path):
    monkeypatch.chdir(files)
    (tmp_path / "k").write_bytes((files / "good.key").read_bytes())
    (tmp_path / "k").chmod(0)
    ended = trews_command("serve", "echo.py:Echo", f"tls:localhost:0?cert=good.pem&key={tmp_path / 'k'}", input=b"")
    assert ended.returncode == 2
    assert b"permission denied" in ended.stderr


@contextmanager
def tls_server(files, name):
    """One connection of Python's own TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files / f"{name}.pem", files / f"{name}.key")
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            sock, _ = listener.accept()
            sock.settimeout(20)
            with sock, pytest.raises(OSError):
                context.wrap_socket(sock, server_side=True).recv(1)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            thread.join()


@pytest.mark.parametrize(("name", "words"), [("old", b"expired"), ("other", b"other names")])
def test_a_server_that_is_refused(trews_command, files, name, words):
    with tls_server(files, name) as port:
        ended = trews_command("connect", f"tls:localhost:{port}?ca={files / 'ca.pem'}", input=b"hi\n")
    assert (ended.returncode, ended.stdout) == (2, b"")
    assert words in ended.stderr
    assert ended.stderr.count(b"\n") == 1

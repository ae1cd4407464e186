"""The certificate of the demo: made by what is there, good for its names only, and gone afterwards."""

import os
import shutil
import ssl
import stat
import subprocess
import sys

import pytest

from tests.conftest import absent
from tests.handshakes import shake
from trews.cli import selfsigned
from trews.cli.selfsigned import CannotSign, self_signed
from trews.endpoint import Endpoint
from trews.transport.certificates import ServerContext, client_context

NAMES = ["localhost", "127.0.0.1", "::1", "*.demo.example", "x" * 63 + ".example"]


@pytest.fixture(params=["openssl", "cryptography"])
def made(request, monkeypatch):
    if request.param == "openssl":
        if shutil.which("openssl") is None:
            absent("there is no openssl")
        monkeypatch.setattr(selfsigned, "_by_package", None)
    else:
        pytest.importorskip("cryptography")
        monkeypatch.setattr(selfsigned.shutil, "which", lambda name: None)
    made = self_signed(NAMES)
    yield made
    shutil.rmtree(os.path.dirname(made.cert))


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "a.demo.example", "x" * 63 + ".example"])
def test_it_is_good_for_each_of_its_names_and_trusted_by_its_file(made, host):
    server = ServerContext(Endpoint.parse(f"tls:0?cert={made.cert}&key={made.key}"))
    context, name = client_context(Endpoint.parse(f"tls:{host}:1?ca={made.cert}"))
    assert shake(server.context, context, name).worked


def test_it_is_not_good_for_other_names_nor_trusted_without(made):
    server = ServerContext(Endpoint.parse(f"tls:0?cert={made.cert}&key={made.key}"))
    context, name = client_context(Endpoint.parse(f"tls:other.example:1?ca={made.cert}"))
    assert isinstance(shake(server.context, context, name).client, ssl.SSLCertVerificationError)
    context, name = client_context(Endpoint.parse("tls:localhost:1"))
    assert isinstance(shake(server.context, context, name).client, ssl.SSLCertVerificationError)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
def test_nobody_else_can_read_the_key(made):
    assert stat.S_IMODE(os.stat(made.key).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(os.path.dirname(made.key)).st_mode) == 0o700


@pytest.mark.parametrize("forks", [False, True] if hasattr(os, "fork") else [False])
def test_the_files_are_gone_when_the_process_exits_and_not_before(forks):
    code = "import os, sys; from trews.cli.selfsigned import self_signed; made = self_signed(['localhost'])\n"
    if forks:
        code += "child = os.fork()\nif not child: sys.exit()\nos.waitpid(child, 0)\n"
    code += "print(made.cert, os.path.exists(made.key))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    path, existed = done.stdout.split()
    assert existed == "True"
    assert not os.path.exists(os.path.dirname(path))


def test_without_anything_that_could_make_one_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(selfsigned.shutil, "which", lambda name: None)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(CannotSign, match="install the program openssl, or the package cryptography"):
        self_signed(["localhost"])


@pytest.mark.skipif(os.name == "nt", reason="the program is a shell script")
@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo one >&2; echo unknown option >&2; exit 1", "openssl says 'unknown option'"),
        ("exit 1", "openssl says 'nothing'"),
        ("exec sleep 60", "timed out"),
    ],
)
def test_a_program_that_fails_or_hangs_is_told(monkeypatch, tmp_path, script, message):
    program = tmp_path / "openssl"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(selfsigned.shutil, "which", lambda name: str(program))
    monkeypatch.setattr(selfsigned, "TIMEOUT", 0.2 if "sleep" in script else 30)
    with pytest.raises(CannotSign, match=message):
        self_signed(["localhost"])


@pytest.mark.parametrize("name", ["", "a b", "a,DNS:evil.example", "a\nb = c", "${ENV::HOME}", "a" * 64, "ü.example"])
def test_a_name_cannot_bring_anything_else_into_the_certificate(name):
    with pytest.raises(CannotSign, match="cannot stand in a certificate"):
        self_signed(["localhost", name])


def test_no_name_is_no_certificate():
    with pytest.raises(CannotSign, match="needs a name"):
        self_signed([])

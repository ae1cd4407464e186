"""docs/howto/tls.md: its commands make certificates that work, and its sentences are those that come."""

import re
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

from tests.conftest import absent
from tests.handshakes import names_of, shake
from trews.endpoint import Endpoint
from trews.transport.certificates import ServerContext, client_context, explain
from trews.transport.tls_errors import _REASONS, _REFUSED

PAGE = Path(__file__).parents[2].joinpath("docs", "howto", "tls.md").read_text("utf-8")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A directory in which the commands of the page have been run."""
    if shutil.which("openssl") is None or shutil.which("sh") is None:
        absent("there is no openssl")
    directory = tmp_path_factory.mktemp("made")
    commands = "\n".join(re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))
    subprocess.run(["sh", "-e", "-c", commands], cwd=directory, check=True, capture_output=True)
    return directory


@pytest.fixture
def endpoints(made, monkeypatch):
    monkeypatch.chdir(made)
    return [Endpoint.parse(text) for text in re.findall(r'"(tls:[^"]*)"', PAGE)]


def test_the_authority_of_the_page_signs_servers_and_clients(endpoints):
    [server] = [endpoint for endpoint in endpoints if endpoint.get("client_ca")]
    [client] = [endpoint for endpoint in endpoints if endpoint.get("ca")]
    context, name = client_context(client)
    done = shake(ServerContext(server).context, context, name)
    assert done.worked
    assert names_of(done.server_tls) == ["anna@example.org"]
    assert names_of(done.client_tls) == ["localhost", "*.example.org", "127.0.0.1"]


@pytest.mark.parametrize("host", ["127.0.0.1", "a.example.org"])
def test_the_certificate_of_the_page_has_all_its_names(endpoints, host):
    context, name = client_context(Endpoint.parse(f"tls:{host}:1?ca=ca.pem"))
    assert context.verify_flags & ssl.VERIFY_X509_STRICT
    assert shake(ServerContext(endpoints[0]).context, context, name).worked


def test_an_older_recipe_is_refused_in_the_words_of_the_page(made, endpoints, tmp_path):
    (tmp_path / "server.ext").write_text("subjectAltName = DNS:localhost\nauthorityKeyIdentifier = none\n")
    signed = ["-CA", "ca.pem", "-CAkey", "ca.key", "-extfile", str(tmp_path / "server.ext"), "-CAcreateserial"]
    command = ["openssl", "x509", "-req", "-in", "server.csr", *signed, "-out", str(tmp_path / "old.pem")]
    subprocess.run(command, cwd=made, check=True, capture_output=True)
    server = ServerContext(Endpoint.parse(f"tls:0?cert={tmp_path}/old.pem&key=server.key"))
    context, name = client_context(Endpoint.parse("tls:localhost:1?ca=ca.pem"))
    failed = shake(server.context, context, name).client
    words = "Missing Authority Key Identifier"
    assert words in explain(failed, server_side=False, host="mail")
    assert words in PAGE


def test_the_sentences_of_the_page_are_those_that_come():
    tables = PAGE.partition("## When it fails")[2]
    said = re.findall(r"^\| ([^|]*\w[^|]*) \|", tables, re.MULTILINE)
    real = "\n".join(text for both in (*_REASONS.values(), *_REFUSED.values()) for text in both)
    assert len(said) == 11
    assert [words for words in said if words not in real] == []

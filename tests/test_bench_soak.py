"""The soak, made short: it drives the server with all kinds of requests, and says by how much the memory has grown."""

from __future__ import annotations

import shutil
import socket
import sys

import pytest

from bench import soak
from tests.conftest import absent


@pytest.fixture
def port():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        found = sock.getsockname()[1]
    return found


@pytest.fixture(autouse=True)
def _programs():
    for name in ("wrk", "ab"):
        if shutil.which(name) is None:
            absent(f"{name} is not installed")


def test_it_tells_what_the_memory_was_and_is(port, capfd):
    grown = soak.soak(sys.executable, port, requests=1200, seconds=1, connections=4, churn=300)
    said = capfd.readouterr().out.splitlines()
    assert said[0].split()[3] == "requests"
    assert int(said[-2].split()[2].replace(",", "")) >= 1200
    assert said[-1].endswith(f"{grown / soak.MIB:+.2f} MiB")


def test_what_fails_ends_it(port):
    with pytest.raises(SystemExit, match="soak: wrk failed"):
        soak.load(f"http://127.0.0.1:{port}", 1, 1, 1)


def test_a_server_that_does_not_start(port):
    with pytest.raises(SystemExit, match="soak: the server did not start"):
        soak.soak("/bin/false", port, 1, 1, 1, 1)

"""`trews socks`, as a process, with curl for a client."""

from __future__ import annotations

import http.server
import os
import shutil
import signal
import socket
import subprocess
import threading

import pytest

from tests.conftest import absent
from trews.cli import main
from trews.cli.socks import VARIABLE, is_local
from trews.endpoint import Endpoint

BODY = os.urandom(2_000_000)


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY)

    def log_message(self, *args):
        pass


class HTTPServer6(http.server.HTTPServer):
    address_family = socket.AF_INET6


@pytest.fixture(params=["127.0.0.1", "::1"])
def site(request):
    """A web site on loopback; host (as in a URL) and port."""
    cls, name = (HTTPServer6, "[::1]") if ":" in request.param else (http.server.HTTPServer, request.param)
    with cls((request.param, 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield name, server.server_port
        server.shutdown()
        thread.join()


@pytest.fixture
def curl():
    program = shutil.which("curl")
    if program is None:
        absent("no program curl")

    def run(*args):
        command = [program, "--silent", "--show-error", "--noproxy", "", "--max-time", "20", *args]
        return subprocess.run(command, capture_output=True, timeout=40)

    return run


@pytest.fixture
def socks(start, listening):
    """Start it on a free port; gives `host:port`."""

    def run(*args, **variables):
        process = start("socks", "tcp:127.0.0.1:0", *args, env={**os.environ, **variables})
        (endpoint,) = listening(process)
        return process, endpoint.removeprefix("tcp:")

    return run


@pytest.mark.parametrize("how", ["--socks5", "--socks5-hostname"])
def test_curl_by_address(socks, site, curl, how):
    process, address = socks()
    got = curl(how, address, f"http://{site[0]}:{site[1]}/")
    assert (got.returncode, got.stderr) == (0, b"")
    assert got.stdout == BODY
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    assert process.stderr.read() == b""


@pytest.mark.parametrize("how", ["--socks5", "--socks5-hostname"])
@pytest.mark.parametrize("site", ["127.0.0.1"], indirect=True)
def test_curl_by_name(socks, site, curl, how):
    _, address = socks()
    got = curl(how, address, "-4", f"http://localhost:{site[1]}/")
    assert got.stdout == BODY


@pytest.mark.parametrize("site", ["127.0.0.1"], indirect=True)
@pytest.mark.parametrize("where", ["variable", "file"])
def test_curl_with_a_password(socks, site, curl, tmp_path, where):
    if where == "variable":
        _, address = socks("--user", "ann", **{VARIABLE: "s3cret:ä"})
    else:
        (tmp_path / "password").write_text("s3cret:ä\nanother line\n")
        _, address = socks("--user", "ann", "--password-file", tmp_path / "password")
    url = f"http://127.0.0.1:{site[1]}/"
    assert curl("--socks5", address, "-U", "ann:s3cret:ä", url).stdout == BODY
    for credentials in (["-U", "ann:wrong"], ["-U", "eve:s3cret:ä"], []):
        refused = curl("--socks5", address, *credentials, url)
        assert refused.returncode == 97
        assert refused.stdout == b""


@pytest.mark.parametrize("site", ["127.0.0.1"], indirect=True)
def test_our_own_command_through_it(socks, site, trews_command):
    process, address = socks("--user", "ann", **{VARIABLE: "s3cret"})
    endpoint = f"localhost:{site[1]}?via=socks5h://ann:s3cret@{address}"
    ended = trews_command("connect", endpoint, input=b"GET / HTTP/1.0\r\n\r\n")
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert ended.stdout.endswith(b"\r\n\r\n" + BODY)
    refused = trews_command("connect", endpoint.replace("s3", "S3"))
    assert refused.returncode == 2
    assert refused.stderr.endswith(f"the proxy socks5h://{address}: wrong user or password\n".encode())
    assert b"S3cret" not in refused.stderr
    line = process.stderr.readline()
    assert line.endswith(b": wrong user or password\n")
    assert b"S3cret" not in line


def test_what_cannot_be_reached_is_an_error_of_curl(socks, curl):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        _, address = socks()
        refused = curl("--socks5", address, f"http://127.0.0.1:{sock.getsockname()[1]}/")
    assert refused.returncode == 97
    assert b"(5)" in refused.stderr  # the code for "connection refused"


@pytest.mark.parametrize(
    ("args", "password", "expected"),
    [
        (["--user", "ann"], "", f"trews: --user needs a password: put it in {VARIABLE}, or say --password-file FILE\n"),
        (["--user", "ann:s3cret"], "", f"trews: --user takes a name only; others can see the command line, so put the "
         f"password in {VARIABLE}\n"),
        (["--user", ""], "s3cret", "trews: the user must have 1 to 255 bytes\n"),
        (["--user", "ann"], "s3cret" * 50, f"trews: the password in {VARIABLE} must have 1 to 255 bytes\n"),
        (["--password-file", "x"], "", "trews: --password-file is of a user: say --user NAME, too\n"),
        (["--user", "ann", "--password-file", "/nonesuch"], "s3cret",
         "trews: cannot read --password-file /nonesuch: no such file or directory\n"),
        (["--user", "ann", "--password-file", "/dev/null"], "s3cret",
         "trews: --user needs a password: put it in /dev/null\n"),
        (["--grace", "-1"], "", "trews: --grace takes a number of seconds, 0 or more, not '-1'\n"),
        (["udp:1080"], "", "trews: udp:localhost:1080: socks takes streams, and udp: has datagrams\n"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_one_line_and_status_2(args, password, expected, monkeypatch, capsys):
    monkeypatch.setenv(VARIABLE, password)
    assert main(["socks", *args]) == 2
    out, err = capsys.readouterr()
    assert (out, err) == ("", expected)
    assert "s3cret" not in err


def test_a_password_of_other_bytes(tmp_path, capsys):
    (tmp_path / "password").write_bytes(b"\xff\n")
    assert main(["socks", "--user", "ann", "--password-file", str(tmp_path / "password")]) == 2
    assert "is not UTF-8" in capsys.readouterr().err


def test_the_usual_port_and_this_machine_only(monkeypatch):
    asked = []
    monkeypatch.setattr("trews.cli.socks.run_aloud", lambda *args: None)
    monkeypatch.setattr("trews.cli.socks.SocksServer.listen", lambda self, endpoint: asked.append(str(endpoint)))
    assert main(["socks"]) == 0
    assert main(["socks", "1081"]) == 0
    assert asked == ["tcp:localhost:1080", "tcp:localhost:1081"]


def test_an_open_proxy_is_warned_of(monkeypatch, capsys):
    monkeypatch.setattr("trews.cli.socks.run_aloud", lambda *args: None)
    monkeypatch.setattr("trews.cli.socks.SocksServer.listen", lambda self, endpoint: self)
    monkeypatch.setenv(VARIABLE, "s3cret")
    assert main(["socks", "tcp:*:1080"]) == 0
    expected = "trews: warning: whoever reaches tcp:*:1080 can use it; --user NAME asks for a password\n"
    assert capsys.readouterr().err == expected
    assert main(["socks", "tcp:*:1080", "--user", "ann"]) == 0
    assert main(["socks", "1080"]) == 0
    assert capsys.readouterr().err == ""
    assert VARIABLE not in os.environ  # what this process starts does not get it


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tcp:localhost:1", True),
        ("tcp:127.0.0.3:1", True),
        ("tcp:[::1]:1", True),
        ("unix:/x", True),
        ("tcp:*:1", False),
        ("tcp:0.0.0.0:1", False),
        ("tcp:[::]:1", False),
        ("tcp:192.0.2.1:1", False),
    ],
)
def test_is_local(text, expected):
    assert is_local(Endpoint.parse(text)) is expected

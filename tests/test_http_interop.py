"""http.Server with the programs that people use, on loopback: curl, openssl, nc, load generators, Chromium."""

from __future__ import annotations

import asyncio
import hashlib
import re
import shutil

import pytest

import trews
from tests.conftest import absent
from tests.handshakes import Authority
from tests.servers import until
from trews import http

PAGE = """<!doctype html><title>trews</title><link rel="stylesheet" href="/style.css">
<img id="dot" src="/dot.png" alt=""><p id="said">nothing</p><script src="/script.js"></script>"""
SCRIPT = """
const said = document.getElementById("said"), dot = document.getElementById("dot");
fetch("/items", {method: "POST", body: "[1, 2]"}).then(answer => answer.json()).then(found => {
    said.textContent = `added up: ${found.sum}, wide: ${dot.width}, ${getComputedStyle(said).color}`;
});"""
# A PNG of one grey pixel.
DOT = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b550000000a49444154789c6368000000820081"
    "77cd72b60000000049454e44ae426082"
)
LARGE = bytes(range(256)) * 40_000


class Site:
    """An application with a bit of everything, which notes what it was asked."""

    starts_at_head = True

    def __init__(self):
        self.asked = []
        self.ends = []

    async def __call__(self, request):
        self.asked.append(f"{request.method} {request.path} {request.version}")
        match request.path:
            case "/":
                return http.html(PAGE)
            case "/style.css":
                return http.Response("p { color: rgb(1, 2, 3) }", content_type="text/css")
            case "/script.js":
                return http.Response(SCRIPT, content_type="text/javascript")
            case "/dot.png":
                return http.Response(DOT, content_type="image/png")
            case "/items":
                await request.read()
                return {"sum": sum(request.json())}
            case "/hash":
                digest, size = hashlib.sha256(), 0
                async for piece in request:
                    digest.update(piece)
                    size += len(piece)
                return f"{size} {digest.hexdigest()} {request.trailers.get('X-Sum', '-')}"
            case "/large":
                return LARGE
            case "/endless":
                return http.Response(self.endless())
            case "/slow":
                await asyncio.sleep(0.01)
                return "slow"
            case "/refuse":
                return 403
            case "/text":
                return "Hello, world!"
        return 404

    async def endless(self):
        try:
            while True:
                yield b"x" * 10_000
        finally:
            self.ends.append("endless")


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def site():
    return Site()


def with_server(main, site, *endpoints, **settings):
    """Run `main(server)` while the site is served."""

    async def serving():
        async with http.Server(site, **settings).listen(*endpoints or ("tcp:127.0.0.1:0",)) as server:
            await main(server)
            await until(lambda: not len(server.connections))

    trews.run(serving())


async def run(*command, data=None, status=0, **options):
    """What a program says, once it has ended with this status; it must not complain."""
    path = shutil.which(command[0]) or absent(f"{command[0]} is not installed")
    process = await asyncio.create_subprocess_exec(
        path,
        *map(str, command[1:]),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        **options,
    )
    out, err = await process.communicate(data)
    assert status is None or process.returncode == status, (command, process.returncode, out[-2000:], err[-2000:])
    return out


async def curl(*arguments, **options):
    return await run("curl", "-sS", "--max-time", "60", *arguments, **options)


# -- curl


def test_curl_asks_in_every_way(site, tmp_path):
    upload = tmp_path / "upload"
    upload.write_bytes(LARGE)
    said = f"{len(LARGE)} {hashlib.sha256(LARGE).hexdigest()} -".encode()

    async def main(server):
        url = f"http://127.0.0.1:{server.port}"
        assert await curl(f"{url}/text") == b"Hello, world!"
        assert await curl("--http1.0", f"{url}/text") == b"Hello, world!"
        head = await curl("-I", f"{url}/text")
        assert b"HTTP/1.1 200 OK\r\n" in head
        assert b"Content-Length: 13\r\n" in head
        assert await curl("-d", "[1, 20]", f"{url}/items") == b'{"sum":21}'
        assert await curl("-T", upload, f"{url}/hash") == said
        assert await curl("-T", upload, "-H", "Expect: 100-continue", f"{url}/hash") == said
        assert await curl("-T", upload, "-H", "Expect:", f"{url}/hash") == said
        assert await curl("-T", upload, "-H", "Transfer-Encoding: chunked", f"{url}/hash") == said
        assert await curl("--http1.0", "-T", upload, f"{url}/hash") == said
        assert await curl(f"{url}/large") == LARGE
        assert await curl("--raw", f"{url}/large") == LARGE
        assert await curl("-o", tmp_path / "got", "-w", "%{http_code}", f"{url}/none") == b"404"
        assert {asked.split()[-1] for asked in site.asked} == {"1.0", "1.1"}

    with_server(main, site)


def test_curl_is_told_to_continue_or_not(site, tmp_path):
    """A body that is refused by its head never comes."""
    upload = tmp_path / "upload"
    upload.write_bytes(LARGE)

    async def main(server):
        url = f"http://127.0.0.1:{server.port}"
        expect = ("-T", upload, "-H", "Expect: 100-continue", "-w", "\n%{http_code} %{size_upload}", "-D", "-")
        accepted = await curl(*expect, f"{url}/hash")
        assert accepted.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")
        assert accepted.endswith(b"\n200 %d" % len(LARGE))
        refused = await curl(*expect, f"{url}/refuse")
        assert refused.startswith(b"HTTP/1.1 403")
        assert refused.endswith(b"\n403 0")

    with_server(main, site)


def test_curl_sees_the_answer_to_a_body_that_nobody_reads(site, tmp_path):
    """An early answer arrives, though the upload goes on."""
    upload = tmp_path / "upload"
    upload.write_bytes(LARGE)

    async def main(server):
        url = f"http://127.0.0.1:{server.port}"
        for how in (("-H", "Expect:"), ("-H", "Expect:", "-H", "Transfer-Encoding: chunked")):
            assert (await curl("-T", upload, *how, "-w", "%{http_code}", f"{url}/refuse")).endswith(b"403")

    with_server(main, site)


def test_curl_keeps_its_connection(site):
    async def main(server):
        urls = [f"http://127.0.0.1:{server.port}/text"] * 10
        said = await curl("-w", " %{num_connects}\n", *urls)
        assert re.findall(rb"world! (\d)", said) == [b"1"] + [b"0"] * 9

    with_server(main, site)


def test_curl_that_goes_away_ends_the_answer(site):
    async def main(server):
        url = f"http://127.0.0.1:{server.port}"
        await curl("--max-time", "0.3", "-o", "/dev/null", f"{url}/endless", status=28)
        await until(lambda: site.ends == ["endless"])
        assert await curl(f"{url}/text") == b"Hello, world!"

    with_server(main, site)


def test_curl_over_tls_and_a_unix_socket(site, authority, tmp_path):
    pem = authority.issue("server.pem", "localhost")

    async def main(server):
        port = server.endpoints[0].port
        trusted = ("--cacert", authority.path)
        url = f"https://localhost:{port}"
        said = await curl(*trusted, "-v", "-w", "\n%{http_version} %{ssl_verify_result}", f"{url}/text")
        assert said == b"Hello, world!\n1.1 0"
        assert await curl(*trusted, f"{url}/large") == LARGE
        upload = tmp_path / "upload"
        upload.write_bytes(LARGE)
        assert (await curl(*trusted, "-T", upload, f"{url}/hash")).split()[0] == b"%d" % len(LARGE)
        assert await curl("--unix-socket", tmp_path / "s", "http://localhost/text") == b"Hello, world!"

    with_server(main, site, f"tls:localhost:0?cert={pem}", f"unix:{tmp_path}/s")


# -- bytes by hand


REQUESTS = b"GET /text HTTP/1.1\r\nHost: a\r\n\r\n" * 20 + b"GET /slow HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


def test_openssl_s_client(site, authority):
    pem = authority.issue("server.pem", "localhost")

    async def main(server):
        port = server.endpoints[0].port
        said = await run(
            "openssl", "s_client", "-connect", f"localhost:{port}", "-alpn", "h2,http/1.1", "-ign_eof", data=REQUESTS
        )
        assert b"ALPN protocol: http/1.1" in said
        assert said.count(b"Hello, world!") == 20
        assert b"\r\n\r\nslow" in said

    with_server(main, site, f"tls:localhost:0?cert={pem}")


def test_nc_sends_many_requests_at_once(site):
    async def main(server):
        said = await run("nc", "-N", "127.0.0.1", server.port, data=REQUESTS)
        assert said.count(b"HTTP/1.1 200 OK") == 21
        assert said.endswith(b"slow")
        trailers = (
            b"POST /hash HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
            b"5\r\nhello\r\n0\r\nX-Sum: 17\r\n\r\n"
        )
        assert (await run("nc", "-N", "127.0.0.1", server.port, data=trailers)).endswith(b" 17")

    with_server(main, site)


# -- load


@pytest.mark.parametrize(
    ("command", "wanted", "unwanted"),
    [
        pytest.param("ab -q -n 2000 -c 50 {url}/text", "Failed requests:        0", "Non-2xx", id="ab"),
        pytest.param("ab -q -k -n 2000 -c 50 {url}/text", "Keep-Alive requests:    2000", "Non-2xx", id="ab -k"),
        pytest.param("ab -q -k -i -n 500 -c 5 {url}/large", "Complete requests:      500", "Non-2xx", id="ab -i"),
        pytest.param("wrk -t1 -c50 -d1s {url}/text", "requests in", "errors", id="wrk"),
        pytest.param("wrk -t1 -c50 -d1s {url}/slow", "requests in", "errors", id="wrk, slow"),
        pytest.param("h2load --h1 -n 2000 -c 20 -m 8 {url}/text", "2000 succeeded, 0 failed", "nothing", id="h2load"),
        pytest.param(
            "h2load --h1 -n 50 -c 5 {url}/large", "50 2xx, 0 3xx, 0 4xx, 0 5xx", "nothing", id="h2load, large"
        ),
        pytest.param(
            "hey -n 2000 -c 50 {url}/text", "[200]\t2000 responses", "Error", id="hey", marks=pytest.mark.slow
        ),
        pytest.param(
            "siege -j -b -c 20 -r 50 {url}/text",
            '"failed_transactions":\t\t           0',
            "nothing",
            id="siege",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "httperf --server 127.0.0.1 --port {port} --uri /text --num-conns 50 --num-calls 20",
            "2xx=1000 3xx=0 4xx=0 5xx=0",
            "nothing",
            id="httperf",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_load(site, command, wanted, unwanted, tmp_path):
    async def main(server):
        text = command.format(url=f"http://127.0.0.1:{server.port}", port=server.port)
        said = (await run(*text.split(), env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"})).decode()
        assert wanted in said, said
        assert unwanted not in said, said
        assert not server.stats.refused

    with_server(main, site)


# -- a browser


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tcp", "tls"])
def test_chromium_shows_a_page(site, authority, kind, tmp_path):
    pem = authority.issue("server.pem", "localhost")
    endpoint = "tcp:localhost:0" if kind == "tcp" else f"tls:localhost:0?cert={pem}"

    async def main(server):
        url = f"{'http' if kind == 'tcp' else 'https'}://localhost:{server.endpoints[0].port}/"
        browser = (
            "chromium",
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--ignore-certificate-errors",
            f"--user-data-dir={tmp_path}/profile",
            "--virtual-time-budget=5000",
        )
        said = await run(*browser, "--dump-dom", url)
        assert b"added up: 3, wide: 1, rgb(1, 2, 3)" in said
        await run(*browser, f"--screenshot={tmp_path}/page.png", "--window-size=600,300", url)
        assert (tmp_path / "page.png").stat().st_size > 1000
        asked = {line.split()[1] for line in site.asked}
        assert asked >= {"/", "/style.css", "/dot.png", "/script.js", "/items"}

    with_server(main, site, endpoint)

"""TLS with other programs, on loopback, both ways: openssl, gnutls-cli, curl, socat."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import ssl

import pytest

import trews
from examples import starttls
from tests.conftest import absent
from tests.handshakes import Authority
from tests.servers import Notes, until

DATA = bytes(range(32, 127)) * 11_000  # a megabyte that no program takes for a command
WITHIN = 30.0


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def pem(authority):
    return str(authority.issue("server.pem", "localhost"))


@pytest.fixture(scope="module")
def trusting(authority):
    return authority.trusting()


class EchoAll(trews.Connection):
    """Says back what comes; ends after as much as DATA."""

    write_limit = 1 << 24

    def on_read(self, data):
        self.write(data)
        if self.bytes_in >= len(DATA):
            self.close()

    def on_close(self, reason):
        self.server.notes.append(reason)


class Plain(trews.Connection):
    def on_read(self, data):
        self.write(data)

    def on_close(self, reason):
        self.server.notes.append(reason)


def serving(pem, handler=Plain, options=""):
    return Notes(handler).listen(f"tls:localhost:0?cert={pem}{options}")


@contextlib.asynccontextmanager
async def program(*command):
    path = shutil.which(command[0])
    if path is None:
        absent(f"no {command[0]} here")
    process = await asyncio.create_subprocess_exec(
        path,
        *command[1:],
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()
        process._transport.close()
        await asyncio.sleep(0)


async def all_of(*command, data=b""):
    """What a program prints, and its status."""
    async with program(*command) as process:
        async with asyncio.timeout(WITHIN):
            output, _ = await process.communicate(data)
        return output, process.returncode


async def told(process, text, seen=b""):
    """Read until the program has printed that."""
    async with asyncio.timeout(WITHIN):
        while text not in seen:
            piece = await process.stdout.read(65_536)
            assert piece, seen
            seen += piece
    return seen


def s_client(server, authority, *more):
    where = f"localhost:{server.port}"
    return ("openssl", "s_client", "-connect", where, "-CAfile", authority.path, "-verify_return_error", *more)


def free_port():
    with socket.socket() as sock:
        sock.bind(("", 0))  # free on all interfaces, as s_server wants it: on loopback many may be in TIME_WAIT
        return sock.getsockname()[1]


async def connected(url, **settings):
    """To a program that may not be there yet."""
    async with asyncio.timeout(WITHIN):
        while True:
            try:
                return await trews.connect(url, **settings)
            except trews.ConnectError as exc:
                if exc.__cause__ is not None:
                    raise
                await asyncio.sleep(0.01)


# -- a megabyte there and back


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_openssl_s_client(authority, pem, version):
    async def main():
        async with serving(pem, EchoAll) as server:
            output, status = await all_of(*s_client(server, authority, "-quiet", version), data=DATA)
            assert output.endswith(DATA)
            assert status == 0
            await until(lambda: server.notes)
            assert server.notes[0].is_clean

    trews.run(main())


def test_gnutls_cli(authority, pem):
    async def main():
        async with serving(pem, EchoAll) as server:
            where = ("-p", str(server.port), "localhost")
            command = ("gnutls-cli", "--x509cafile", authority.path, "--logfile", "/dev/null", *where)
            async with program(*command) as process:
                process.stdin.write(DATA)
                async with asyncio.timeout(WITHIN):
                    output = await process.stdout.read()
            assert output.count(DATA) == 1
            await until(lambda: server.notes)
            assert server.notes[0].is_clean

    trews.run(main())


def test_socat_as_client(authority, pem):
    async def main():
        async with serving(pem, EchoAll) as server:
            address = f"OPENSSL:localhost:{server.port},cafile={authority.path}"
            output, status = await all_of("socat", "-t", "20", "-", address, data=DATA)
            assert output == DATA
            assert status == 0
            await until(lambda: server.notes)
            assert server.notes[0].is_clean

    trews.run(main())


def test_socat_as_server(authority, pem):
    async def main():
        port = free_port()
        listen = f"OPENSSL-LISTEN:{port},bind=127.0.0.1,cert={pem},verify=0"
        async with program("socat", listen, "EXEC:cat"):
            url = f"tls:127.0.0.1:{port}?ca={authority.path}&server_name=localhost"
            conn = await connected(url, max_message=1 << 21)
            conn.write(DATA)
            assert await conn.read(len(DATA)) == DATA
            conn.close()
            await conn.wait_closed()

    trews.run(main())


HTTP = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(DATA) + DATA


class Canned(trews.Connection):
    framer = b"\r\n\r\n"

    def on_read(self, head):
        self.server.notes.append(self.tls.alpn)
        self.write(HTTP)
        self.close()


def test_curl(authority, pem):
    async def main():
        async with serving(pem, Canned, "&alpn=http/1.1") as server:
            url = f"https://localhost:{server.port}/"
            output, status = await all_of("curl", "-sS", "--cacert", authority.path, url)
            assert (output, status) == (DATA, 0)
            assert server.notes[0] == "http/1.1"
            output, status = await all_of("curl", "-sS", url)
            assert status == 60  # it does not trust the authority
            await until(lambda: server.stats.handshakes_failed == 1)

    trews.run(main())


# -- new keys, new handshakes


@pytest.mark.parametrize("command", [b"K\n", b"k\n"], ids=["K", "k"])
def test_new_keys_of_a_client(authority, pem, command):
    async def main():
        async with serving(pem) as server, program(*s_client(server, authority)) as process:
            for number in range(3):
                process.stdin.write(b"before %d\n" % number)
                seen = await told(process, b"before %d\n" % number)
                process.stdin.write(command)
                seen = await told(process, b"KEYUPDATE", seen)
                process.stdin.write(b"after %d\n" % number)
                await told(process, b"after %d\n" % number)
            (served,) = server.connections
            assert served.is_open

    trews.run(main())


@pytest.mark.parametrize("command", [b"K\n", b"k\n"], ids=["K", "k"])
def test_new_keys_in_the_middle_of_a_backlog(authority, pem, command):
    """The answer to it goes out behind a chunk that is stuck, sealed by the old key."""
    lines = b"".join(b"line %07d\n" % number for number in range(500_000))

    class Pushing(Plain):
        write_limit = 1 << 24

        def on_read(self, data):
            self.write(lines + b"the end\n")

    async def main():
        async with serving(pem, Pushing) as server, program(*s_client(server, authority)) as process:
            process.stdin.write(b"go\n")
            await until(lambda: any(conn.bytes_out > 0 for conn in server.connections))
            process.stdin.write(command)
            await asyncio.sleep(0.05)
            (served,) = server.connections
            assert served.bytes_out < len(lines)
            pieces, tail = [], b""
            async with asyncio.timeout(WITHIN):
                while b"the end\n" not in tail:
                    piece = await process.stdout.read(1 << 20)
                    assert piece
                    pieces.append(piece)
                    tail = (tail + piece)[-100:]
            output = b"".join(pieces)
            assert b"KEYUPDATE" in output
            got = [line for line in output.split(b"\n") if line.startswith(b"line ")]
            assert len(got) >= 499_000  # what it says itself may stand in the middle of a line
            assert served.is_open

    trews.run(main())


def test_new_keys_of_a_server(authority, pem):
    async def main():
        port = free_port()
        async with program("openssl", "s_server", "-accept", str(port), "-cert", pem, "-key", pem) as process:
            await told(process, b"ACCEPT")
            conn = await connected(f"tls:localhost:{port}?ca={authority.path}")
            for command in (b"K\n", b"k\n"):
                process.stdin.write(command)
                conn.write(b"from here\n")
                await told(process, b"from here")
                process.stdin.write(b"from there\n")
                assert await conn.read(b"\n", timeout=WITHIN) == b"from there"
            conn.close()
            await conn.wait_closed()

    trews.run(main())


def test_a_renegotiation_that_a_server_begins(authority, pem, trusting):
    """With a context of one's own that allows it: what is written meanwhile waits for input, and arrives."""
    trusting.maximum_version = ssl.TLSVersion.TLSv1_2
    assert not trusting.options & ssl.OP_NO_RENEGOTIATION

    async def main():
        port = free_port()
        command = ("openssl", "s_server", "-tls1_2", "-accept", str(port), "-cert", pem, "-key", pem)
        async with program(*command) as process:
            await told(process, b"ACCEPT")
            conn = await connected(f"tls:localhost:{port}", tls_context=trusting)
            tls, wanted = conn._transport.core.sock, []
            read, seal = tls._records._read, tls._seal

            def opened(size):
                try:
                    return read(size)
                finally:  # in the very middle of it, too
                    if not tls.tls.version:
                        conn.write(b"meanwhile\n")

            def sealed(data):
                try:
                    return seal(data)
                except ssl.SSLWantReadError:
                    wanted.append(1)
                    raise

            tls._records._read, tls._seal = opened, sealed
            for number in range(3):
                process.stdin.write(b"R\n")
                await asyncio.sleep(0.02)
                conn.write(b"line %d\n" % number)
                await told(process, b"line %d" % number)
                process.stdin.write(b"from there\n")
                assert await conn.read(b"\n", timeout=WITHIN) == b"from there"
            assert wanted
            conn.close()
            await conn.wait_closed()

    trews.run(main())


def test_our_servers_refuse_renegotiation(authority, pem):
    async def main():
        async with serving(pem) as server, program(*s_client(server, authority, "-tls1_2")) as process:
            process.stdin.write(b"hello\n")
            await told(process, b"hello\n")
            process.stdin.write(b"R\n")
            await told(process, b"no renegotiation")
            async with trews.connect(f"tls:localhost:{server.port}?ca={authority.path}") as conn:
                conn.write(b"still here")
                assert await conn.read(10) == b"still here"

    trews.run(main())


# -- what openssl says of our servers


def test_sni_alpn_and_chains(authority, pem):
    other = authority.issue("other.pem", "other.example")

    async def main():
        async with serving(pem, options=f"&cert={other}&alpn=h2,http/1.1") as server:
            for name, more, said in (
                ("localhost", ("-alpn", "http/1.1,h2"), b"ALPN protocol: h2"),
                ("other.example", (), b"No ALPN negotiated"),
                ("unknown.example", (), b"No ALPN negotiated"),
            ):
                output, status = await all_of(*s_client(server, authority, "-servername", name, *more), data=b"Q\n")
                assert status == 0, output
                assert said in output
                assert b"Verify return code: 0 (ok)" in output
            output, status = await all_of(
                *s_client(server, authority, "-servername", "other.example", "-verify_hostname", "other.example"),
                data=b"Q\n",
            )
            assert status == 0

    trews.run(main())


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_sessions_are_resumed(authority, pem, version, tmp_path):
    kept = str(tmp_path / "session")

    async def main():
        async with serving(pem) as server:
            for option, said in (("-sess_out", b"New, TLSv1"), ("-sess_in", b"Reused, TLSv1")):
                async with program(*s_client(server, authority, version, option, kept)) as process:
                    process.stdin.write(b"hello\n")
                    output = await told(process, b"hello\n")
                    process.stdin.write(b"Q\n")
                    output += await process.stdout.read()
                    assert said in output
            assert server.stats.handshakes_failed == 0

    trews.run(main())


@pytest.mark.parametrize("option", ["", "&client_cert=optional"])
def test_certificates_of_clients(authority, pem, tmp_path, option):
    (tmp_path / "ca").mkdir()
    wrong = str(Authority(tmp_path / "ca").issue("x.pem", "anna@example.org"))
    mine = str(authority.issue("client.pem", "anna@example.org"))

    async def main():
        async with serving(pem, options=f"&client_ca={authority.path}{option}") as server:
            for more, comes_in in (
                ((), bool(option)),
                (("-cert", wrong, "-key", wrong), False),
                (("-cert", mine, "-key", mine), True),
            ):
                async with program(*s_client(server, authority, "-quiet", *more)) as process:
                    process.stdin.write(b"hello\n")
                    async with asyncio.timeout(WITHIN):
                        output = b""
                        while b"hello\n" not in output and (piece := await process.stdout.read(65_536)):
                            output += piece
                    assert (b"hello\n" in output) is comes_in, output
                    assert comes_in or b"alert" in output

    trews.run(main())


# -- STARTTLS


def test_openssl_s_client_starttls(authority, pem):
    starttls.tls_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    starttls.tls_context.load_cert_chain(pem)

    async def main():
        async with Notes(starttls.Mail).listen("tcp:localhost:0") as server:
            async with program(*s_client(server, authority, "-starttls", "smtp", "-quiet")) as process:
                process.stdin.write(b"NOOP\r\n")
                await told(process, b"502 NOOP: not in this example, over TLSv1.3")
                process.stdin.write(b"QUIT\r\n")
                output = await told(process, b"221 Bye")
                async with asyncio.timeout(WITHIN):
                    assert not await process.stdout.read(), output
                    assert await process.wait() == 0

    trews.run(main())


def test_the_alert_of_a_starttls_that_fails_reaches_the_client(authority, pem):
    starttls.tls_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    starttls.tls_context.load_cert_chain(pem)
    starttls.tls_context.minimum_version = ssl.TLSVersion.TLSv1_3

    async def main():
        async with Notes(starttls.Mail).listen("tcp:localhost:0") as server:
            output, status = await all_of(*s_client(server, authority, "-starttls", "smtp", "-tls1_2"))
            assert status != 0
            assert b"protocol version" in output

    trews.run(main())

"""Through real proxies: squid with a password, dante with one; by address and by name, and what they refuse."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
import trustme

import trews
from tests.clients import LOOPS
from tests.conftest import absent
from trews import ConnectError, Endpoint, Server
from trews.testing import no_leaks
from trews.transport.connector import open_stream

PASSWORD = "p:w@d/ä"
ENCODED = "p%3Aw%40d%2F%C3%A4"
FORBIDDEN = "127.0.0.9"  # that both are told not to connect to
START = 30.0  # seconds that a proxy gets to start; squid needs 1


def program(*names):
    for name in names:
        # Where Debian has them, which is not in the path of everybody.
        found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
        if found:
            return found
    absent(f"no program {' or '.join(names)}")


def file_of(package, *patterns):
    for pattern in patterns:
        for found in Path("/").glob(pattern):
            return str(found)
    absent(f"no {package}")


def hashed(password, kind):
    command = [program("openssl"), "passwd", kind, "-stdin"]
    return subprocess.run(command, input=password.encode(), capture_output=True, check=True).stdout.decode().strip()


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


@contextlib.contextmanager
def folder():
    """A directory that the user whom a proxy becomes can read and write; pytest's own are private."""
    with tempfile.TemporaryDirectory(prefix="trews-via-") as path:
        os.chmod(path, 0o777)
        yield Path(path)


@contextlib.contextmanager
def running(command, port, log, **more):
    """A program that listens on a port some time after its start."""
    with open(log, "wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, **more
        )
        try:
            end = time.monotonic() + START
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    assert process.poll() is None, log.read_text("utf-8", "replace")
                    assert time.monotonic() < end, log.read_text("utf-8", "replace")
                    time.sleep(0.02)
            yield
        finally:
            process.terminate()
            try:
                process.wait(10)
            finally:
                process.kill()
                process.wait()


SQUID = """
http_port 127.0.0.1:{port}
auth_param basic program {helper} {folder}/users
auth_param basic children 1 startup=1
auth_param basic utf8 on
auth_param basic realm proxy
acl known proxy_auth REQUIRED
acl forbidden dst {forbidden}
http_access deny forbidden
http_access allow known
http_access deny all
cache deny all
cache_mem 0
memory_cache_shared off
pinger_enable off
access_log none
cache_log {folder}/cache.log
pid_filename {folder}/pid
coredump_dir {folder}
visible_hostname localhost
shutdown_lifetime 0
"""


@pytest.fixture(scope="module")
def squid():
    command, helper = program("squid"), file_of("helper of squid", "usr/lib*/**/squid/basic_ncsa_auth")
    with folder() as path:
        (path / "users").write_text(f"ann:{hashed(PASSWORD, '-apr1')}\n")
        port = free_port()
        config = SQUID.format(port=port, helper=helper, folder=path, forbidden=FORBIDDEN)
        (path / "squid.conf").write_text(config)
        # A name of its own (letters and digits): its memory is shared by name with another squid on this machine.
        name = f"trews{os.getpid()}"
        with running([command, "-N", "-n", name, "-f", path / "squid.conf"], port, path / "log"):
            yield port


DANTE = """
logoutput: {folder}/messages
internal: 127.0.0.1 port = {port}
external: 127.0.0.1
clientmethod: none
socksmethod: {method}
user.privileged: {user}
user.unprivileged: {user}
client pass {{ from: 127.0.0.0/8 to: 0.0.0.0/0 }}
socks block {{ from: 0.0.0.0/0 to: {forbidden}/32 }}
socks pass {{ from: 127.0.0.0/8 to: 0.0.0.0/0 command: connect }}
"""


@contextlib.contextmanager
def dante(method):
    """Its users are those of the system: in a file of our own by nss_wrapper, for the processes of dante only."""
    command = program("danted", "sockd")
    wrapper = file_of("libnss_wrapper.so", "usr/lib/libnss_wrapper.so", "usr/lib*/*/libnss_wrapper.so")
    if os.geteuid() != 0:
        absent("dante looks passwords up as root only")
    with folder() as path:
        (path / "passwd").write_text(Path("/etc/passwd").read_text() + "ann:x:7777:7777::/:/bin/false\n")
        (path / "shadow").write_text(f"ann:{hashed(PASSWORD, '-6')}:19000:0:99999:7:::\n")
        port = free_port()
        config = DANTE.format(port=port, folder=path, method=method, user="root", forbidden=FORBIDDEN)
        (path / "dante.conf").write_text(config)
        wrapped = {
            "LD_PRELOAD": wrapper,
            "NSS_WRAPPER_PASSWD": str(path / "passwd"),
            "NSS_WRAPPER_GROUP": "/etc/group",
            "NSS_WRAPPER_SHADOW": str(path / "shadow"),
        }
        arguments = ["-f", path / "dante.conf", "-p", path / "pid"]
        with running([command, *arguments], port, path / "log", env={**os.environ, **wrapped}):
            yield port


@pytest.fixture(scope="module")
def open_dante():
    with dante("none") as port:
        yield port


@pytest.fixture(scope="module")
def closed_dante():
    with dante("username") as port:
        yield port


@pytest.fixture(params=LOOPS)
def on_loop(request):
    def run(main):
        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner, no_leaks():
            return runner.run(main)

    return run


async def banner(conn):
    """A server that speaks first, and then says what it is told."""
    conn.write(b"220 ready\r\n")
    async for data in conn:
        await conn.send(data)


async def conversation(via, host="127.0.0.1"):
    async with Server(banner).listen("tcp:127.0.0.1:0") as server:
        async with trews.connect(f"tcp:{host}:{server.port}?via={via}") as conn:
            conn.write(b"hello")
            return await conn.read(16, timeout=20)


async def refusal(via, target="tcp:127.0.0.1:9"):
    with pytest.raises(ConnectError) as caught:
        await trews.connect(f"{target}?via={via}")
    assert "wrong!" not in str(caught.value)
    assert ENCODED not in str(caught.value)
    return caught.value.attempts[-1][1]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_squid_with_a_password(on_loop, squid, host):
    via = f"http://ann:{ENCODED}@127.0.0.1:{squid}"
    assert on_loop(conversation(via, host)) == b"220 ready\r\nhello"


def test_tls_through_squid_with_a_greeting_of_the_server(on_loop, squid):
    """The socket is a plain one: the handshake goes through it, and so does what the server says first."""
    authority = trustme.CA()
    server_context, client_context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("mail.test").configure_cert(server_context)
    authority.configure_trust(client_context)

    greeted = asyncio.Event()

    async def greet(reader, writer):
        writer.write(b"220 ready\r\n" + await reader.readexactly(5))
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        greeted.set()

    async def main():
        loop = asyncio.get_running_loop()
        async with await asyncio.start_server(greet, "127.0.0.1", 0, ssl=server_context) as server:
            port = server.sockets[0].getsockname()[1]
            endpoint = Endpoint.parse(f"tcp:127.0.0.1:{port}?via=http://ann:{ENCODED}@127.0.0.1:{squid}")
            sock, _ = await open_stream(endpoint, loop)
            reader, writer = await asyncio.open_connection(sock=sock, ssl=client_context, server_hostname="mail.test")
            writer.write(b"hello")
            got = await reader.readexactly(16)
            writer.close()
            await writer.wait_closed()
            await greeted.wait()
            return got

    assert on_loop(main()) == b"220 ready\r\nhello"


def test_squid_refuses(on_loop, squid):
    async def main():
        assert await refusal(f"http://ann:wrong!@127.0.0.1:{squid}") == "wrong user or password (407)"
        assert (await refusal(f"http://127.0.0.1:{squid}")).startswith("it wants a user and a password")
        own = f"http://ann:{ENCODED}@127.0.0.1:{squid}"
        assert await refusal(own, f"tcp:{FORBIDDEN}:9") == "its rules do not allow this target (403)"
        assert (await refusal(own)).startswith("it cannot reach 127.0.0.1:")
        assert await refusal(own, "tcp:nonesuch.invalid:9") == (
            "it failed (500); perhaps it cannot look up or reach nonesuch.invalid:9"
        )

    on_loop(main())


@pytest.mark.parametrize(("scheme", "host"), [("socks5", "127.0.0.1"), ("socks5h", "localhost")])
def test_dante_with_a_password(on_loop, closed_dante, scheme, host):
    via = f"{scheme}://ann:{ENCODED}@127.0.0.1:{closed_dante}"
    assert on_loop(conversation(via, host)) == b"220 ready\r\nhello"


@pytest.mark.parametrize(("scheme", "host"), [("socks5", "127.0.0.1"), ("socks5h", "localhost")])
def test_dante_without_a_password(on_loop, open_dante, scheme, host):
    assert on_loop(conversation(f"{scheme}://127.0.0.1:{open_dante}", host)) == b"220 ready\r\nhello"


def test_dante_refuses(on_loop, open_dante, closed_dante):
    async def main():
        assert await refusal(f"socks5://ann:wrong!@127.0.0.1:{closed_dante}") == "wrong user or password"
        assert (await refusal(f"socks5://127.0.0.1:{closed_dante}")).startswith("it wants a user and a password: ")
        own = f"socks5h://127.0.0.1:{open_dante}"
        assert await refusal(own, f"tcp:{FORBIDDEN}:9") == "its rules do not allow this target"
        assert await refusal(own) == "the target refused the connection"
        assert await refusal(own, "tcp:nonesuch.invalid:9") == "it cannot look up or reach nonesuch.invalid:9"

    on_loop(main())


def test_a_socks_server_is_no_http_proxy(on_loop, open_dante):
    async def main():
        why = await refusal(f"http://127.0.0.1:{open_dante}")
        assert why.startswith(("it does not speak HTTP", "it closed the connection", "the peer broke"))

    on_loop(main())

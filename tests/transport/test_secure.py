"""Connecting to `tls:` endpoints: both ends as users have them, what is known, what goes wrong."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl

import pytest

import trews
from tests.clients import LOOPS
from tests.handshakes import Authority
from tests.servers import Echo, Notes, until
from tests.tlspeer import V12, V13, Noting, contexts
from trews import Server
from trews.cli.selfsigned import self_signed
from trews.errors import ConnectError, ConnectTimedOut, TLSError


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def pem(authority):
    return authority.issue("server.pem", "localhost", "127.0.0.1")


@pytest.fixture(params=LOOPS)
def on_loop(request):
    """Runs a coroutine on a loop of each kind."""

    def run(main, debug=False):
        with asyncio.Runner(loop_factory=LOOPS[request.param], debug=debug) as runner:
            return runner.run(asyncio.wait_for(main, 50))

    return run


def on_trews(main):
    return trews.run(main)


def serve(pem, options="", handler=Echo, cls=Notes, **settings):
    return cls(handler, **settings).listen(f"tls:localhost:0?cert={pem}{options}")


async def echoed(conn, data=b"hello"):
    conn.write(data)
    assert await conn.read(len(data)) == data


# -- as it should be


def test_an_endpoint_is_all(on_loop, authority, pem):
    async def main():
        async with serve(pem) as server:
            async with trews.connect(f"tls:localhost:{server.port}?ca={authority.path}") as conn:
                await echoed(conn)
                (served,) = server.connections
                assert conn.tls.version == served.tls.version == "TLSv1.3"
                assert conn.tls.cipher == served.tls.cipher
                assert conn.tls.server_name == served.tls.server_name == "localhost"
                assert conn.remote_address == served.local_address
                assert served.tls.peer_certificate is None
                assert ("DNS", "localhost") in conn.tls.peer_certificate["subjectAltName"]
            assert conn.reason.is_clean
            await until(lambda: server.stats.bytes_out == 5)

    on_loop(main())


def test_a_megabyte_and_a_clean_end(on_loop, authority, pem):
    data = bytes(range(256)) * 4096

    async def main():
        async with serve(pem) as server:
            conn = await trews.connect(f"tls:localhost:{server.port}?ca={authority.path}", max_message=1 << 21)
            await echoed(conn, data)
            (served,) = server.connections
            conn.close()
            await conn.wait_closed()
            await served.wait_closed()
            assert served.reason.is_clean
            assert served.bytes_in == served.bytes_out == conn.bytes_out == len(data)

    on_loop(main())


def test_close_with_unread_input_still_delivers_all(on_loop, authority, pem):
    """A close over input that was not read is a reset in TCP, which takes the last bytes along."""
    data = bytes(range(250)) * 1200

    class Rude(trews.Connection):
        def on_connect(self):
            self.pause_reading()
            trews.after(0.05, self.end)

        def end(self):
            self.write(data)
            self.close()

    async def main():
        async with serve(pem, handler=Rude) as server:
            conn = await trews.connect(f"tls:localhost:{server.port}?ca={authority.path}", write_limit=1 << 24)
            conn.write(bytes(3_000_000))
            await asyncio.sleep(0.1)
            assert await conn.read_all() == data
            assert conn.reason is None or conn.reason.is_clean

    on_loop(main())


def test_a_peer_that_cuts_the_stream(on_loop, authority, pem):
    """A FIN of the kernel without the goodbye of TLS."""

    caught = []

    async def reading(conn):
        with pytest.raises(TLSError, match="goodbye") as info:
            await conn.read_all()
        caught.append((info.value.connection.bytes_in, conn.reason))

    async def main():
        async with serve(pem, handler=reading) as server:
            context = authority.trusting()

            def cut():
                with socket.create_connection(("localhost", server.port)) as plain:
                    tls = context.wrap_socket(plain, server_hostname="localhost")
                    tls.sendall(b"half of a mess")
                    with socket.socket(fileno=tls.detach()) as below:
                        below.shutdown(socket.SHUT_WR)
                        while below.recv(1000):
                            pass

            await asyncio.get_running_loop().run_in_executor(None, cut)
            await until(lambda: caught)
            ((count, reason),) = caught
            assert count == 14
            assert isinstance(reason, TLSError)

    on_loop(main())


def test_the_same_with_contexts_of_ones_own(on_loop, authority, pem):
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.load_cert_chain(pem)
    ours = authority.trusting()
    ours.maximum_version = V12

    async def main():
        async with Notes(Echo, tls_context=theirs).listen("tls:localhost:0") as server:
            conn = await trews.connect(f"tls:localhost:{server.port}", tls_context=ours)
            await echoed(conn)
            assert conn.tls.version == "TLSv1.2"
            conn.close()
            await conn.wait_closed()
            async with trews.Client(f"tls:localhost:{server.port}", tls_context=ours) as client:
                await echoed(await client.connected())

    on_loop(main())


@pytest.mark.parametrize("endpoint", ["localhost:9", "unix:/run/x", "memory:x"])
def test_a_context_where_nothing_is_encrypted_is_refused_at_once(endpoint):
    """What is meant to be secret must not go in clear."""
    context, own = contexts()
    for make in (
        lambda: trews.connect(endpoint, tls_context=context),
        lambda: trews.Client(endpoint, tls_context=context),
        lambda: trews.Server(trews.Connection, tls_context=own).listen(endpoint),
    ):
        with pytest.raises(trews.EndpointError, match="tls_context= needs a tls: endpoint"):
            make()


def test_alpn_and_sni_and_a_certificate_of_the_client(authority, pem, tmp_path):
    other = authority.issue("other.pem", "*.example.org")
    mine = authority.issue("client.pem", "anna@example.org")

    async def main():
        options = f"&cert={other}&alpn=h2,http/1.1&client_ca={authority.path}"
        async with serve(pem, options) as server:
            url = f"tls:localhost:{server.port}?ca={authority.path}"
            async with trews.connect(f"{url}&cert={mine}&alpn=http/1.1&server_name=a.example.org") as conn:
                await echoed(conn)
                (served,) = server.connections
                assert conn.tls.alpn == served.tls.alpn == "http/1.1"
                assert served.tls.server_name == "a.example.org"
                assert ("DNS", "*.example.org") in conn.tls.peer_certificate["subjectAltName"]
                assert ("email", "anna@example.org") in served.tls.peer_certificate["subjectAltName"]
            async with trews.connect(url) as conn:  # without one; in TLS 1.3 it learns of it when it reads
                with pytest.raises(TLSError, match="requires a certificate"):
                    await conn.read(1)
            await until(lambda: server.stats.handshakes_failed == 1)

    on_trews(main())


def test_verify_no_warns_each_time(on_loop, pem, caplog):
    async def main():
        async with serve(pem) as server:
            for count in (1, 2):
                async with trews.connect(f"tls:localhost:{server.port}?verify=no") as conn:
                    await echoed(conn)
                assert len([r for r in caplog.records if "verify=no" in r.getMessage()]) == count

    on_loop(main())


def test_sessions_are_resumed_by_our_servers(authority, pem):
    context = authority.trusting()

    def resumed(port, version):
        context.maximum_version = version
        session = None
        for _ in range(2):
            with socket.create_connection(("localhost", port)) as plain:
                with context.wrap_socket(plain, server_hostname="localhost", session=session) as tls:
                    tls.sendall(b"x")
                    assert tls.recv(1) == b"x"
                    session, reused = tls.session, tls.session_reused
        return reused

    async def main():
        async with serve(pem) as server:
            loop = asyncio.get_running_loop()
            for version in (V12, V13):
                assert await loop.run_in_executor(None, resumed, server.port, version)

    on_trews(main())


def test_renewed_files_while_a_connection_lives_on(authority, tmp_path, monkeypatch):
    monkeypatch.setattr("trews.transport.certificates.LOOK_EVERY", 0.02)
    path = tmp_path / "cert.pem"
    shutil.copy(authority.issue("old.pem", "localhost", "old"), path)

    async def names(url):
        async with trews.connect(url) as conn:
            return [name for _, name in conn.tls.peer_certificate["subjectAltName"]]

    async def main():
        async with serve(path) as server:
            url = f"tls:localhost:{server.port}?ca={authority.path}"
            async with trews.connect(url) as old:
                await echoed(old)
                shutil.copy(authority.issue("new.pem", "localhost", "new"), path)
                while "new" not in await names(url):
                    await asyncio.sleep(0.01)
                await echoed(old)
                path.write_text("no certificate at all")
                await asyncio.sleep(0.1)
                assert "new" in await names(url)
                await echoed(old)
                assert server.stats.handshakes_failed == 0

    on_trews(main())


# -- what goes wrong


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("wrong host", "is for other names"),
        ("expired", "has expired"),
        ("self-signed", "has signed its certificate itself"),
        ("unknown authority", "is signed by an authority that is not trusted here"),
    ],
)
def test_certificates_that_are_refused(on_loop, authority, tmp_path, kind, words):
    if kind == "wrong host":
        pem, ca = authority.issue("elsewhere.pem", "example.org"), authority.path
    elif kind == "expired":
        pem, ca = authority.issue("expired.pem", "localhost", age=30, days=10), authority.path
    elif kind == "self-signed":
        made = self_signed(["localhost"])
        pem, ca = f"{made.cert}&key={made.key}", authority.path
    else:
        (tmp_path / "ca").mkdir()
        pem, ca = Authority(tmp_path / "ca").issue("x.pem", "localhost"), authority.path

    async def main():
        async with serve(pem) as server:
            with pytest.raises(ConnectError, match=words) as caught:
                await trews.connect(f"tls:localhost:{server.port}?ca={ca}")
            assert isinstance(caught.value.__cause__, TLSError)
            assert "127.0.0.1" in str(caught.value)
            await until(lambda: server.stats.handshakes_failed == 1)
            assert server.notes == []

    on_loop(main())


def test_tls_to_a_port_that_does_not_speak_it(on_loop, authority):
    class Greeting(trews.Connection):
        def on_connect(self):
            self.write(b"220 hello, this is SMTP\r\n")

    async def main():
        async with Server(Greeting).listen("tcp:localhost:0") as server:
            with pytest.raises(ConnectError, match="does not speak TLS on this port"):
                await trews.connect(f"tls:localhost:{server.port}?ca={authority.path}")

    on_loop(main())


def test_clear_text_to_a_tls_port(on_loop, pem):
    async def main():
        async with serve(pem) as server:
            conn = await trews.connect(f"tcp:localhost:{server.port}")
            conn.write(b"hello, are you there?\r\n")
            assert await conn.read_all() in (b"", b"\x15\x03\x01\x00\x02\x02\x46")  # an alert
            assert server.stats.handshakes_failed == 1
            assert server.notes == []

    on_loop(main())


def test_a_server_that_never_answers(on_loop, authority):
    async def main():
        async with Server(Noting).listen("tcp:localhost:0") as server:
            with pytest.raises(ConnectTimedOut, match=r"the TLS handshake was not done within 0\.05 s"):
                await trews.connect(f"tls:localhost:{server.port}?ca={authority.path}&timeout=0.05")
            await until(lambda: not len(server.connections))

    on_loop(main())


def test_connecting_is_cancelled_in_the_handshake(on_loop, authority):
    async def main():
        async with Server(Noting).listen("tcp:localhost:0") as server:
            connecting = asyncio.ensure_future(
                trews.connect(f"tls:localhost:{server.port}?ca={authority.path}").__aenter__()
            )
            await until(lambda: len(server.connections))
            connecting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await connecting
            await until(lambda: not len(server.connections))

    on_loop(main())

"""TLS that begins on a connection that is there: STARTTLS, both sides, on every loop."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from pathlib import Path

import pytest

import trews
from tests.clients import LOOPS
from tests.mail import GO, LINES, Mail, begun, mail
from tests.servers import Notes, until
from tests.tlspeer import V12, V13, contexts
from trews.errors import Aborted, ClosedLocally, TLSError


@pytest.fixture(params=LOOPS)
def on_loop(request):
    """Runs a coroutine on a loop of each kind."""

    def run(main, debug=False):
        with asyncio.Runner(loop_factory=LOOPS[request.param], debug=debug) as runner:
            return runner.run(asyncio.wait_for(main, 50))

    return run


# -- as it should be


def test_both_sides(on_loop):
    async def main():
        async with mail() as server:
            conn = await begun(server)
            assert conn.tls is None
            before = conn.bytes_out
            await conn.start_tls(contexts()[0], server_name="localhost")
            assert conn.tls.version == "TLSv1.3"
            conn.send("secret")
            assert await conn.read() == "TLSv1.3: secret"
            assert conn.bytes_out == before + len("secret\r\n")
            assert conn.bytes_in == sum(map(len, ("clear: hello\r\n", GO.decode(), "TLSv1.3: secret\r\n")))
            (served,) = server.connections
            assert served.bytes_out == conn.bytes_in
            assert served.bytes_in == len("hello\r\nSTARTTLS\r\nsecret\r\n")
            conn.close()
            await conn.wait_closed()
            await until(lambda: server.notes)
            assert server.notes[0].is_clean

    on_loop(main())


@pytest.mark.parametrize("version", [V12, V13])
def test_much_data_both_ways_after_it(on_loop, version):
    data = bytes(range(256)) * 4096

    async def echo(conn):
        await conn.read(b"\n")
        await conn.start_tls(contexts(version)[1], reply=GO)
        while True:
            conn.write(await conn.read(None))
            await conn.drain()

    async def main():
        async with mail(echo) as server, trews.connect(f"tcp:localhost:{server.port}") as conn:
            conn.write(b"STARTTLS\n")
            await conn.read(b"\n")
            await conn.start_tls(contexts(version)[0])
            conn.write(data)
            assert await everything(conn, len(data)) == data

    on_loop(main())


async def everything(conn, count):
    got = bytearray()
    while len(got) < count:
        got += await conn.read(None)
    return bytes(got)


def test_the_name_that_was_connected_to_is_asked_for_and_verified(on_loop):
    async def main():
        async with mail() as server:
            conn = await trews.connect(f"tcp:127.0.0.1:{server.port}", framer=LINES)
            conn.send("STARTTLS")
            await conn.read()
            with pytest.raises(TLSError, match=r"the certificate of 127\.0\.0\.1 is for other names"):
                await conn.start_tls(contexts()[0])
            assert isinstance(conn.reason, TLSError)
            conn = await begun(server)
            await conn.start_tls(contexts()[0])
            assert conn.tls.server_name == "localhost"
            conn.close()
            await conn.wait_closed()

    on_loop(main())


def test_what_the_reply_must_be_is_said(on_loop):
    async def main():
        async with mail() as server:
            conn = await trews.connect(server.endpoints[0])
            with pytest.raises(
                TypeError, match=r"^reply takes bytes, bytearray or memoryview, not str; encode it first"
            ):
                conn.start_tls(contexts()[0], "x")
            conn.close()
            await conn.wait_closed()

    on_loop(main())


def test_what_is_written_meanwhile_arrives_encrypted_and_in_order(on_loop):
    class Eager(Mail):
        def on_read(self, line):
            if line == "STARTTLS":
                self.send("before")
                self.start_tls(contexts()[1], reply=GO)
                for number in range(1000):
                    self.send(f"{number}")
                self.write(b"x" * 300_000 + b"\n")

    async def main():
        async with mail(Eager, write_limit=1 << 20) as server:
            conn = await trews.connect(server.endpoints[0], framer=LINES, max_message=1 << 20)
            conn.send("STARTTLS")
            assert await conn.read() == "before"
            assert await conn.read() == GO.decode().strip()
            conn.start_tls(contexts()[0], server_name="localhost")
            conn.send("of the client")
            assert [await conn.read() for _ in range(1000)] == [str(number) for number in range(1000)]
            assert await conn.read() == "x" * 300_000
            conn.close()
            await conn.wait_closed()

    on_loop(main())


def test_much_that_is_still_to_be_sent_goes_out_in_clear_before_it(on_loop):
    data = b"y" * 3_000_000

    class Behind(trews.Connection):
        notes = None

        def on_read(self, line):
            self.write(data)
            self.start_tls(contexts()[1], reply=GO)
            self.send(b"sealed")

    async def main():
        async with Notes(Behind).listen("tcp:localhost:0") as server:
            conn = await trews.connect(server.endpoints[0], max_message=1 << 24)
            conn.write(b"STARTTLS\n")
            assert await conn.read(len(data)) == data
            assert await conn.read(b"\n") == GO.strip(b"\n")
            await conn.start_tls(contexts()[0], server_name="localhost")
            assert await conn.read(6) == b"sealed"
            conn.close()
            await conn.wait_closed()

    on_loop(main())


def test_who_waits_for_room_meanwhile_goes_on(on_loop):
    """What was full is another transport's business then."""

    async def push(conn):
        conn.write(b"z" * 8_000_000)
        draining = conn.spawn(conn.drain())
        await asyncio.sleep(0)
        assert not draining.done()
        await conn.start_tls(contexts()[1], reply=GO)
        await draining
        await conn.send(b"done")

    async def main():
        async with Notes(push).listen("tcp:localhost:0") as server:
            conn = await trews.connect(server.endpoints[0], max_message=1 << 24)
            await conn.read(8_000_000)
            await conn.read(b"\n")
            await conn.start_tls(contexts()[0], server_name="localhost")
            assert await conn.read(4) == b"done"
            assert server.notes == []
            conn.close()
            await conn.wait_closed()

    on_loop(main())


def test_over_unix_sockets(on_loop, tmp_path):
    async def main():
        async with mail(endpoint=f"unix:{tmp_path}/s") as server:
            conn = await begun(server)
            with pytest.raises(ValueError, match="say server_name="):
                conn.start_tls(contexts()[0])
            assert conn.is_open
            await conn.start_tls(contexts()[0], server_name="localhost")
            conn.send("secret")
            assert await conn.read() == "TLSv1.3: secret"
            (served,) = server.connections
            assert served.peer_credentials.pid
            conn.close()
            await conn.wait_closed()
            conn = await begun(server)
            trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
            await conn.start_tls(trusting)  # who checks no name needs none
            assert conn.tls.peer_certificate == {}
            conn.close()
            await conn.wait_closed()

    on_loop(main())


def test_tls_in_tls(on_loop):
    async def main():
        async with mail() as server:
            conn = await begun(server)
            await conn.start_tls(contexts()[0], server_name="localhost")
            conn.send("STARTTLS")
            assert await conn.read() == GO.decode().strip()
            await conn.start_tls(contexts()[0], server_name="localhost")
            conn.send("deep")
            assert await conn.read() == "TLSv1.3: deep"
            conn.close()
            await conn.wait_closed()

    on_loop(main())


def test_in_debug_mode(on_loop):
    async def main():
        async with mail() as server:
            conn = await begun(server)
            await conn.start_tls(contexts()[0], server_name="localhost")
            conn.send("secret")
            assert await conn.read() == "TLSv1.3: secret"
            conn.close()
            await conn.wait_closed()

    on_loop(main(), debug=True)


def test_the_trace_shows_clear_text(on_loop, monkeypatch, capsys):
    monkeypatch.setattr("trews.debugging.is_tracing", True)

    async def main():
        async with mail() as server:
            conn = await begun(server)
            await conn.start_tls(contexts()[0], server_name="localhost")
            conn.send("secret")
            assert await conn.read() == "TLSv1.3: secret"
            conn.close()
            await conn.wait_closed()

    on_loop(main())
    shown = capsys.readouterr().err
    for text in ("STARTTLS", "220 go ahead", "secret", "TLSv1.3: secret"):
        assert shown.count(f"  {text}") == 2, text  # sent and received


def test_a_switch_in_the_handshake(on_loop):
    class After(trews.Connection):
        framer = LINES

        def on_connect(self):
            self.send("the other speaks")

    class Switching(Mail):
        def on_read(self, line):
            self.start_tls(contexts()[1], reply=GO)
            self.switch(After)

    async def main():
        async with mail(Switching) as server:
            conn = await trews.connect(server.endpoints[0], framer=LINES)
            conn.send("STARTTLS")
            await conn.read()
            await conn.start_tls(contexts()[0], server_name="localhost")
            assert await conn.read() == "the other speaks"
            conn.close()
            await conn.wait_closed()
            conn = await trews.connect(server.endpoints[0], framer=LINES)
            conn.send("STARTTLS")
            await conn.read()
            conn.write(b"no TLS at all")
            with pytest.raises(trews.ConnectionClosed):
                while True:
                    await conn.read(None)
            await until(lambda: not server.connections)

    on_loop(main())


# -- a client whose first record follows at once is not mistaken for an attacker

TIMES = 500


def test_a_first_record_that_follows_at_once(on_loop):
    """The end of reading in clear must come before the reply: else this fails sometimes, under load."""
    client = contexts()[0]
    failures = []

    def attempts(port, done):
        try:
            for _ in range(TIMES):
                with socket.create_connection(("127.0.0.1", port)) as sock:
                    sock.sendall(b"STARTTLS\r\n")
                    received = sock.recv(100)
                    assert received == GO
                    outgoing, incoming = ssl.MemoryBIO(), ssl.MemoryBIO()
                    tls = client.wrap_bio(incoming, outgoing, server_hostname="localhost")
                    with pytest.raises(ssl.SSLWantReadError):
                        tls.do_handshake()
                    sock.sendall(outgoing.read())
                    answer = sock.recv(5)
                    assert answer[:1] == b"\x16", answer
        except BaseException as exc:
            failures.append(exc)
        finally:
            done()

    async def main():
        async with mail() as server:
            loop = asyncio.get_running_loop()
            finished = asyncio.Event()
            thread = threading.Thread(
                target=attempts, args=(server.port, lambda: loop.call_soon_threadsafe(finished.set))
            )
            thread.start()
            await finished.wait()
            thread.join()
            await until(lambda: len(server.notes) == TIMES or failures)
            assert failures == []

    on_loop(main())


def test_reading_stops_before_the_reply_is_written():
    """On a transport that is not ours; on ours nothing can come between."""
    calls = []

    class Watched(Mail):
        def on_read(self, line):
            below = self._transport
            for name in ("pause_reading", "write", "resume_reading", "set_protocol"):
                method = getattr(below, name)
                setattr(below, name, lambda *args, name=name, method=method: calls.append(name) or method(*args))
            calls.clear()
            super().on_read(line)

    async def main():
        async with mail(Watched) as server:
            conn = await begun(server)
            await conn.start_tls(contexts()[0], server_name="localhost")
            conn.close()
            await conn.wait_closed()

    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        runner.run(asyncio.wait_for(main(), 50))
    assert list(dict.fromkeys(calls))[:4] == ["pause_reading", "write", "set_protocol", "resume_reading"]


# -- bytes in clear


@pytest.mark.parametrize("is_split", [False, True])
def test_bytes_behind_the_command_end_it(on_loop, is_split):
    class Slow(Mail):
        async def on_read(self, line):
            self.server.lines.append(line)
            await until(lambda: len(self._inbox))
            super().on_read(line)

    async def main():
        async with mail(Slow) as server:
            server.lines = []
            conn = await trews.connect(server.endpoints[0])
            conn.write(b"STARTTLS\r\n" if is_split else b"STARTTLS\r\nevil\r\n")
            if is_split:
                await until(lambda: server.lines)
                conn.write(b"evil\r\n")
            await until(lambda: server.notes)
            assert isinstance(server.notes[0], TLSError)
            assert "6 bytes in clear behind the request" in str(server.notes[0])
            assert server.lines == ["STARTTLS"]
            await asyncio.wait_for(conn.wait_closed(), 20)
            assert conn.bytes_in == 0

    on_loop(main())


def test_bytes_that_the_server_sends_behind_its_reply_end_it(on_loop):
    """The same the other way (CVE-2021-38371 and its like)."""

    class Injected(Mail):
        def on_read(self, line):
            self.write(GO + b"injected\r\n")

    async def main():
        async with mail(Injected) as server:
            conn = await trews.connect(server.endpoints[0], framer=LINES)
            conn.send("STARTTLS")
            await conn.read()
            with pytest.raises(TLSError, match="10 bytes in clear"):
                await conn.start_tls(contexts()[0], server_name="localhost")
            with pytest.raises(TLSError):
                await conn.read()

    on_loop(main())


# -- errors


class Deaf(trews.Connection):
    def on_connect(self):
        self.pause_reading()


def test_wrong_calls(on_loop, tmp_path):
    (tmp_path / "file").write_bytes(bytes(8_000_000))

    async def main():
        async with mail(Deaf) as server:
            conn = await trews.connect(server.endpoints[0])
            with pytest.raises(TypeError, match="SSLContext"):
                conn.start_tls("cert.pem")
            with pytest.raises(TypeError, match="bytes"):
                conn.start_tls(contexts()[0], reply="text", server_name="localhost")
            with pytest.raises(ValueError, match="this is a TLS context for servers"):
                conn.start_tls(contexts()[1])
            with pytest.raises(ValueError, match="this is a TLS context for clients"):
                conn.start_tls(contexts()[0], server_side=True)
            sending = conn.write_file(tmp_path / "file")
            with pytest.raises(trews.Error, match="is sending a file: await write_file"):
                conn.start_tls(contexts()[0], server_name="localhost")
            assert conn.is_open
            conn.abort()
            with pytest.raises(Aborted):
                await sending
            with pytest.raises(Aborted):
                conn.start_tls(contexts()[0], server_name="localhost")
            await conn.wait_closed()
            conn = await trews.connect(server.endpoints[0])
            first = conn.start_tls(contexts()[0], server_name="localhost")
            with pytest.raises(trews.Error, match="in a TLS handshake already"):
                conn.start_tls(contexts()[0], server_name="localhost")
            with pytest.raises(trews.Error, match=r"await start_tls\(...\) before close_write\(\)"):
                conn.close_write()
            conn.close()
            with pytest.raises(ClosedLocally):
                await first
            with pytest.raises(ClosedLocally):
                conn.start_tls(contexts()[0], server_name="localhost")
            await conn.wait_closed()

    on_loop(main())


def test_not_before_it_is_connected():
    with pytest.raises(trews.Error, match="not connected yet"):
        trews.Connection().start_tls(contexts()[1])


def test_ssl_is_imported_only_then():
    source = Path(trews.__file__).parent
    for name in ("connection", "lifecycle", "server", "keeper", "handshakes"):
        lines = (source / f"{name}.py").read_text().splitlines()
        assert "import ssl" not in lines, name

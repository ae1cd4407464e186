"""At the limits of a process: descriptors, memory, and signals while it is busy. Each in a process of its own."""

from __future__ import annotations

import signal
import socket
import sys
import threading
from typing import IO

import pytest

from tests.hostile.attack import dial, program

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="limits, signals and /proc as Linux has them"),
]

FULL = """
import asyncio, os, resource, sys, trews

class Echo(trews.Connection):
    def on_read(self, data):
        self.write(data)

async def main():
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    server = trews.Server(Echo).listen("tcp:127.0.0.1:0")
    loop = asyncio.get_running_loop()
    loop.add_reader(0, lambda: (os.read(0, 1), report()))
    before = os.times()

    def report():
        nonlocal before
        now = os.times()
        print(len(server.connections), now.user + now.system - before.user - before.system)
        before = now
        if not len(server.connections):
            server.stop()

    async with server:
        print(server.port)
        await server.serve()

with asyncio.Runner(loop_factory=LOOP) as runner:
    runner.run(main())
"""


def ask(stdin: IO[str], stdout: IO[str]) -> tuple[int, float]:
    stdin.write("?")
    stdin.flush()
    count, seconds = stdout.readline().split()
    return int(count), float(seconds)


@pytest.mark.parametrize("loop", ["trews.EventLoop", "asyncio.SelectorEventLoop"])
def test_200_clients_are_served_with_64_descriptors(loop: str) -> None:
    """While it is full it costs under 10 % of a core and one line in the log; all are served as others leave."""
    with program(FULL.replace("LOOP", loop)) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        port = int(process.stdout.readline())
        clients = [dial(port) for _ in range(200)]
        for client in clients:
            client.sendall(b"x")
        assert clients[0].recv(1) == b"x"
        ask(process.stdin, process.stdout)
        threading.Event().wait(2.5)  # what is measured is a time of doing nothing
        count, seconds = ask(process.stdin, process.stdout)
        assert 40 <= count < 64
        assert seconds < 0.25
        clients.pop(0).close()
        for client in clients:
            assert client.recv(1) == b"x"
            client.close()
        while ask(process.stdin, process.stdout)[0]:
            pass
        assert process.wait(20) == 0
        log = process.stderr.read()
    assert log.count("too many open files") == 1
    assert len(log.splitlines()) <= 2


LOADED = """
import trews

class Echo(trews.Connection):
    framer = b"\\n"
    def on_read(self, line):
        self.send(line)

class Server(trews.Server):
    def on_start(self):
        print(self.port)
    def on_stop(self):
        print("stopped")

server = Server(Echo)
print(trews.serve(server, "tcp:127.0.0.1:0", grace=10))
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_under_load_drains_and_loses_no_reply(name: str) -> None:
    """A client has the reply to every line that the server has read: what comes back is whole, then the end."""
    replies: list[int] = []
    problems: list[str] = []
    running = threading.Barrier(9)

    def client(port: int) -> None:
        with dial(port) as sock:
            running.wait(30)
            received = bytearray()
            sent = 0
            try:
                while True:
                    sock.sendall(b"%06d\n" % sent)
                    sent += 1
                    while received.count(b"\n") < sent:
                        data = sock.recv(65536)
                        if not data:
                            raise EOFError
                        received += data
                    received.clear()
                    sent = 0
                    replies.append(1)
            except EOFError:
                if received and not received.endswith(b"\n"):
                    problems.append(f"a reply was cut: {bytes(received)!r}")
            except OSError as exc:
                problems.append(f"not drained: {exc!r}")

    with program(LOADED) as process:
        assert process.stdout
        assert process.stderr
        port = int(process.stdout.readline())
        threads = [threading.Thread(target=client, args=(port,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        running.wait(30)
        while len(replies) < 2000:
            threading.Event().wait(0.01)
        process.send_signal(getattr(signal, name))
        assert process.wait(30) == 0
        for thread in threads:
            thread.join(30)
        out, log = process.stdout.read(), process.stderr.read()
    assert problems == []
    assert out.splitlines() == ["stopped", "Drained(closed=8, aborted=0)"]
    assert log == ""


def is_listening(port: int) -> bool:
    try:
        dial(port).close()
    except OSError:
        return False
    return True


STUBBORN = """
import asyncio, trews

async def handler(conn):
    print("busy")
    while True:
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            HOW

class Server(trews.Server):
    async def on_start(self):
        print(self.port)
        START
    async def on_stop(self):
        print("on_stop")
        STOP

print(trews.serve(Server(handler), "tcp:127.0.0.1:0", grace=1000))
"""


@pytest.mark.parametrize(
    ("how", "start", "stop"),
    [
        ("raise", "pass", "pass"),
        ("raise", "pass", "await asyncio.sleep(1000)"),
        ("raise", "await asyncio.sleep(1000)", "pass"),
    ],
    ids=["handler", "on_stop that hangs", "on_start that hangs"],
)
def test_a_second_ctrl_c_ends_what_hangs(how: str, start: str, stop: str) -> None:
    source = STUBBORN.replace("HOW", how).replace("START", start).replace("STOP", stop)
    with program(source) as process:
        assert process.stdout
        port = int(process.stdout.readline())
        client = None
        if "sleep" not in start:
            client = dial(port)
            client.sendall(b"x")
            assert process.stdout.readline() == "busy\n"
        process.send_signal(signal.SIGINT)
        while client and is_listening(port):  # else the second might be taken together with the first
            pass
        if client:
            process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
        if client:
            client.close()


SLOW = """
import asyncio, os, socket, sys, trews

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

reasons = []

class Feed(trews.Connection):
    write_limit = 256 * 1024
    def on_connect(self):  # else the kernel takes megabytes before anything waits here
        self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    def on_close(self, reason):
        reasons.append(type(reason).__name__)

async def main(size, peers):
    server = trews.Server(Feed).listen("tcp:127.0.0.1:0")
    async with server:
        print(server.port)
        while len(server.connections) < peers:
            await asyncio.sleep(0.01)
        before = most = resident()
        data = bytes(size)
        round = 0
        while len(reasons) < peers:
            round += 1
            for connection in server.connections:
                for _ in range(max(1, 4096 // size)):
                    connection.write(data)
            most = max(most, resident())
            await asyncio.sleep(0)
        print(most - before, sorted(set(reasons)), len(reasons))

trews.run(main(EACH))
"""


@pytest.mark.parametrize(("size", "peers"), [(2, 40), (100, 200), (10_000, 200)])
def test_peers_that_never_read_take_bounded_memory(size: int, peers: int) -> None:
    """256 KiB may wait for each; what is kept beside may be that again, whatever the size of the writes."""
    with program(SLOW.replace("EACH", f"{size}, {peers}")) as process:
        assert process.stdout
        port = int(process.stdout.readline())
        clients = []
        for _ in range(peers):
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.connect(("127.0.0.1", port))
            clients.append(sock)
        said = process.stdout.readline()
        for sock in clients:
            sock.close()
        assert process.wait(20) == 0, process.stderr and process.stderr.read()
        grown, reasons = said.split(maxsplit=1)
    assert reasons.strip() == f"['WriteBufferFull'] {peers}"
    assert int(grown) < 2 * peers * 256 * 1024 + (4 << 20)


def test_a_connect_flood_does_not_keep_a_server_from_stopping() -> None:
    stop, is_full = threading.Event(), threading.Event()

    def flood(port: int) -> None:
        count = 0
        while not stop.is_set():
            try:
                with dial(port) as sock:
                    sock.sendall(b"x\n")
            except OSError:
                pass
            count += 1
            if count == 500:
                is_full.set()

    with program(LOADED) as process:
        assert process.stdout
        port = int(process.stdout.readline())
        threads = [threading.Thread(target=flood, args=(port,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        is_full.wait(30)
        process.send_signal(signal.SIGTERM)
        try:
            assert process.wait(30) == 0
        finally:
            stop.set()
            for thread in threads:
                thread.join(30)

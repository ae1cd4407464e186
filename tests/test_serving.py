"""`serve`: blocking, signals, threads, again and again; in processes of their own where signals are sent."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest

import trews
from trews import Drained, Server
from trews.testing import no_leaks


class Echo(trews.Connection):
    def on_read(self, data):
        self.write(data)


class Once(Server):
    """Stops when its first connection has gone; tells a thread where it listens."""

    def __init__(self, handler=Echo, **settings):
        super().__init__(handler, **settings)
        self.is_up = threading.Event()

    def on_start(self):
        self.loop = asyncio.get_running_loop()
        self.is_up.set()


class Last(trews.Connection):
    def on_read(self, data):
        self.write(data)
        self.server.stop()


def visit(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(b"hello")
        data = b""
        while piece := client.recv(100):
            data += piece
        return data


def served_once(endpoint):
    """Run serve() on this thread, visited by another."""
    server = Once(Last)
    answers: list[bytes] = []

    def visitor():
        server.is_up.wait(10)
        answers.append(visit(server.port))

    thread = threading.Thread(target=visitor)
    thread.start()
    drained = trews.serve(server, endpoint)
    thread.join()
    return server.port, drained, answers[0]


def test_serve_runs_twice_in_one_process_on_one_port():
    with no_leaks():
        port, drained, answer = served_once("tcp:127.0.0.1:0")
        assert (drained, answer) == (Drained(1, 0), b"hello")
        assert served_once(f"tcp:127.0.0.1:{port}") == (port, Drained(1, 0), b"hello")


def test_serve_leaves_the_signal_handlers_as_they_were():
    def own(*_):
        raise AssertionError("no signal was sent")

    before = [(name, signal.signal(name, own)) for name in (signal.SIGINT, signal.SIGTERM)]
    try:
        served_once("tcp:127.0.0.1:0")
        assert [signal.getsignal(name) for name, _ in before] == [own, own]
        assert not signal.pthread_sigmask(signal.SIG_BLOCK, ()) & {signal.SIGINT, signal.SIGTERM}
    finally:
        for name, handler in before:
            signal.signal(name, handler)


def test_serve_in_a_thread_sets_no_signal_handlers_and_is_stopped_from_outside():
    server = Once()
    results = []
    with no_leaks():
        thread = threading.Thread(target=lambda: results.append(trews.serve(server, "tcp:127.0.0.1:0", grace=0)))
        before = signal.getsignal(signal.SIGTERM)
        thread.start()
        assert server.is_up.wait(10)
        assert signal.getsignal(signal.SIGTERM) is before
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
            client.sendall(b"x")
            assert client.recv(1) == b"x"
            server.loop.call_soon_threadsafe(server.stop, 0)
            thread.join(10)
    assert results == [Drained(0, 1)]


def test_serve_inside_a_running_loop_is_a_sentence_that_names_the_right_way():
    async def main():
        with pytest.raises(RuntimeError, match=r"await trews.Server\(handler\).listen\(...\).serve\(\)"):
            trews.serve(Echo, "tcp:127.0.0.1:0")

    trews.run(main())


def test_settings_beside_a_server_are_refused():
    with pytest.raises(TypeError, match=r"Once.*max_message"):
        trews.serve(Once(), "tcp:127.0.0.1:0", max_message=1)


def test_what_cannot_be_bound_is_raised_by_serve():
    with socket.create_server(("127.0.0.1", 0)) as busy, pytest.raises(trews.ListenError, match="in use"):
        trews.serve(Echo, f"tcp:127.0.0.1:{busy.getsockname()[1]}")


@pytest.mark.parametrize(
    ("args", "settings"),
    [
        ((4040, Echo), {}),
        (("localhost:4040", Echo), {}),
        ((4040, Server(Echo)), {}),
        ((Echo,), {}),
        ((Server(Echo),), {}),
        ((Echo,), {"host": "0.0.0.0", "port": 4040}),
        ((Echo, "localhost", 4040), {}),
        ((Echo, "localhost"), {"port": 4040}),
        ((Server(Echo), "localhost"), {"port": 4040}),
    ],
)
def test_a_call_that_is_mixed_up_is_shown_the_right_one(args, settings):
    with pytest.raises(TypeError, match=r'trews\.serve\(Echo, "localhost:4040"\)'):
        trews.serve(*args, **settings)


def test_a_server_that_listens_already_needs_no_endpoint():
    class Stops(Server):
        def on_start(self):
            self.stop()

    assert trews.serve(Stops(Echo).listen("tcp:127.0.0.1:0")) == Drained(0, 0)


@pytest.mark.parametrize("exception", [OSError("no database"), KeyboardInterrupt()], ids=["error", "Ctrl-C"])
def test_what_on_start_raises_comes_out_of_serve_and_nothing_stays_bound(exception):
    class Broken(Server):
        def on_start(self):
            raise exception

    server = Broken(Echo)
    with no_leaks(), pytest.raises(type(exception)):
        trews.serve(server, "tcp:127.0.0.1:0")


# -- in a process of its own

PROGRAM = """
import asyncio, sys, trews

class Echo(trews.Connection):
    def on_read(self, data):
        self.write(data)
    def on_close(self, reason):
        print("closed", type(reason).__name__, flush=True)

class Deaf(Echo):
    def on_stop(self):
        print("told", flush=True)

async def shout(conn):
    async for line in conn:
        await asyncio.sleep(0.05)
        await conn.send(line.upper())
    await conn.send(b"goodbye")
    print("finished", flush=True)

async def ignore(conn):
    print("here", flush=True)
    for _ in range(2):
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            print("ignored", flush=True)

class Told(trews.Server):
    def on_start(self):
        print(self.port, flush=True)
    def on_stop(self):
        print("on_stop", flush=True)

class Starting(Told):
    async def on_start(self):
        print(self.port, flush=True)
        await asyncio.sleep(3600)

from trews.framing import Line
server = Starting if sys.argv[1] == "starting" else Told
handler, framer = {
    "echo": (Echo, None), "deaf": (Deaf, None), "shout": (shout, Line()), "ignore": (ignore, None),
    "starting": (Echo, None),
}[sys.argv[1]]
print(trews.serve(server(handler, framer=framer), "tcp:127.0.0.1:0", grace=float(sys.argv[2])))
"""


class Process:
    """The program above, in development mode; what it says on stderr is a failure."""

    def __init__(self, what: str, grace: float = 30) -> None:
        self.popen = subprocess.Popen(
            [sys.executable, "-X", "dev", "-W", "error", "-c", PROGRAM, what, str(grace)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.port = int(self.line())

    def line(self) -> str:
        assert self.popen.stdout is not None
        return self.popen.stdout.readline().strip()

    def visit(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def end(self) -> list[str]:
        out, err = self.popen.communicate(timeout=20)
        assert err == ""
        assert self.popen.returncode == 0
        return out.splitlines()


@contextmanager
def program(what: str, grace: float = 30):
    process = Process(what, grace)
    try:
        yield process
    finally:
        process.popen.kill()
        process.popen.communicate()


def exchange(client: socket.socket) -> None:
    client.sendall(b"hi")
    assert client.recv(2) == b"hi"


SIGNALS = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])


@SIGNALS
def test_a_signal_drains_and_serve_returns_without_a_word_on_stderr(number):
    with program("echo") as process, process.visit() as one, process.visit() as other:
        exchange(one)
        exchange(other)
        process.popen.send_signal(number)
        assert one.recv(1) == b""
        assert other.recv(1) == b""
        one.close()
        other.close()
        assert process.end() == ["closed ClosedLocally"] * 2 + ["on_stop", "Drained(closed=2, aborted=0)"]


def test_a_signal_under_load_lets_handlers_finish_their_message():
    with program("shout") as process, process.visit() as client:
        client.sendall(b"one\ntwo\n")
        assert client.recv(5) == b"ONE\r\n"  # it works on the second, or has it waiting
        process.popen.send_signal(signal.SIGTERM)
        rest = b""
        while piece := client.recv(100):
            rest += piece
        assert rest == b"TWO\r\ngoodbye\r\n"
        client.close()
        assert process.end() == ["finished", "on_stop", "Drained(closed=1, aborted=0)"]


@SIGNALS
def test_a_second_signal_aborts_at_once(number):
    with program("deaf", grace=3600) as process, process.visit() as client:
        exchange(client)
        process.popen.send_signal(number)
        assert process.line() == "told"
        process.popen.send_signal(number)
        assert process.end() == ["closed Aborted", "on_stop", "Drained(closed=0, aborted=1)"]
        with pytest.raises(ConnectionResetError):
            client.recv(1)


def test_the_end_of_the_grace_aborts_what_is_left():
    with program("deaf", grace=0.05) as process, process.visit() as client:
        exchange(client)
        process.popen.send_signal(signal.SIGTERM)
        assert process.end() == ["told", "closed Aborted", "on_stop", "Drained(closed=0, aborted=1)"]


def test_a_signal_with_nobody_there_ends_at_once():
    with program("echo") as process:
        process.popen.send_signal(signal.SIGTERM)
        assert process.end() == ["on_stop", "Drained(closed=0, aborted=0)"]


def test_a_signal_while_on_start_waits_ends_it():
    with program("starting") as process:
        process.popen.send_signal(signal.SIGTERM)
        process.popen.send_signal(signal.SIGINT)
        _out, err = process.popen.communicate(timeout=20)
        assert "never retrieved" not in err
        assert "destroyed" not in err
        assert "ResourceWarning" not in err


def test_code_that_ignores_its_cancellation_does_not_keep_the_process_alive():
    with program("ignore", grace=0.05) as process, process.visit():
        assert process.line() == "here"
        process.popen.send_signal(signal.SIGTERM)
        out, err = process.popen.communicate(timeout=20)
        assert out.splitlines()[:1] == ["ignored"]
        assert "Drained(closed=0, aborted=1)" in out
        assert "Task was destroyed" not in err
        assert "ResourceWarning" not in err


def test_a_loop_that_ends_under_everything_leaves_no_warning():
    """asyncio.run ends while connections, handlers and a listener are there and nobody stopped anything."""
    code = """
import asyncio, trews

class Echo(trews.Connection):
    def on_close(self, reason):
        print(type(reason).__name__)

async def handler(conn):
    await conn.read()

async def main():
    for kind in (Echo, handler):
        server = await trews.Server(kind).listen("tcp:127.0.0.1:0", "memory:m").start()
        held.append(server)
        for endpoint in server.endpoints[:1]:
            held.append(await trews.connect(endpoint, Echo))
        await asyncio.sleep(0.01)
        await server.stop(0)

held = []
trews.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", code], capture_output=True, text=True, timeout=30
    )
    assert done.stderr == ""
    assert done.returncode == 0


@pytest.mark.parametrize("grace", ["x", None, True, -1, float("nan"), float("inf")])
def test_a_grace_that_cannot_be_is_refused_before_anything_is_bound(grace):
    with pytest.raises((TypeError, ValueError), match="grace is a number of seconds"):
        trews.serve(trews.Connection, "memory:grace", grace=grace)
    with pytest.raises((TypeError, ValueError), match="grace is a number of seconds"):
        trews.Server(trews.Connection).stop(grace)

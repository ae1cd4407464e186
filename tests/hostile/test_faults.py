"""System calls that fail: in the kernel's name by `strace -e inject`, or since the process has no descriptor left."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.hostile.attack import dial, program

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="system calls as Linux has them"),
]

LOOPS = pytest.mark.parametrize("loop", ["trews.EventLoop", "asyncio.SelectorEventLoop"])

SERVER = """
import asyncio, signal, trews

class Echo(trews.Connection):
    def on_read(self, data):
        self.write(data)

async def main():
    server = trews.Server(Echo).listen("tcp:127.0.0.1:0")
    async with server:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, server.stop)
        print(server.port)
        await server.serve()
    print(server.stats.accepted)

with asyncio.Runner(loop_factory=LOOP) as runner:
    runner.run(main())
"""


@pytest.fixture
def failing() -> Callable[[str, str, str], list[str]]:
    """A command that runs another one, in which some calls of a system call fail."""
    why = None
    if shutil.which("strace") is None:
        why = "no strace"
    else:
        tried = subprocess.run(["strace", "-qq", "-o", os.devnull, "true"], capture_output=True, check=False)
        if tried.returncode:
            why = "strace may not trace here"
    if why and os.environ.get("CI") == "true":
        pytest.fail(f"{why}, and on CI the tests that need it must run", pytrace=False)
    if why:
        pytest.skip(why)

    def command(call: str, error: str, when: str) -> list[str]:
        inject = f"inject={call}:error={error}:when={when}"
        # -D: the program is our child, not strace's, and signals reach it.
        return ["strace", "-D", "-f", "-qq", "-o", os.devnull, "-e", f"trace={call}", "-e", inject]

    return command


def exchange(sock: socket.socket) -> bool:
    """Whether the server answers."""
    try:
        sock.sendall(b"x")
        return sock.recv(1) == b"x"
    except OSError:
        return False


def all_served(port: int, count: int) -> None:
    """`count` clients, eight at a time, each of which has its answer."""
    problems: list[int] = []

    def some(first: int) -> None:
        for number in range(first, count, 8):
            with dial(port) as sock:
                if not exchange(sock):
                    problems.append(number)

    threads = [threading.Thread(target=some, args=(first,)) for first in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []


# accept(2): errors that are of the one connection, and of Linux' network errors that are passed on.
OF_ONE = ["ECONNABORTED", "EPROTO", "EPERM", "ENETDOWN", "EHOSTUNREACH", "EINTR"]
# Those that will not go away at once: 10 ms of patience, then 20, and one line in the log.
OF_THE_PROCESS = ["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"]


@LOOPS
@pytest.mark.parametrize("error", OF_ONE)
def test_a_connection_that_cannot_be_accepted_disturbs_nobody(
    error: str, loop: str, failing: Callable[[str, str, str], list[str]]
) -> None:
    """Every other accept() fails in a storm of 200 clients."""
    with program(SERVER.replace("LOOP", loop), *failing("accept4", error, "1+2")) as process:
        assert process.stdout
        assert process.stderr
        all_served(int(process.stdout.readline()), 200)
        process.terminate()
        assert process.wait(20) == 0
        assert (process.stdout.read(), process.stderr.read()) == ("200\n", "")


@LOOPS
@pytest.mark.parametrize("error", OF_THE_PROCESS)
def test_a_shortage_is_waited_for_and_logged_once(
    error: str, loop: str, failing: Callable[[str, str, str], list[str]]
) -> None:
    with program(SERVER.replace("LOOP", loop), *failing("accept4", error, "1+3")) as process:
        assert process.stdout
        assert process.stderr
        all_served(int(process.stdout.readline()), 200)
        process.terminate()
        assert process.wait(20) == 0
        assert process.stdout.read() == "200\n"
        log = process.stderr.read()
    assert log.count("cannot accept for now") == 1
    assert len(log.splitlines()) == 1


def test_who_cannot_be_polled_is_dropped_and_the_others_are_served(
    failing: Callable[[str, str, str], list[str]],
) -> None:
    """The kernel watches no more descriptors than it was allowed (epoll_ctl: ENOSPC)."""
    with program(SERVER.replace("LOOP", "trews.EventLoop"), *failing("epoll_ctl", "ENOSPC", "3")) as process:
        assert process.stdout
        assert process.stderr
        port = int(process.stdout.readline())
        with dial(port) as sock:
            assert not exchange(sock)
        all_served(port, 20)
        process.terminate()
        assert process.wait(20) == 0
        assert "Traceback" not in process.stderr.read()


CLIENT = """
import asyncio, os, resource, sys, trews

class Echo(trews.Connection):
    def on_read(self, data):
        self.write(data)

async def main():
    async with trews.Server(Echo).listen(*sys.argv[1:]) as server:
        places = server.endpoints
        for place in places:
            async with trews.connect(place):
                pass  # what a first time needs is there: the resolver's files and thread
        await asyncio.sleep(0.01)
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        taken = []
        try:
            while True:
                taken.append(os.dup(0))
        except OSError:
            pass
        for place in places:
            try:
                await trews.connect(place)
            except trews.ConnectError as exc:
                print(exc)
        for fd in taken:
            os.close(fd)
        for place in places:
            async with trews.connect(place) as conn:
                await conn.send(b"x")
                print(await conn.read())

sys.argv[1:] = ENDPOINTS
with asyncio.Runner(loop_factory=LOOP) as runner:
    runner.run(main())
"""


@LOOPS
def test_a_client_without_a_descriptor_is_told_in_a_sentence_and_can_try_again(loop: str, tmp_path: Path) -> None:
    places = ["tcp:127.0.0.1:0", f"unix:{tmp_path}/s", "tcp:localhost:0"]
    source = CLIENT.replace("LOOP", loop).replace("ENDPOINTS", repr(places))
    with program(source) as process:
        out, log = process.communicate(timeout=30)
    assert log == ""
    lines = out.splitlines()
    sentences, answers = lines[: len(lines) // 2], lines[len(lines) // 2 :]
    assert len(sentences) >= len(places)  # localhost may be two addresses
    for sentence in sentences:
        assert sentence.startswith("cannot connect to ")
        assert "too many open files in this process (see `ulimit -n`)" in sentence
    assert set(answers) == {"b'x'"}

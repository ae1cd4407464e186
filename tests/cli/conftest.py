"""The command as a process: run to its end, started, or on a terminal. Whatever is left is killed."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys

import pexpect
import pytest

# What a leaked socket or task would print; the test modules look at all of stderr.
TREWS = [sys.executable, "-W", "error", "-m", "trews"]


@pytest.fixture(autouse=True)
def ctrl_c_is_heeded():
    """Shells start what runs in the background with SIGINT ignored, and our processes would inherit that."""
    old = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, old)


@pytest.fixture
def trews_command():
    """Run `trews ARGS` to its end."""

    def run(*args, **kwargs):
        if "input" not in kwargs:
            kwargs.setdefault("stdin", subprocess.DEVNULL)
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.run([*TREWS, *map(str, args)], **{**pipes, "timeout": 40, **kwargs})

    return run


@pytest.fixture
def start():
    """Start `trews ARGS` with pipes for its output, unbuffered."""
    processes = []

    def run(*args, **kwargs):
        process = subprocess.Popen(
            [*TREWS, *map(str, args)],
            **{
                "stdin": subprocess.DEVNULL,
                "stdout": subprocess.PIPE,
                "stderr": subprocess.PIPE,
                "bufsize": 0,
                **kwargs,
            },
        )
        processes.append(process)
        return process

    yield run
    for process in processes:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()


@pytest.fixture
def on_terminal():
    """Start `trews ARGS`, or another program, on a terminal of its own."""
    children = []

    def run(*args, program=None, **kwargs):
        command = [program] if program else TREWS
        child = pexpect.spawn(
            command[0],
            [*command[1:], *map(str, args)],
            **{"encoding": "utf-8", "timeout": 20, "echo": False, "dimensions": (50, 300), **kwargs},
        )
        children.append(child)
        return child

    yield run
    for child in children:
        child.close(force=True)


@pytest.fixture
def listening():
    """Read `listening on ENDPOINT` lines of a started `trews serve`."""

    def read(process, count=1):
        lines = [process.stdout.readline().decode() for _ in range(count)]
        assert all(line.startswith("listening on ") for line in lines), (lines, process.stderr and process.poll())
        return [line.split()[-1] for line in lines]

    return read


@pytest.fixture
def fill():
    """Write to a descriptor until it takes no more; returns how many bytes it took (at most `limit`)."""

    def run(fd, limit):
        os.set_blocking(fd, False)
        taken = 0
        # Half a second without progress is taken for a stop: a slow machine makes the count too small, and
        # what is asserted is that it is not too large.
        while taken < limit and select.select([], [fd], [], 0.5)[1]:
            try:
                taken += os.write(fd, bytes(65536))
            except BlockingIOError:
                pass
        os.set_blocking(fd, True)
        return taken

    return run

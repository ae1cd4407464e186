"""Look-ups in threads of their own: bounded, shared, and waited for by nobody."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import threading

import pytest

from tests.clients import LOOPS
from tests.servers import really, turns, until
from trews.transport.lookups import MAX_THREADS, Lookups, lookups


class Hanging:
    """A resolver that answers when it is told to."""

    def __init__(self):
        self.asked = []
        self.may_answer = threading.Event()

    def ask(self, name):
        def function():
            self.asked.append(name)
            assert self.may_answer.wait(30)
            return f"the address of {name}"

        return function


@contextlib.contextmanager
def hanging():
    resolver = Hanging()
    try:
        yield resolver
    finally:
        resolver.may_answer.set()
        for thread in threading.enumerate():  # the next test starts without them
            if thread.name == "trews-lookup":
                thread.join(30)


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
def test_what_it_returns_and_raises_arrives(loop):
    def fails():
        raise OSError("no such name")

    async def main():
        assert await lookups.run("returns", lambda: 42) == 42
        with pytest.raises(OSError, match="no such name"):
            await lookups.run("raises", fails)

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())


@really
async def test_the_loop_goes_on_meanwhile_and_threads_are_bounded():
    with hanging() as resolver:
        shared = Lookups(max_threads=3)
        tasks = [asyncio.create_task(shared.run(n, resolver.ask(n))) for n in range(5)]
        await until(lambda: len(resolver.asked) == 3)
        await turns(100)
        assert sorted(resolver.asked) == [0, 1, 2]
        resolver.may_answer.set()
        assert await asyncio.gather(*tasks) == [f"the address of {n}" for n in range(5)]
        assert sorted(resolver.asked) == [0, 1, 2, 3, 4]


@really
async def test_the_same_question_is_asked_once_at_a_time():
    with hanging() as resolver:
        shared = Lookups()
        tasks = [asyncio.create_task(shared.run("a", resolver.ask("a"))) for _ in range(50)]
        await until(lambda: resolver.asked)
        await turns()
        tasks[0].cancel()
        await turns()
        resolver.may_answer.set()
        assert await asyncio.gather(*tasks[1:]) == ["the address of a"] * 49
        assert resolver.asked == ["a"]
        await shared.run("a", resolver.ask("a"))
        assert resolver.asked == ["a", "a"]  # it is no cache


@really
async def test_what_nobody_waits_for_any_more_is_not_asked_and_not_kept():
    with hanging() as resolver:
        shared = Lookups(max_threads=1)
        first = asyncio.create_task(shared.run("first", resolver.ask("first")))
        await until(lambda: resolver.asked)
        for n in range(100):  # each with a deadline of its own
            task = asyncio.create_task(shared.run(n, resolver.ask(n)))
            await turns(2)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert not shared._waiting
        assert list(shared._known) == ["first"]
        resolver.may_answer.set()
        assert await first == "the address of first"
        assert resolver.asked == ["first"]


def test_an_answer_for_a_loop_that_is_closed_is_dropped():
    shared = Lookups()
    with hanging() as resolver:

        async def gives_up():
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await shared.run("a", resolver.ask("a"))

        async def asks():
            task = asyncio.ensure_future(shared.run("a", resolver.ask("a")))
            await turns()
            resolver.may_answer.set()
            assert await task == "the address of a"

        asyncio.run(gives_up())
        asyncio.run(asks())  # on another loop, of the same thread
        assert resolver.asked == ["a"]


@really
async def test_no_thread_to_be_had_is_an_error_of_the_look_up(monkeypatch):
    def refuse(self):
        raise RuntimeError("can't start new thread")

    shared = Lookups()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(OSError, match="cannot be looked up: can't start new thread"):
            await shared.run("a", lambda: 1)
    assert await shared.run("a", lambda: 1) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_begins_anew():
    with hanging() as resolver:

        async def main():
            task = asyncio.create_task(lookups.run("a", resolver.ask("a")))
            await until(lambda: resolver.asked)
            child = os.fork()
            if child == 0:
                os._exit(0 if (lookups._threads, lookups._known) == (0, {}) else 1)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            assert lookups._threads == 1
            resolver.may_answer.set()
            await task

        asyncio.run(main())


PROGRAM = """
import asyncio, socket, sys, threading
import trews, uvloop

socket.getaddrinfo = lambda *args, **kwargs: threading.Event().wait()
LOOPS = {"trews": trews.EventLoop, "asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}

async def main():
    try:
        await trews.connect("tcp:db.example:80?timeout=0.1")
    except trews.ConnectTimedOut as exc:
        print(exc)

with asyncio.Runner(loop_factory=LOOPS[sys.argv[1]]) as runner:
    runner.run(main())
"""


@pytest.mark.parametrize("loop", LOOPS)
def test_a_resolver_that_hangs_does_not_hold_up_the_end_of_the_program(loop):
    done = subprocess.run([sys.executable, "-c", PROGRAM, loop], capture_output=True, text=True, timeout=60)
    late = "cannot connect to tcp:db.example:80?timeout=0.1: the look-up of 'db.example': no answer within 0.1 s\n"
    assert (done.stdout, done.stderr, done.returncode) == (late, "", 0)


def test_the_number_of_threads_is_small():
    assert MAX_THREADS <= 32

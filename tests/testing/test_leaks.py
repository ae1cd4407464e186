"""The leak check: finds what stays, says where it was made, and leaves a clean test alone."""

import asyncio
import os
import socket
import tempfile

import pytest
import uvloop

import trews
from trews.testing import Leak, no_leaks, run

pytestmark = pytest.mark.leaks_ok("one check at a time, and here it is the tests' own")


class Keeping:
    """What a test forgets to close; closed after it."""

    def __init__(self):
        self.things = []
        self.where = None

    def here(self, thing):
        """Note the line of the caller, which made the thing."""
        import sys

        self.where = f'test_leaks.py", line {sys._getframe(1).f_lineno}'
        self.things.append(thing)
        return thing


@pytest.fixture
def keep():
    keep = Keeping()
    yield keep
    for thing in keep.things:
        if hasattr(thing, "close"):
            thing.close()


def leaks(block):
    with pytest.raises(Leak) as caught, no_leaks():
        block()
    return str(caught.value)


def test_a_leaked_socket_is_found_where_it_was_made(keep):
    report = leaks(lambda: keep.here(socket.socket()))
    assert report.startswith("1 left open:")
    assert "open socket" in report
    assert keep.where in report


def test_both_sockets_of_a_pair_are_found(keep):
    report = leaks(lambda: keep.things.extend(socket.socketpair()))
    assert report.startswith("2 left open:")


def test_a_leaked_file_is_found_where_it_was_opened(keep):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(os.path.realpath(folder), "forgotten")
        report = leaks(lambda: keep.here(open(path, "w")))  # noqa: SIM115
        assert "open descriptor" in report
        assert path in report
        assert keep.where in report


def test_a_leaked_pipe_is_found(keep):
    report = leaks(lambda: keep.things.extend(map(os.fdopen, os.pipe())))
    assert report.startswith("2 left open:")
    assert "pipe" in report


def test_a_leaked_task_is_found_where_it_was_made(keep):
    async def forgotten():
        await asyncio.Event().wait()

    async def main():
        keep.here(asyncio.get_running_loop().create_task(forgotten()))
        await asyncio.sleep(0)

    for runner in (run, asyncio.run, trews.run):
        report = leaks(lambda runner=runner: runner(main()))
        assert report.startswith("1 left open:")
        assert "forgotten" in report
        assert keep.where in report


def test_a_leaked_timer_is_found_where_it_was_made(keep):
    async def main():
        keep.here(trews.after(60, print))

    report = leaks(lambda: run(main()))
    assert report.startswith("1 left open:")
    assert "active timer" in report
    assert keep.where in report


def test_a_leaked_server_is_found():
    servers = []

    async def main():
        servers.append(await trews.Server(trews.Connection).listen("tcp:127.0.0.1:0").start())

    report = leaks(lambda: run(main()))
    assert "open socket" in report
    servers[0]._close_listeners()


@pytest.mark.parametrize("factory", [trews.EventLoop, asyncio.SelectorEventLoop, uvloop.new_event_loop])
def test_a_clean_program_passes(factory):
    async def echo(conn):
        async for piece in conn:
            await conn.send(piece)

    async def main():
        timer = trews.every(60, print)
        task = asyncio.ensure_future(asyncio.sleep(0, "done"))
        async with trews.Server(echo).listen("tcp:127.0.0.1:0", "memory:clean") as server:
            for endpoint in server.endpoints:
                async with trews.connect(endpoint) as conn:
                    await conn.send(b"hi")
                    assert await conn.read() == b"hi"
        assert await task == "done"
        timer.cancel()

    with no_leaks(), asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())
    with no_leaks(), tempfile.TemporaryFile() as file:
        file.write(b"x")


def test_a_socket_that_is_collected_still_warns_by_itself():
    # Collected before the block ends: it is closed then, and Python's own ResourceWarning tells.
    with pytest.warns(ResourceWarning, match="unclosed"), no_leaks():
        socket.socket()


def test_what_was_open_before_is_not_of_this_block():
    with socket.socket(), no_leaks():
        pass


def test_an_error_of_the_block_is_not_hidden(keep):
    with pytest.raises(KeyError), no_leaks():
        keep.here(socket.socket())
        raise KeyError


def test_the_outer_check_sees_everything(keep):
    def block():
        with no_leaks():
            keep.here(socket.socket())

    assert keep.where is None
    report = leaks(block)
    assert keep.where in report


def test_nothing_stays_instrumented():
    before = socket.socket.__init__, trews.Timer.__init__, asyncio.runners._cancel_all_tasks
    with no_leaks():
        assert socket.socket.__init__ is not before[0]
    assert (socket.socket.__init__, trews.Timer.__init__, asyncio.runners._cancel_all_tasks) == before

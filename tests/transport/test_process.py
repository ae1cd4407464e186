"""`exec:`: a program as the peer, on every loop: its output, its errors, its end, and what is left of it (nothing)."""

from __future__ import annotations

import asyncio
import logging
import os
import shlex
import signal
import subprocess
import sys

import pytest
import uvloop

import trews
from trews import ConnectError, EndpointError, ProcessExited
from trews.framing import Line
from trews.testing import no_leaks
from trews.transport import pipe, process

LOOPS = {"trews": trews.EventLoop, "asyncio": asyncio.SelectorEventLoop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(params=LOOPS)
def on_loop(request):
    """Run a coroutine on each loop; nothing may stay open, and no process."""

    def run(main):
        with no_leaks(), asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            runner.run(asyncio.wait_for(main(), 40))
        with pytest.raises(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)

    return run


@pytest.fixture
def on_loop_but_uvloop(on_loop, request):
    """uvloop gives a program its pipes twice, so that it closes one of them is not seen before its exit."""
    if "uvloop" in request.node.callspec.id:
        pytest.skip("on uvloop a program cannot close its ends")
    return on_loop


class Noting(trews.Connection):
    def __init__(self):
        self.events = []

    def on_read(self, message):
        self.events.append(message)

    def on_eof(self):
        self.events.append("eof")

    def on_close(self, reason):
        self.events.append(reason)


def shell(script):
    return f"exec:sh -c {shlex.quote(script)}"


def python(script):
    return f"exec:{shlex.quote(sys.executable)} -c {shlex.quote(script)}"


# Heeds neither the end of its input nor SIGTERM.
STUBBORN = python("import signal; signal.signal(15, signal.SIG_IGN); print('ready', flush=True); signal.pause()")
PATIENT = python("import signal; print('ready', flush=True); signal.pause()")


def test_what_is_sent_is_its_input_and_its_output_comes_back(on_loop):
    async def main():
        async with trews.connect("exec:sort -r") as conn:
            conn.write(b"a\nc\nb\n")
            conn.close_write()
            assert await conn.read_all() == b"c\nb\na\n"
        assert isinstance(conn.reason, ProcessExited)
        assert conn.reason.status == 0
        assert conn.reason.is_clean
        assert (conn.remote_address, conn.local_address) == ("exec:sort -r", "exec:sort -r")

    on_loop(main)


def test_much_goes_through_both_ways(on_loop):
    async def main():
        content = os.urandom(5_000_000)
        async with trews.connect("exec:cat") as conn:
            conn.write(content)
            conn.close_write()
            answer = await conn.read_all()
        assert answer == content or pytest.fail("something else came back")

    on_loop(main)


def test_its_words_are_split_as_a_shell_does_but_there_is_no_shell(on_loop):
    async def main():
        async with trews.connect("""exec:printf '%s|' "a b" c\\ d $HOME *""") as conn:
            assert await conn.read_all() == b"a b|c d|$HOME|*|"

    on_loop(main)


@pytest.mark.parametrize(
    ("end", "status", "message"),
    [
        ("exit 0", 0, "the program has ended with status 0"),
        ("exit 3", 3, "the program has ended with status 3"),
        ("kill -9 $$", -signal.SIGKILL, "the program was ended by SIGKILL"),
    ],
)
def test_its_status_is_the_reason_after_all_that_it_wrote(on_loop, end, status, message):
    async def main():
        conn = await trews.connect(shell(f"printf 'one\\ntwo'; {end}"), Noting, framer=Line())
        await conn.wait_closed()
        *others, reason = conn.events
        assert others == [b"one", b"two", "eof"]
        assert reason is conn.reason
        assert isinstance(reason, ProcessExited)
        assert (reason.status, reason.is_clean, str(reason)) == (status, status == 0, message)

    on_loop(main)


def test_an_incomplete_message_is_no_clean_end(on_loop):
    async def main():
        conn = await trews.connect("exec:printf abcdef", Noting, framer=4)
        await conn.wait_closed()
        assert conn.events[0] == b"abcd"
        assert isinstance(conn.reason, trews.IncompleteMessage)

    on_loop(main)


def test_a_program_that_ends_unasked_may_be_written_to(on_loop):
    async def main():
        async def write_on(conn):
            async for _ in conn:
                pass
            for _ in range(3):
                await conn.send(bytes(100_000))

        conn = await trews.connect(shell("echo bye; exit 5"), write_on)
        await conn.wait_closed()
        assert isinstance(conn.reason, ProcessExited)
        assert conn.reason.status == 5

    on_loop(main)


def test_a_program_that_reads_nothing_ends_it_with_its_status_too(on_loop):
    async def main():
        conn = await trews.connect("exec:head -c 3", Noting)
        for _ in range(10):
            conn.write(bytes(100_000))
        await conn.wait_closed()
        assert b"".join(conn.events[:-2]) == bytes(3)
        assert isinstance(conn.reason, ProcessExited)

    on_loop(main)


def test_the_end_is_its_end_though_its_own_children_have_the_pipe(on_loop):
    async def main():
        # Of the child: until its input ends, which is ours.
        conn = await trews.connect(shell("exec 3<&0; cat <&3 & echo hi"), Noting)
        await conn.wait_closed()
        assert conn.events[:-1] == [b"hi\n", "eof"]
        assert isinstance(conn.reason, ProcessExited)

    on_loop(main)


def test_one_that_closes_its_output_and_lives_on_is_at_its_end(on_loop_but_uvloop, monkeypatch):
    monkeypatch.setattr(process, "EXIT_TIME", 0)

    async def main():
        conn = await trews.connect(shell("echo hi; exec >&-; cat >/dev/null"), Noting)
        await conn.wait_closed()
        assert conn.events[:-1] == [b"hi\n", "eof"]
        assert isinstance(conn.reason, trews.ClosedByPeer)

    on_loop_but_uvloop(main)


def test_one_that_closes_its_input_and_lives_on_has_broken_it_off(on_loop_but_uvloop, monkeypatch):
    monkeypatch.setattr(process, "EXIT_TIME", 0)

    async def main():
        conn = await trews.connect(shell("echo hi; exec <&-; sleep 60"), Noting, close_timeout=0.01)
        await conn.wait_closed()
        assert conn.events[:-1] == [b"hi\n"]
        assert isinstance(conn.reason, trews.ConnectionReset)

    on_loop_but_uvloop(main)


def test_another_connection_may_take_over(on_loop):
    async def main():
        first, second = await trews.connect(shell("read x; echo $x; exit 3"), Noting), Noting()
        first.switch(second)
        await first.wait_closed()
        assert isinstance(first.reason, trews.Switched)
        await asyncio.sleep(0)
        second.write(b"hi\n")
        await second.wait_closed()
        assert second.events[:-1] == [b"hi\n", "eof"]
        assert second.reason.status == 3

    on_loop(main)


# -- after the connection


def test_closing_ends_its_input_and_waits_for_it(on_loop):
    async def main():
        async with trews.connect(shell("cat; echo late; exit 4"), close_timeout=None) as conn:
            conn.write(b"x")
            assert await conn.read() == b"x"
        assert isinstance(conn.reason, trews.ClosedLocally)

    on_loop(main)


@pytest.mark.parametrize(("endpoint", "number"), [(PATIENT, signal.SIGTERM), (STUBBORN, signal.SIGKILL)])
def test_it_is_killed_if_it_stays(on_loop, monkeypatch, endpoint, number):
    ended = []
    exited = process._Child.process_exited
    monkeypatch.setattr(process._Child, "process_exited", lambda child: (exited(child), ended.append(child.status)))

    async def main():
        async with trews.connect(endpoint, close_timeout=0.01) as conn:
            assert await conn.read(framer=Line()) == b"ready"

    on_loop(main)
    assert ended == [-number]


def test_abort_does_not_wait(on_loop):
    async def main():
        conn = await trews.connect(PATIENT, close_timeout=1000)
        assert await conn.read(framer=Line()) == b"ready"
        conn.abort()
        await conn.wait_closed()
        assert isinstance(conn.reason, trews.Aborted)

    on_loop(main)


def test_a_connection_that_is_refused_in_on_connect_leaves_nothing(on_loop):
    class Refusing(trews.Connection):
        def on_connect(self):
            self.abort()

    async def main():
        conn = await trews.connect("exec:cat", Refusing)
        await conn.wait_closed()

    on_loop(main)


def test_one_that_ended_before_anybody_looked(on_loop, monkeypatch):
    """The loop may tell of the end before there is a connection."""
    start = process._start

    async def start_and_wait(loop, words, *fds):
        child = await start(loop, words, *fds)
        ended = loop.create_future()
        child.on_exit = lambda: ended.set_result(None)
        if child.status is None:
            await ended
        return child

    monkeypatch.setattr(process, "_start", start_and_wait)

    async def main():
        conn = await trews.connect(shell("echo hi; exit 7"), Noting)
        await conn.wait_closed()
        assert conn.events[:-1] == [b"hi\n", "eof"]
        assert conn.reason.status == 7

    on_loop(main)


# -- its errors


def test_stderr_is_logged_line_by_line(on_loop, caplog):
    caplog.set_level(logging.WARNING, "trews")
    script = "import sys; sys.stderr.write('one\\n\\n\\x1b[31mtwo\\r\\n' + 'x' * 5000 + '\\nrest'); print('out')"

    async def main():
        async with trews.connect(python(script)) as conn:
            assert await conn.read_all() == b"out\n"

    on_loop(main)
    name = trews.addresses.shown(python(script))
    assert [record.getMessage().removeprefix(f"{name}: ") for record in caplog.records] == [
        "one",
        "\\x1b[31mtwo",
        "x" * process.LOG_LINE + " [...]",
        "rest",
    ]


def test_stderr_comes_before_on_close(on_loop, caplog):
    caplog.set_level(logging.WARNING, "trews")

    async def main():
        conn = await trews.connect(shell("echo why >&2; exit 1"), Noting)
        await conn.wait_closed()
        assert len(caplog.records) == 1

    on_loop(main)


# -- what cannot be started


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("no-such-program x", "there is no program 'no-such-program'"),
        ("/no/such/program", "there is no program '/no/such/program'"),
        ("''", "there is no program ''"),
        ("{folder}", "'{folder}' is not a program that may be executed"),
        ("{folder}/plain", "'{folder}/plain' is not a program that may be executed"),
        ("{folder}/orphan", "the interpreter that the first line of '{folder}/orphan' names does not exist"),
    ],
)
def test_a_program_that_cannot_be_started_is_one_sentence(on_loop, tmp_path, command, reason):
    for name, content, mode in (("plain", "x", 0o644), ("orphan", "#!/no/such\n", 0o755)):
        (tmp_path / name).write_text(content)
        (tmp_path / name).chmod(mode)
    endpoint = "exec:" + command.format(folder=tmp_path)

    async def main():
        with pytest.raises(ConnectError) as caught:
            await trews.connect(endpoint)
        assert str(caught.value).startswith(f"cannot connect to {endpoint}: {reason.format(folder=tmp_path)}")

    on_loop(main)


def test_a_text_is_no_program(tmp_path):
    (tmp_path / "text").write_text("x")
    (tmp_path / "text").chmod(0o755)
    with pytest.raises(ConnectError, match="is not a program: neither machine code nor a script with '#!'"):
        trews.run(trews.connect(f"exec:{tmp_path}/text")._connect())  # libuv has a shell read it


def test_a_command_that_makes_no_words_is_refused(on_loop):
    async def main():
        with pytest.raises(EndpointError, match="a quote or a backslash too many"):
            await trews.connect("exec:echo 'x")
        with pytest.raises(EndpointError, match="there is no command"):
            await trews.connect(trews.Endpoint("exec", path=" "))

    on_loop(main)


def test_no_descriptors_left_is_one_sentence(on_loop, monkeypatch):
    def none_left():
        raise OSError(24, "Too many open files")

    async def main():
        monkeypatch.setattr(os, "pipe", none_left)
        with pytest.raises(ConnectError, match="too many open files in this process"):
            await trews.connect("exec:cat")
        monkeypatch.undo()

    on_loop(main)


def test_connecting_that_is_cancelled_leaves_nothing(on_loop):
    async def main():
        for command in ("exec:cat", "exec:no-such-program"):
            for turns in range(4):
                task = asyncio.ensure_future(trews.connect(command)._connect())
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait([task])
                if not task.cancelled() and not task.exception():
                    task.result().abort()
                    await task.result().wait_closed()

    on_loop(main)


assert pipe.GONE_TIME < process.EXIT_TIME < process.TERM_TIME


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("close", [True, False])
def test_a_program_does_not_outlive_our_loop(close):
    async def main():
        connection = await trews.connect("exec:sleep 987")
        if close:
            connection.close()
        return connection._transport.core.sock._child.transport.get_pid()

    pid = trews.run(main())
    while is_alive(pid):  # it was killed; pytest's timeout is the bound
        os.sched_yield()


def test_a_program_does_not_outlive_the_process():
    code = """
import asyncio, trews
async def main():
    connection = await trews.connect("exec:sleep 987")
    print(connection._transport.core.sock._child.transport.get_pid())
    connection.close()
asyncio.run(main())
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    pid = int(out.stdout)
    while is_alive(pid):
        os.sched_yield()


def test_a_flood_of_lines_takes_no_more_than_its_turn(caplog):
    caplog.set_level(logging.WARNING, "trews")
    loop = asyncio.SelectorEventLoop()
    reader, writer = os.pipe()
    os.write(writer, b"a\n" * 30_000)
    log = process._Log(loop, reader, "exec:yes")
    log._on_readable()
    assert len(caplog.records) <= process.LOG_READ // 2
    log.close()
    assert len(caplog.records) <= process.LOG_READ + process.LINES_AT_EXIT
    os.close(writer)
    loop.close()


def test_the_end_of_a_forked_process_leaves_the_programs_of_its_parent():
    # On uvloop: what asyncio's own objects do at the end of such a process is not up to us.
    code = """
import asyncio, os, sys, trews, uvloop
loop = uvloop.new_event_loop()
async def start():
    return await trews.connect("exec:cat")
async def use(connection):
    await connection.send(b"still here")
    print(await connection.read(framer=10))
    connection.close()
    await connection.wait_closed()
connection = loop.run_until_complete(start())
pid = os.fork()
if pid == 0:
    sys.exit(0)
os.waitpid(pid, 0)
loop.run_until_complete(use(connection))
loop.close()
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert out.stdout == "b'still here'\n"

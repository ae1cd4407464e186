"""`trews demo`: the chat in memory, and the command with people on terminals."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import struct
from contextlib import asynccontextmanager
from pathlib import Path

import pexpect
import pytest
from click.testing import CliRunner

import trews
from tests.conftest import absent
from trews import build
from trews.cli import demo as demo_command
from trews.cli.demo import LINE_LIMIT, Chat, harmless, wrong_with
from trews.cli.selfsigned import CannotSign
from trews.framing import Line
from trews.testing import no_leaks
from trews.testing import run as run_virtually

# -- what is decided without a network


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (b"hello", "hello"),
        ("grüß dich 👋".encode(), "grüß dich 👋"),
        (b"", ""),
        (b"a\tb", "a b"),
        (b"\x1b[2J\x1b]0;title\x07", "�[2J�]0;title�"),
        (b"back\x08space\rreturn\x00null\x7f", "back�space�return�null�"),
        ("\x9b31mred\u202etxt\u2028line".encode(), "�31mred�txt�line"),
        (b"latin \xe9", "latin �"),
        (b"\xff\xfb\x1f\xff\xfd\x01hi", "hi"),  # WILL NAWS, DO ECHO
        (b"\xff\xfa\x18\x00xterm\xff\xf0hi", "hi"),  # a subnegotiation: the kind of terminal
        (b"\xff\xf4\xff\xfd\x06", ""),  # telnet's Ctrl-C
        (b"end \xff", "end "),
        ("e\u0301".encode(), "é"),
    ],
)
def test_what_people_type_does_nothing_to_other_terminals(line, text):
    assert harmless(line) == text


@pytest.mark.parametrize(
    ("nick", "problem"),
    [
        ("alice", ""),
        ("jürgen", ""),
        ("r2-d2", ""),
        ("x" * 20, ""),
        ("", "cannot be empty"),
        ("x" * 21, "20 characters at most"),
        ("a b", "letters and digits"),
        ("*", "letters and digits"),
        ("alice:", "letters and digits"),
        ("�[2J", "letters and digits"),
        ("bob", "bob is here already"),
        ("BOB", "BOB is here already"),
    ],
)
def test_nicknames(nick, problem):
    found = wrong_with(nick, ["bob"])
    assert (problem in found) if problem else (found == "")


# -- the chat, in memory and on virtual time


@asynccontextmanager
async def room(handler=Chat):
    """A chat, and a function by which people join it."""
    people = []

    async def join(nick=None):
        person = await trews.connect("memory:chat", framer=Line(encoding="utf-8"))
        people.append(person)
        await person.read(timeout=1)  # the welcome
        if nick:
            person.send(nick)
            assert (await person.read(timeout=1)).startswith(f"* hello, {nick}!")
        return person

    async with trews.Server(handler).listen("memory:chat") as server:
        try:
            yield server, join
        finally:
            for person in people:
                person.abort()
                await person.wait_closed()


def chatting(test):
    """Run an async test in a room of its own."""

    def run():
        async def main():
            async with room() as (server, join):
                await test(server, join)

        with no_leaks():
            run_virtually(main())

    run.__name__ = test.__name__
    return run


async def hears(person, text):
    heard = await person.read(timeout=1)
    assert text in heard
    return heard


@chatting
async def test_joining_speaking_and_leaving(server, join):
    alice = await join("alice")
    bob = await join("bob")
    assert await alice.read(timeout=1) == "* bob has joined. 2 people are here"
    bob.send("good morning")
    assert await alice.read(timeout=1) == "bob: good morning"
    alice.send("and to you")
    assert await bob.read(timeout=1) == "alice: and to you"
    bob.close()
    assert await alice.read(timeout=1) == "* bob has left (the peer closed the connection). 1 person is here"


@chatting
async def test_who_has_no_nickname_yet_hears_and_says_nothing(server, join):
    alice = await join("alice")
    nobody = await join()
    alice.send("psst")
    with pytest.raises(trews.TimedOut):
        await nobody.read(timeout=1)
    nobody.close()
    with pytest.raises(trews.TimedOut):
        await alice.read(timeout=1)


@chatting
async def test_somebody_who_leaves_abruptly_is_noticed(server, join):
    alice, bob = await join("alice"), await join("bob")
    await hears(alice, "bob has joined")
    bob.abort()
    assert await alice.read(timeout=1) == "* bob is gone (the peer broke the connection off). 1 person is here"


@chatting
async def test_bad_nicknames_are_explained_and_may_be_tried_again(server, join):
    await join("alice")
    bob = await join()
    for nick, problem in [
        ("", "cannot be empty"),
        ("alice", "alice is here already"),
        ("x" * 21, "at most"),
        ("\x1b[2J", "letters"),
    ]:
        bob.send(nick)
        assert "try another" in await hears(bob, problem)
    bob.send("  bob ")
    await hears(bob, "* hello, bob! 2 people are here: alice, bob")


@chatting
async def test_a_nickname_is_free_again_when_its_owner_has_left(server, join):
    alice = await join("alice")
    alice.close()
    await alice.wait_closed()
    await join("alice")


@chatting
async def test_control_characters_are_harmless(server, join):
    alice, bob = await join("alice"), await join("bob")
    await hears(alice, "joined")
    bob.write(b"\x1b[2Jgone?\xff\n")
    assert await alice.read(timeout=1) == "bob: �[2Jgone?"


@chatting
async def test_a_line_of_the_greatest_length_is_heard(server, join):
    alice, bob = await join("alice"), await join("bob")
    await hears(alice, "joined")
    bob.send("x" * LINE_LIMIT)
    assert await alice.read(timeout=1) == "bob: " + "x" * LINE_LIMIT


@pytest.mark.parametrize("end", [b"\n", b""])
@pytest.mark.parametrize("length", [LINE_LIMIT + 1, 300_000])
def test_a_line_that_is_too_long_ends_in_an_explanation(length, end):
    @chatting
    async def test(server, join):
        alice, bob = await join("alice"), await join("bob")
        await hears(alice, "joined")
        bob.write(b"x" * length + end)
        assert await bob.read(timeout=1) == "* a line is 1000 bytes at most, yours is longer: goodbye"
        with pytest.raises(trews.ClosedByPeer):
            await bob.read(timeout=1)
        await hears(alice, "* bob has left")

    test()


@chatting
async def test_the_last_line_needs_no_end(server, join):
    alice, bob = await join("alice"), await join("bob")
    await hears(alice, "joined")
    bob.write(b"bye")
    bob.close()
    await hears(alice, "bob: bye")
    await hears(alice, "bob has left (the peer closed the connection)")


@chatting
async def test_stopping_says_goodbye_to_everybody(server, join):
    everybody = [await join("alice"), await join()]
    stopped = server.stop()
    for person in everybody:
        await hears(person, "* the server is stopping, goodbye")
        with pytest.raises(trews.ClosedByPeer):
            await person.read(timeout=1)
        person.close()
    assert (await stopped).aborted == 0


# -- the command


@pytest.fixture
def demo(on_terminal, tmp_path, monkeypatch):
    """The demo on a terminal; its port and the endpoint of its Unix socket."""
    monkeypatch.setenv("TMPDIR", "/tmp")  # a socket's path is short
    child = on_terminal("demo")
    child.expect(r"trews \S+ \(trews' loop, \w+\)")
    child.expect(re.escape(f"Build: {build.describe()}."))
    child.expect(r"telnet localhost (\d+)")
    port = int(child.match[1])
    child.expect(r"trews connect (unix:\S+)")
    unix = child.match[1]
    child.expect("Ctrl-C ends it")
    return child, port, unix


@pytest.fixture
def join_by_terminal(on_terminal):
    def join(nick, port):
        if shutil.which("telnet"):
            person = on_terminal("localhost", port, program="telnet")
        else:
            person = on_terminal("connect", f"tcp:localhost:{port}")
        person.expect("What is your nickname")
        person.sendline(nick)
        person.expect(f"hello, {nick}")
        return person

    return join


def end(child):
    child.sendintr()
    child.expect("told goodbye")
    child.expect(pexpect.EOF)
    child.close()
    return child.exitstatus


def test_two_people_on_terminals_and_one_on_the_unix_socket(demo, join_by_terminal, on_terminal):
    child, port, unix = demo
    alice, bob = join_by_terminal("alice", port), join_by_terminal("bob", port)
    alice.expect("bob has joined")
    carol = on_terminal("connect", unix)
    carol.expect("2 people are here. What is your nickname")
    carol.sendline("carol")
    carol.expect("hello, carol")
    bob.expect("carol has joined. 3 people are here")
    carol.sendline("good morning")
    alice.expect("carol: good morning")
    alice.sendline("and to you")
    carol.expect("alice: and to you")
    bob.close(force=True)
    carol.expect("bob (has left|is gone) .*2 people are here")
    path = trews.Endpoint.parse(unix).path
    assert Path(path).is_socket()
    assert Path(path).parent.stat().st_mode & 0o777 == 0o700
    assert end(child) == 0
    for person in (alice, carol):
        person.expect("the server is stopping, goodbye")
        person.expect(pexpect.EOF)
    assert not Path(path).parent.exists()


def test_two_more_ways_in_are_over_tls(on_terminal, monkeypatch, join_by_terminal):
    if not shutil.which("openssl"):
        absent("no openssl here")
    monkeypatch.setenv("TMPDIR", "/tmp")
    child = on_terminal("demo")
    child.expect(r"trews connect '(tls:localhost:\d+\?ca=\S+)'")
    endpoint = child.match[1]
    child.expect(r"openssl (s_client -quiet -connect \S+ -CAfile (\S+))\r?\n")
    arguments, certificate = child.match[1].split(), child.match[2]
    child.expect("Ctrl-C ends it")
    alice = on_terminal("connect", endpoint)
    alice.expect("What is your nickname")
    alice.sendline("alice")
    alice.expect("hello, alice")
    bob = on_terminal(*arguments, program="openssl")
    bob.expect("verify return:1")
    bob.sendline("bob")
    alice.expect("bob has joined")
    bob.sendline("good morning")
    alice.expect("bob: good morning")
    alice.sendline("and to you")
    bob.expect("alice: and to you")
    assert end(child) == 0
    alice.expect("the server is stopping, goodbye")
    alice.expect(pexpect.EOF)
    assert not Path(certificate).parent.exists()


def test_without_a_way_to_make_a_certificate_there_is_no_tls(monkeypatch):
    monkeypatch.setenv("TMPDIR", "/tmp")

    def cannot(names):
        raise CannotSign("there is nothing to make one with")

    monkeypatch.setattr(demo_command, "self_signed", cannot)

    def run(server, grace, ready):
        ready()
        server._close_listeners()

    monkeypatch.setattr(demo_command, "run", run)
    result = CliRunner().invoke(demo_command.command)
    assert result.exit_code == 0
    assert "(no TLS: there is nothing to make one with)" in result.output
    assert "tls:" not in result.output


def test_a_reset_is_noticed_at_once(demo, join_by_terminal):
    child, port, _ = demo
    alice = join_by_terminal("alice", port)
    with socket.create_connection(("localhost", port), timeout=20) as bob:
        bob.sendall(b"bob\n")
        alice.expect("bob has joined")
        bob.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    alice.expect(r"bob is gone \(the peer broke the connection off\)")
    assert end(child) == 0


def test_a_busy_port_is_replaced_by_a_free_one():
    with socket.create_server(("127.0.0.1", 0)) as holder:
        busy = holder.getsockname()[1]

        async def main():
            server = trews.Server(Chat)
            port = demo_command.listen_somewhere(server, f"tcp:localhost:{busy}")
            async with server, trews.connect(f"tcp:localhost:{port}", framer=Line(encoding="utf-8")) as person:
                await hears(person, "Welcome")
            return port

        with no_leaks():
            assert trews.run(main()) != busy


def test_a_place_where_no_unix_socket_fits_is_no_obstacle(on_terminal, tmp_path, monkeypatch):
    deep = tmp_path / ("x" * 100)
    deep.mkdir()
    monkeypatch.setenv("TMPDIR", str(deep))
    child = on_terminal("demo")
    child.expect(r"no Unix socket: .*too long")
    child.expect("Ctrl-C ends it")
    assert end(child) == 0
    assert os.listdir(deep) == []


@pytest.mark.parametrize("count", [1, 2, 5])
def test_ctrl_c_again_and_again_leaves_nothing(start, monkeypatch, tmp_path, count):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    process = start("demo")
    while b"Ctrl-C ends it" not in process.stdout.readline():
        assert process.poll() is None
    for _ in range(count):
        process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0
    assert process.stderr.read() == b""
    assert list(tmp_path.iterdir()) == []


def test_sigterm_ends_it_as_well(start, monkeypatch):
    monkeypatch.setenv("TMPDIR", "/tmp")
    process = start("demo")
    lines = iter(process.stdout.readline, b"")
    unix = next(re.search(rb"unix:(\S+)", line) for line in lines if b"unix:" in line)[1]
    assert next(line for line in lines if b"Ctrl-C" in line)
    process.terminate()
    out, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, b"")
    assert b"goodbye" in out
    assert not Path(unix.decode()).parent.exists()

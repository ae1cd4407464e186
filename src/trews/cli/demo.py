"""`trews demo`: a chat by telnet, over TLS and through a Unix socket. The whole protocol is the class `Chat`."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import sys
import tempfile
import unicodedata
from pathlib import Path
from typing import Any

import click

import trews
from trews import build
from trews.cli.doctor import loop_and_poller
from trews.cli.selfsigned import CannotSign, self_signed
from trews.cli.serve import run
from trews.framing import Decoder, Framer, Line

PORT, TLS_PORT = 4040, 4443  # or others that are free
LINE_LIMIT = 1000  # bytes
NICK_LIMIT = 20  # characters
GRACE = 2.0  # seconds that goodbyes get

# RFC 854: what a telnet client may say about itself in between: options, subnegotiations, commands.
_TELNET = re.compile(rb"\xff(?:\xfa.*?\xff\xf0|[\xfb-\xfe].|.)?", re.DOTALL)
_NICK = re.compile(r"\w[\w.-]*")


class _LineDecoder(Decoder):
    def __init__(self) -> None:
        self._line = Line().decoder()

    def decode(self, buffer: bytearray, scanned: int) -> tuple[Any, int] | int:
        self._line.limit = self.limit
        try:
            return self._line.decode(buffer, scanned)
        except trews.MessageTooLong:
            return None, len(buffer)

    def eof(self, buffer: bytearray) -> tuple[Any, int] | None:
        return self._line.eof(buffer)


class ChatLine(Framer):
    """A line as str, whatever bytes it has; None instead of one that is too long, so that this can be said."""

    def decoder(self) -> Decoder:
        return _LineDecoder()

    def encode(self, message: str) -> bytes:
        return Line(encoding="utf-8").encode(message)


class Chat(trews.Connection):
    """One person in the chat."""

    framer = ChatLine()
    max_message = LINE_LIMIT
    nick = ""

    def on_connect(self) -> None:
        self.send(f"Welcome to the trews demo! {here(self.server)}. What is your nickname?")

    def on_read(self, line: bytes | None) -> None:
        if line is None:
            self.send(f"* a line is {LINE_LIMIT} bytes at most, yours is longer: goodbye")
            self.close()
        elif self.nick:
            self.tell(f"{self.nick}: {harmless(line)}")
        else:
            self.join(harmless(line).strip())

    def join(self, nick: str) -> None:
        """Come in under a nickname, if it is a good one."""
        problem = wrong_with(nick, [person.nick for person in people(self.server)])
        if problem:
            self.send(f"* {problem}; try another")
            return
        self.nick = nick
        self.send(f"* hello, {nick}! {here(self.server)}: {', '.join(p.nick for p in people(self.server))}")
        self.tell(f"* {nick} has joined. {here(self.server)}")

    def tell(self, text: str) -> None:
        """Say something to all the others."""
        for person in people(self.server):
            if person is not self:
                person.send(text)

    def on_close(self, reason: trews.ConnectionClosed) -> None:
        if self.nick:
            how = "has left" if reason.is_clean else "is gone"
            self.tell(f"* {self.nick} {how} ({reason}). {here(self.server)}")

    def on_stop(self) -> None:
        self.send("* the server is stopping, goodbye")
        self.close()


def people(server: Any) -> list[Chat]:
    """Those who have said who they are."""
    return [person for person in server.connections if person.nick]


def here(server: Any) -> str:
    match len(people(server)):
        case 0:
            return "Nobody is here"
        case 1:
            return "1 person is here"
        case count:
            return f"{count} people are here"


def harmless(line: bytes) -> str:
    """A line as text that does nothing to the terminal of who reads it."""
    text = unicodedata.normalize("NFC", _TELNET.sub(b"", line).decode("utf-8", "replace")).replace("\t", " ")
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def wrong_with(nick: str, taken: list[str]) -> str:
    """What speaks against a nickname, `""` for nothing."""
    if not nick:
        return "a nickname cannot be empty"
    if len(nick) > NICK_LIMIT:
        return f"a nickname has {NICK_LIMIT} characters at most"
    if not _NICK.fullmatch(nick):
        return "a nickname is letters and digits, and '.', '_' and '-' between them"
    if nick.casefold() in (other.casefold() for other in taken):
        return f"{nick} is here already"
    return ""


@click.command("demo")
def command() -> None:
    """Run a chat to join by telnet, over TLS and through a Unix socket, until Ctrl-C."""
    server = trews.Server(Chat)
    with tempfile.TemporaryDirectory(prefix="trews-demo-") as directory:
        port = listen_somewhere(server, f"tcp:localhost:{PORT}")
        ways = [f"telnet localhost {port}", f"{this_command()} connect tcp:localhost:{port}"]
        try:
            made = self_signed(["localhost", "127.0.0.1", "::1"])
            secure = trews.Endpoint.parse(f"tls:localhost:{TLS_PORT}").with_options(cert=[made.cert], key=[made.key])
            tls_port = listen_somewhere(server, str(secure))
            client = trews.Endpoint.parse(f"tls:localhost:{tls_port}").with_options(ca=made.cert)
            ways.append(f"{this_command()} connect {shlex.quote(str(client))}")
            ways.append(f"openssl s_client -quiet -connect localhost:{tls_port} -CAfile {shlex.quote(made.cert)}")
        except CannotSign as exc:
            click.echo(f"(no TLS: {exc})")
        try:
            unix = trews.Endpoint.parse(Path(directory, "chat"))
            server.listen(unix)
            ways.append(f"{this_command()} connect {shlex.quote(str(unix))}")
        except trews.ListenError as exc:  # a long TMPDIR
            click.echo(f"(no Unix socket: {exc})")
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # as soon as the chat has ended: nothing is left lying about
        run(server, GRACE, lambda: invite(ways))
    click.echo("stopped, and everybody was told goodbye")


def listen_somewhere(server: trews.Server, text: str) -> int | str | None:
    """Listen on the usual port of this machine, or on another if that is busy; return which."""
    usual = trews.Endpoint.parse(text)
    try:
        server.listen(usual)
    except trews.ListenError:
        server.listen(usual.with_port(0))
    return server.endpoints[-1].port


def invite(ways: list[str]) -> None:
    """Say how to join."""
    loop, poller = loop_and_poller()
    lines = [
        f"This is a chat on trews {trews.__version__} ({loop}, {poller}).",
        f"Build: {build.describe()}.",
        "Join it from other terminals, in any of these ways, and say your nickname first:",
        "",
        *(f"    {way}" for way in ways),
        "",
        "Ctrl-C ends it.",
    ]
    print(*lines, sep="\n", flush=True)


def this_command() -> str:
    """How to run `trews` from another terminal: by its name only if it is found by that."""
    if shutil.which("trews"):
        return "trews"
    program = sys.argv[0]
    if os.path.basename(program) == "trews":
        return shlex.quote(os.path.abspath(program))
    return f"{shlex.quote(sys.executable)} -m trews"

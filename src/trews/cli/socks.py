"""`trews socks`: a SOCKS5 server."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

import click

from trews.cli import arguments
from trews.cli.problem import Problem
from trews.cli.serve import run_aloud
from trews.endpoint import Endpoint
from trews.errors import sentence
from trews.protocols.socks import SocksServer

PORT = "1080"  # IANA's for it
VARIABLE = "TREWS_SOCKS_PASSWORD"
LONGEST = 255  # bytes of user and password each (RFC 1929)


@click.command("socks")
@click.argument("endpoint", metavar="[ENDPOINT]", default=PORT)
@click.option("--user", metavar="NAME", help=f"Ask for a user and a password, which is taken from {VARIABLE}.")
@click.option("--password-file", metavar="FILE", help="Take the password from the first line of a file.")
@click.option(
    "--grace", metavar="SECONDS", default="10", show_default=True, help="What connections get to end when it stops."
)
@click.option("--trace", is_flag=True, help="Print the traffic of every connection to stderr.")
def command(endpoint: str, user: str | None, password_file: str | None, grace: str, trace: bool) -> None:
    """Run a SOCKS5 server until Ctrl-C or SIGTERM.

    ENDPOINT is where it listens: port 1080 of this machine unless it says otherwise, 'tcp:*:1080' is all interfaces.
    Whoever reaches it gets everywhere that this machine does.
    """
    seconds = arguments.seconds("--grace", grace)
    parsed = arguments.listening(endpoint)
    if parsed.kind == "udp":
        raise Problem(f"{parsed.shown}: socks takes streams, and udp: has datagrams")
    server = SocksServer(credentials(user, password_file))
    server.listen(parsed)
    if user is None and not is_local(parsed):
        print(
            f"trews: warning: whoever reaches {parsed.shown} can use it; --user NAME asks for a password",
            file=sys.stderr,
            flush=True,
        )
    logger = logging.getLogger("trews")
    level = logger.level
    logger.setLevel(logging.INFO)  # who was refused, and why
    try:
        run_aloud(server, seconds, trace)
    finally:
        logger.setLevel(level)


def credentials(user: str | None, file: str | None) -> dict[str, str] | None:
    """The users of the server, None if everybody may come in.

    Raises:
        Problem: there is no password, or one that cannot be.
    """
    if user is None:
        if file is not None:
            raise Problem("--password-file is of a user: say --user NAME, too")
        return None
    if ":" in user:
        raise Problem(f"--user takes a name only; others can see the command line, so put the password in {VARIABLE}")
    password = read_password(file) if file is not None else os.environ.pop(VARIABLE, "")
    where = file if file is not None else VARIABLE
    if not password:
        also = "" if file is not None else ", or say --password-file FILE"
        raise Problem(f"--user needs a password: put it in {where}{also}")
    for what, text in (("the user", user), (f"the password in {where}", password)):
        if not 0 < len(text.encode("utf-8", "surrogateescape")) <= LONGEST:
            raise Problem(f"{what} must have 1 to {LONGEST} bytes")
    return {user: password}


def read_password(file: str) -> str:
    """The first line of a file."""
    try:
        with Path(file).open("rb") as opened:
            line = opened.readline(LONGEST + 2)
        return line.rstrip(b"\r\n").decode("utf-8")
    except OSError as exc:
        raise Problem(f"cannot read --password-file {file}: {sentence(exc)}") from exc
    except UnicodeDecodeError:
        raise Problem(f"the password in {file} is not UTF-8") from None


def is_local(endpoint: Endpoint) -> bool:
    """Whether only this machine reaches it."""
    return endpoint.kind not in ("tcp", "tls") or endpoint.host in ("localhost", "::1") or endpoint.host[:4] == "127."

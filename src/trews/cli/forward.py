"""`trews forward`: whoever connects to one endpoint is connected to another."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import click

import trews
from trews.addresses import shown
from trews.cli import arguments
from trews.cli.problem import Problem
from trews.cli.serve import run_aloud
from trews.endpoint import Endpoint
from trews.protocols.datagram_relay import DatagramRelay
from trews.protocols.relay import relay
from trews.transport.connector import check

logger = logging.getLogger("trews")

# What cannot be connected to again for the next client, and why.
_REFUSED = {
    "stdio": "it is one connection, and each client needs one of its own; as A it can be forwarded",
    "fd": "it is one connection, and each client needs one of its own; as A it can be forwarded",
    "systemd": "systemd: is for listening",
    "memory": "memory: is within one program",
}


@click.command("forward")
@click.argument("a")
@click.argument("b")
@click.option(
    "--grace", metavar="SECONDS", default="10", show_default=True, help="What connections get to end when it stops."
)
@click.option("--trace", is_flag=True, help="Print the traffic of every connection to stderr.")
def command(a: str, b: str, grace: str, trace: bool) -> None:
    """Listen on A, and connect everybody who comes to B, until Ctrl-C or SIGTERM.

    A and B are endpoints: a port (8080), tcp:HOST:PORT, unix:PATH, ... Without a host A is localhost only, and
    'tcp:*:8080' is all interfaces; B is localhost, too. With udp: both must be that.
    """
    seconds = arguments.seconds("--grace", grace)
    listening, target = arguments.listening(a), Endpoint.parse(b)
    if (listening.kind == "udp") is not (target.kind == "udp"):
        raise Problem(f"{listening.shown} and {target.shown}: streams are joined with streams, and udp: with udp:")
    if target.kind in _REFUSED:
        raise Problem(f"{target.shown} cannot be forwarded to: {_REFUSED[target.kind]}")
    check(target)
    if arguments.listening(b) == listening and listening.port != 0:
        raise Problem(f"A and B are both {listening.shown}: each connection would be forwarded to itself, without end")
    if target.kind == "udp":
        server = trews.Server(type("Relay", (DatagramRelay,), {"target": target}))
    else:
        server = trews.Server(forwarder(target), half_close=True)
    server.listen(listening)
    run_aloud(server, seconds, trace)


def forwarder(target: Endpoint) -> Callable[[trews.Connection], Awaitable[None]]:
    """A handler that joins its connection to a new one to `target`."""

    # A program that has ended looks like one that has ended its output only, and the latter is rare.
    half_close = target.kind != "exec"

    async def forward(conn: trews.Connection) -> None:
        try:
            peer = await trews.connect(target, half_close=half_close)
        except trews.Error as exc:
            reason = str(exc).partition("\n")[0]
            logger.warning("%s: %s", shown(conn.remote_address), reason)
            conn.abort()  # an orderly end would look like an empty answer
            return
        await relay(conn, peer)

    return forward

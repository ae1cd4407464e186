"""`trews serve`: a protocol from a module or a file, on endpoints, without a line of code."""

from __future__ import annotations

import inspect
import logging
from typing import TYPE_CHECKING, Any

import click

import trews
from trews import debugging
from trews.cli import arguments, target
from trews.cli.problem import Problem, in_one_line
from trews.settings import GRACE
from trews.transport.inherited import OneConnection

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable


@click.command("serve")
@click.argument("thing", metavar="MODULE:NAME")
@click.argument("endpoints", metavar="ENDPOINT...", nargs=-1)
@click.option(
    "--set", "assignments", metavar="NAME=VALUE", multiple=True, help="A setting, as trews.serve takes it. Repeatable."
)
@click.option(
    "--grace", metavar="SECONDS", default="10", show_default=True, help="What connections get to end when it stops."
)
@click.option("--trace", is_flag=True, help="Print the traffic of every connection to stderr.")
def command(thing: str, endpoints: tuple[str, ...], assignments: tuple[str, ...], grace: str, trace: bool) -> None:
    """Serve a protocol until Ctrl-C or SIGTERM.

    MODULE:NAME or FILE.py:NAME is a Connection subclass, an async function of a connection, or a Server;
    or a Datagram subclass, for udp:PORT.
    An ENDPOINT is a port (4040), tcp:HOST:PORT, unix:PATH, ...; without a host it is localhost only,
    and 'tcp:*:4040' is all interfaces. With 'stdio:' the command's own input and output are the connection.
    """
    seconds = arguments.seconds("--grace", grace)
    parsed = [arguments.listening(endpoint) for endpoint in endpoints]
    server = _server(thing, arguments.settings(assignments))
    if not parsed and not server.endpoints:
        raise Problem("say where to listen: a port such as 4040, tcp:HOST:PORT, or unix:PATH")
    server.listen(*parsed)
    run_aloud(server, seconds, trace)


def run_aloud(server: trews.Server, grace: float, trace: bool) -> None:
    """Serve until a signal, and say where, and how it stops. Logs go to stderr."""
    logging.basicConfig(format="%(asctime)s %(message)s")
    tell_stop(server)
    if trace:
        debugging.start_tracing()
    drained = run(server, grace, lambda: announce(server))
    if any(drained):
        click.echo(f"stopped; connections closed: {drained.closed}, aborted: {drained.aborted}")


def announce(server: trews.Server) -> None:
    """Say where it can be reached; IPv4 and IPv6 of one endpoint are one line."""
    listeners = [listener for listener in server._listeners if not isinstance(listener, OneConnection)]
    for endpoint in dict.fromkeys(listener.endpoint.shown for listener in listeners):
        print(f"listening on {endpoint}", flush=True)


def tell_stop(server: trews.Server) -> None:
    """Have it said when the server begins to stop, if anybody is connected then."""
    stop = server.stop

    def stop_aloud(grace: float = GRACE) -> asyncio.Future[trews.Drained]:
        server.stop = stop  # type: ignore[method-assign]
        if count := len(server.connections):
            what = "1 connection" if count == 1 else f"{count} connections"
            print(f"stopping, {what} open (Ctrl-C again ends them at once)", flush=True)
        return stop(grace)

    server.stop = stop_aloud  # type: ignore[method-assign]


def run(server: trews.Server, grace: float, announce: Callable[[], None]) -> trews.Drained:
    """Serve until a signal. `announce` is called when connections are taken, and signals are heeded.

    Raises:
        Problem: the server's `on_start` failed.
    """
    on_start = server.on_start

    async def start() -> None:
        try:
            result = on_start()
            if inspect.isawaitable(result):
                await result
        except Exception as exc:
            raise Problem(f"on_start of {type(server).__name__} failed: {in_one_line(exc)}", 1) from exc
        announce()

    server.on_start = start  # type: ignore[method-assign]
    return trews.serve(server, grace=grace)


def _server(text: str, settings: dict[str, Any]) -> trews.Server:
    thing = target.load(text)
    if isinstance(thing, trews.Server):
        if settings:
            raise Problem(f"{text} is a Server: give it the settings where it is made, not by --set")
        return thing
    if isinstance(settings.get("framer"), str):
        raise Problem("--set framer= takes a number of bytes or none; other framers are set in the code")
    try:
        return trews.Server(thing, **settings)
    except (TypeError, ValueError) as exc:
        raise Problem(str(exc)) from exc

"""`trews connect`: the terminal, or a pipe, joined to an endpoint."""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import TYPE_CHECKING, Any

import click

import trews
from trews import debugging
from trews.cli.exchange import exchange
from trews.cli.problem import Problem
from trews.cli.terminal import Input, Output
from trews.endpoint import Endpoint
from trews.errors import sentence
from trews.serving import handle_signals

if TYPE_CHECKING:
    from collections.abc import Coroutine

TLS_ALERT = b"\x15\x03"  # how one begins (RFC 8446, 5.1)
LAST_WORDS = 1.0  # seconds that what is still to be sent gets after Ctrl-C
ANSWERS = 2.0  # seconds of silence after the end of the input, where the peer cannot be told of it


@click.command("connect")
@click.argument("endpoint")
@click.option("--trace", is_flag=True, help="Print the traffic to stderr, too.")
def command(endpoint: str, trace: bool) -> None:
    """Send the input to an endpoint and print what comes back.

    ENDPOINT is HOST:PORT, a port of this machine, unix:PATH, ... The end of the input (Ctrl-D) is passed
    on; the command ends when the other side does, or by Ctrl-C. On udp:HOST:PORT each line is a datagram, and
    nothing tells the end: the command waits a second for answers when the input has ended.
    """
    parsed = Endpoint.parse(endpoint)
    if trace:
        debugging.start_tracing()
    talk = exchange if parsed.kind == "udp" else converse
    try:
        trews.run(until_ctrl_c(talk(parsed, Input(sys.stdin), Output(sys.stdout))))
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


async def until_ctrl_c(conversation: Coroutine[Any, Any, None]) -> None:
    """Cancel it at Ctrl-C; another one cancels its goodbye, too."""
    task = asyncio.create_task(conversation)
    undo = handle_signals((signal.SIGINT,), task.cancel)
    try:
        await task
    finally:
        undo()


async def converse(endpoint: Endpoint, source: Input, sink: Output) -> None:
    """Connect, and carry bytes both ways until the peer has ended.

    Raises:
        ConnectError: there is nobody.
        Problem: the connection broke, or the input or output did.
    """
    # A person may look at something else for an hour, and so may what is on the other side.
    peer = await trews.connect(endpoint, half_close=True, write_timeout=None)
    sending = asyncio.create_task(send(source, peer, str(endpoint.get("via", "")).startswith("http")))
    printing = asyncio.create_task(show(peer, sink))
    try:
        await asyncio.wait((sending, printing), return_when=asyncio.FIRST_COMPLETED)
        if sending.done():
            sending.result()
        await printing
    except trews.ConnectionClosed as exc:
        raise Problem(f"the connection to {endpoint.shown} broke: {exc}", 1) from exc
    except (asyncio.CancelledError, Problem):
        peer.close_timeout = LAST_WORDS
        raise
    finally:
        sending.cancel()
        printing.cancel()
        await asyncio.gather(sending, printing, return_exceptions=True)
        peer.close()
        await peer.wait_closed()
    if isinstance(peer.reason, trews.ProcessExited) and not peer.reason.is_clean:
        raise Problem(f"{endpoint.shown}: {peer.reason}", 1)


async def send(source: Input, peer: trews.Connection, is_tunnel: bool = False) -> None:
    """Carry the input to the peer, at the peer's pace, and then its end.

    Args:
        is_tunnel: an HTTP proxy is between: squid, for one, drops both directions when one has ended.
    """
    while True:
        try:
            data = await source.read()
        except OSError as exc:
            raise Problem(f"cannot read the input: {sentence(exc)}") from exc
        if not data:
            if is_tunnel or (peer.tls is not None and peer.tls.version == "TLSv1.2"):
                await close_when_silent(peer)
            else:
                peer.close_write()
            return
        try:
            await peer.send(data)
        except trews.ConnectionClosed:
            return  # who reads from it says why


async def close_when_silent(peer: trews.Connection) -> None:
    """Close when no more answers come, as there is no other way to say that the input has ended."""
    seen = -1
    while seen != peer.bytes_in:
        seen = peer.bytes_in
        await asyncio.sleep(ANSWERS)
    peer.close()


async def show(peer: trews.Connection, sink: Output) -> None:
    """Print what comes from the peer, at the pace of who reads that, to its end."""
    async for data in peer:
        if data[:2] == TLS_ALERT and peer.bytes_in == len(data) and peer.tls is None:
            print("trews: this looks like TLS: is it a tls: endpoint?", file=sys.stderr, flush=True)
        try:
            await sink.write(data)
        except BrokenPipeError as exc:
            raise Problem("", 1) from exc  # `trews connect ... | head` has seen enough
        except OSError as exc:
            raise Problem(f"cannot write the output: {sentence(exc)}", 1) from exc

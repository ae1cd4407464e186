"""`trews connect` for datagrams: each line of the input is one, and what comes back is printed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import trews
from trews.cli.problem import Problem
from trews.errors import sentence

if TYPE_CHECKING:
    from trews.cli.terminal import Input, Output
    from trews.endpoint import Endpoint

LONGEST = 65507  # bytes of a datagram on IPv4
ANSWERS = 1.0  # seconds after the end of the input; nothing tells that no more will come


async def exchange(endpoint: Endpoint, source: Input, sink: Output) -> None:
    """Send the input's lines, and print datagrams until some time after its end.

    Raises:
        ConnectError: the address cannot be had.
        Problem: nobody is there, or the input or output broke.
    """
    async with trews.connect(endpoint, trews.Datagram) as peer:
        sending = asyncio.create_task(send_lines(source, peer, endpoint.shown))
        printing = asyncio.create_task(show(peer, sink, endpoint.shown))
        try:
            await asyncio.wait((sending, printing), return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
                await asyncio.wait((printing,), timeout=ANSWERS)
            if printing.done():
                printing.result()
        finally:
            sending.cancel()
            printing.cancel()
            await asyncio.gather(sending, printing, return_exceptions=True)


async def send_lines(source: Input, peer: trews.Datagram, where: str) -> None:
    """Send each line of the input, its end included, as a datagram."""
    rest = b""
    while True:
        try:
            data = await source.read()
        except OSError as exc:
            raise Problem(f"cannot read the input: {sentence(exc)}") from exc
        *lines, rest = (rest + data).split(b"\n")
        for line in [*(line + b"\n" for line in lines), *([rest] if rest and not data else [])]:
            try:
                await peer.send(line)
            except OSError as exc:
                raise Problem(f"{where}: {sentence(exc)}", 1) from exc
        if len(rest) > LONGEST:
            raise Problem(f"a line is longer than a datagram can be, {LONGEST} bytes", 1)
        if not data:
            return


async def show(peer: trews.Datagram, sink: Output, where: str) -> None:
    """Print what comes."""
    while True:
        try:
            data, _ = await peer.read()
        except OSError as exc:
            raise Problem(f"{where}: {sentence(exc)}", 1) from exc
        try:
            await sink.write(data)
        except BrokenPipeError as exc:
            raise Problem("", 1) from exc  # `trews connect ... | head` has seen enough
        except OSError as exc:
            raise Problem(f"cannot write the output: {sentence(exc)}", 1) from exc

"""What attackers do: sockets that reset, clients in threads, servers in processes of their own."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import struct
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import trews

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close() sends RST
HERE = "tcp:127.0.0.1:0"


def dial(port: int, family: int = socket.AF_INET) -> socket.socket:
    """A blocking client that gives up after 30 s."""
    return socket.create_connection(("127.0.0.1", port), 30)


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    sock.close()


async def until(condition: Callable[[], Any]) -> None:
    """Let the others run until it holds; pytest's timeout is the bound."""
    while not condition():
        await asyncio.sleep(0.001)


def is_empty(server: trews.Server) -> bool:
    """Whether a server has forgotten every connection it had."""
    return not (server._alive or server._sockets or server._hosts or len(server.connections))


async def still_serves(port: int) -> None:
    """An echo server answers a new client."""
    async with trews.connect(f"tcp:127.0.0.1:{port}") as client:
        client.write(b"alive?")
        assert await client.read(framer=6, timeout=30) == b"alive?"


@contextmanager
def logged() -> Iterator[list[logging.LogRecord]]:
    """All that is logged as a warning or worse."""
    records: list[logging.LogRecord] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = records.append  # type: ignore[method-assign, assignment]
    names = ("trews", "asyncio")
    for name in names:
        logging.getLogger(name).addHandler(handler)
    try:
        yield records
    finally:
        for name in names:
            logging.getLogger(name).removeHandler(handler)


@contextmanager
def program(source: str, *under: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A Python program with its pipes, `under` another one if need be; killed at the end if it still runs."""
    process = subprocess.Popen(
        [*under, sys.executable, "-u", "-W", "error", "-c", source],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
        process.wait()

"""udp: an echo of datagrams of 64 bytes, 64 of them on the way at any time."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from bench.benchmark import Benchmark, Column, Measures, Row
from bench.loads import native_sample
from bench.programs import Lab, script

WINDOW = 64
SETTING = f"{WINDOW} on the way"
FLOOR = Row("plain socket loop", script("udp_loop"))


def echoes(port: int) -> bool:
    """Whether a datagram comes back."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(0.2)
        try:
            sock.connect(("127.0.0.1", port))
            sock.send(b"?")
            return sock.recv(16) == b"?"
        except OSError:
            return False


@contextmanager
def session(lab: Lab, row: Row) -> Iterator[Measures]:
    """Echoes of one client."""
    with lab.serving(row.command, row.is_pure, echoes) as server:
        native_sample(lab, server, "udpload", WINDOW, lab.warm_up)
        yield {SETTING: lambda: native_sample(lab, server, "udpload", WINDOW, lab.seconds)}


BENCHMARK = Benchmark(
    name="udp",
    title="an echo of datagrams of 64 bytes",
    rows=(
        FLOOR,
        Row("uvloop", script("udp_protocol", "uvloop", package="uvloop")),
        Row("asyncio", script("udp_protocol", "asyncio")),
        Row("trews callbacks", script("udp_trews", "callbacks"), is_trews=True),
        Row("trews async for", script("udp_trews", "await"), is_trews=True),
    ),
    columns=(
        Column("cpu", "CPU µs/echo", 2),
        Column("rate", "echoes/s"),
        Column("p50", "p50 µs"),
        Column("p99", "p99 µs"),
        Column("lost", "lost"),
    ),
    session=session,
    floor=FLOOR.name,
    settings=[SETTING],
    passes={SETTING: 3},
)

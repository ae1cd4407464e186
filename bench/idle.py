"""idle: 10,000 connections that say nothing: their memory, and what they cost the 64 that are busy.

Each has asked once and has its answer before it falls silent, so that what a first request leaves behind is counted.
The memory is what the server's process has in RAM; the kernel's share is the same for all.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from bench import raw
from bench.benchmark import Benchmark, Column, Measures, Row
from bench.loads import REQUEST, warm_up, wrk_sample
from bench.measure import Sample, resident_bytes
from bench.programs import Failed, Lab, Missing, Running

COUNT = 10_000
ACTIVE = 64
SETTING = f"{COUNT:,} idle"
SPARE = 500  # files besides those connections
# A client address has 28,000 ports for one server; four of them leave room for those in TIME_WAIT.
SOURCES = 4
# A port is chosen when the connection is made, where those in TIME_WAIT of other servers are free, and not by `bind`,
# which looks for seconds when 60,000 are. In Python's `socket` since 3.12.
IP_BIND_ADDRESS_NO_PORT = 24
BATCH = 500  # opened, then asked, then heard: one by one, the two processes would wait for each other 20,000 times


def allow_files(needed: int) -> None:
    """Raise this process's limit of open files, which those it starts inherit.

    Raises:
        Missing: the system does not allow so many.
    """
    import resource  # not on Windows, where the command ends with a sentence before this

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        if hard != resource.RLIM_INFINITY and hard < needed:
            raise Missing(f"{needed:,} open files are needed and {hard:,} allowed; `ulimit -Hn {needed}` as root")
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


@contextmanager
def idle_connections(port: int, count: int) -> Iterator[None]:
    """So many connections that have asked once."""
    with ExitStack() as stack:
        for begin in range(0, count, BATCH):
            batch = [stack.enter_context(socket.socket()) for _ in range(begin, min(begin + BATCH, count))]
            try:
                for number, sock in enumerate(batch):
                    sock.settimeout(10)
                    sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
                    sock.bind((f"127.0.0.{2 + number % SOURCES}", 0))
                    sock.connect(("127.0.0.1", port))
                for sock in batch:
                    sock.sendall(REQUEST)
                if not all(sock.recv(4096) for sock in batch):
                    raise Failed(f"the server closes idle connections, from {begin:,} on")
            except OSError as exc:
                raise Failed(f"the server does not take idle connections, from {begin:,} on: {exc}") from exc
        yield


@contextmanager
def session(lab: Lab, row: Row) -> Iterator[Measures]:
    """One setting."""
    allow_files(COUNT + SPARE)
    with lab.serving(row.command, row.is_pure) as server:
        warm_up(server)
        yield {SETTING: lambda: sample(lab, server)}


def sample(lab: Lab, server: Running) -> Sample:
    """64 alone, then among the idle ones."""
    alone = wrk_sample(lab, server, ACTIVE, lab.seconds)["cpu"]
    before = resident_bytes(server.pid)
    with idle_connections(server.port, COUNT):
        grown = resident_bytes(server.pid) - before
        among = wrk_sample(lab, server, ACTIVE, lab.seconds)["cpu"]
    return {"bytes": grown / COUNT, "alone": alone, "among": among, "slowdown": among / alone}


BENCHMARK = Benchmark(
    name="idle",
    title="10,000 idle connections, and 64 busy ones among them",
    rows=[row for row in raw.ROWS if row.name not in ("trews framer", "trews await read(end)")],
    columns=(
        Column("bytes", "bytes/connection"),
        Column("alone", "CPU µs/request of 64 alone", 2),
        Column("among", "among the idle", 2),
        Column("slowdown", "ratio", 2),
    ),
    session=session,
    floor=None,
    settings=[SETTING],
)

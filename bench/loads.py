"""The clients: they run on a core of their own, and say how much was served and how long it took."""

from __future__ import annotations

import math
import re
import socket
import ssl
import subprocess
from contextlib import ExitStack
from typing import NamedTuple

from bench.measure import Sample, cpu_of
from bench.programs import Failed, Lab, Running, last_line

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
_UNIT = {"us": 1.0, "ms": 1e3, "s": 1e6, "m": 6e7}


class Load(NamedTuple):
    """What a client saw."""

    requests: int
    rate: float  # a second, by the clock on the wall
    p50: float  # microseconds
    p99: float


def finished(lab: Lab, command: list[str], seconds: float, is_pure: bool = False) -> str:
    """Run a client to its end; what it printed.

    Args:
        seconds: how long it should take; half a minute more is the end.
    """
    with lab.start(command, lab.load_core, is_pure, subprocess.PIPE) as process:
        try:
            output = process.communicate(timeout=seconds + 30)[0].decode(errors="replace")
        except subprocess.TimeoutExpired:
            process.kill()
            raise Failed(f"the client {command[0]} did not come to an end") from None
    if process.returncode:
        raise Failed(f"the client ended with status {process.returncode}: {last_line(output)}")
    return output


def warm_up(server: Running, context: ssl.SSLContext | None = None) -> None:
    """Ask 6,400 times, on 64 connections: Python specialises its code in the first thousands of calls.

    From here and not with wrk, which takes a second at least.
    """
    with ExitStack() as stack:
        socks: list[socket.socket] = []
        for _ in range(64):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=10))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if context:
                sock = stack.enter_context(context.wrap_socket(sock, server_hostname="localhost"))
            socks.append(sock)
        for _ in range(100):
            for sock in socks:
                sock.sendall(REQUEST)
            if not all(sock.recv(65536) for sock in socks):
                raise Failed("the server closes connections while it is warmed up")


def wrk(lab: Lab, port: int, connections: int, seconds: float, tls: bool = False) -> Load:
    """wrk with one thread, and so many connections that are kept; in whole seconds, which is all it knows."""
    whole = math.ceil(seconds)
    url = f"{'https' if tls else 'http'}://127.0.0.1:{port}/"
    command = [lab.program("wrk"), "--latency", "-t1", f"-c{connections}", f"-d{whole}s", url]
    return parse_wrk(finished(lab, command, whole))


def parse_wrk(output: str) -> Load:
    """Read wrk's report.

    Raises:
        Failed: requests that failed are in it, or none.
    """
    # An answer that took more than 2 s is a "timeout" there, and counted all the same: a busy machine has some.
    problem = re.search(
        r"Socket errors: (?!connect 0, read 0, write 0).*|Non-2xx or 3xx responses: .*|unable to connect.*", output
    )
    requests = re.search(r"(\d+) requests in", output)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", output)
    if problem or not requests or not rate or requests[1] == "0":
        raise Failed(f"wrk says: {problem[0].strip() if problem else 'no requests'}")
    return Load(int(requests[1]), float(rate[1]), _percentile(output, 50), _percentile(output, 99))


def _percentile(output: str, percent: int) -> float:
    """In microseconds."""
    found = re.search(rf"^\s*{percent}%\s+([\d.]+)(us|ms|s|m)\s*$", output, re.MULTILINE)
    if not found:
        raise Failed(f"wrk says nothing of the latency at {percent} %")
    return float(found[1]) * _UNIT[found[2]]


def sample_of(lab: Lab, server: Running, command: list[str], seconds: float) -> Sample:
    """What a request costs the server, with a client of ours, which prints a name and a number on each line."""
    lines: list[str] = []
    used = cpu_of(server.pid, lambda: lines.extend(finished(lab, command, seconds).splitlines()))
    seen = {name: float(value) for name, value in (line.split() for line in lines)}
    return seen | {"cpu": used / seen["requests"] * 1e6, "rate": seen["requests"] / seen["seconds"]}


def native_sample(lab: Lab, server: Running, client: str, *arguments: float) -> Sample:
    """The same with `c/CLIENT.c PORT ARGUMENTS`."""
    command = [lab.compiled(client), str(server.port), *map(str, arguments)]
    return sample_of(lab, server, command, lab.seconds)


def wrk_sample(lab: Lab, server: Running, connections: int, seconds: float, tls: bool = False) -> Sample:
    """The same with wrk."""
    seen: list[Load] = []
    used = cpu_of(server.pid, lambda: seen.append(wrk(lab, server.port, connections, seconds, tls)))
    load = seen[0]
    return {"cpu": used / load.requests * 1e6, "rate": load.rate, "p50": load.p50, "p99": load.p99}

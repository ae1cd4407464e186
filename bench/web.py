"""What `http`, `wsgi` and `asgi` have in common: what is asked of HTTP servers, and how."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

from bench import raw
from bench.benchmark import Benchmark, Measures, Row
from bench.loads import REQUEST, sample_of
from bench.measure import Sample
from bench.nginx import file_of, nginx
from bench.programs import Command, Lab, Running

CONNECTIONS = 64
PASSES = 3  # of what is judged
SHORT = 0.3  # of the seconds of a turn, for what is not


class Setting(NamedTuple):
    """What is asked.

    Args:
        name: as it stands in the tables.
        application: what the server answers, as in servers/options.py.
        requests: sent at once.
        size: of the body of each answer, in bytes.
        depth: how many requests that are.
        is_fresh: on a connection of their own.
    """

    name: str
    application: str
    requests: bytes
    size: int
    depth: int = 1
    is_fresh: bool = False


BROWSERS_REQUEST = b"""\
GET / HTTP/1.1\r
Host: localhost:8080\r
Connection: keep-alive\r
sec-ch-ua: "Chromium";v="142", "Google Chrome";v="142", "Not_A Brand";v="99"\r
sec-ch-ua-mobile: ?0\r
sec-ch-ua-platform: "Linux"\r
Upgrade-Insecure-Requests: 1\r
User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36\r
Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8\r
Sec-Fetch-Site: none\r
Sec-Fetch-Mode: navigate\r
Sec-Fetch-Dest: document\r
Accept-Encoding: gzip, deflate, br, zstd\r
Accept-Language: en-GB,en;q=0.9,de;q=0.8\r
\r
"""


def post(size: int) -> bytes:
    """A request with a body of so many bytes."""
    head = f"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: {size}\r\n\r\n"
    return head.encode() + b"x" * size


SMALL = Setting("small request", "hello", REQUEST, 13)
BROWSER = Setting("browser's request", "hello", BROWSERS_REQUEST, 13)
POST_10_KB = Setting("POST of 10 KB", "size", post(10_000), len("10000"))
POST_1_MB = Setting("POST of 1 MB", "size", post(1_000_000), len("1000000"))
LARGE = Setting("answer of 100 KB", "large", REQUEST, 100_000)
PIECES = Setting("answer of ten pieces", "pieces", REQUEST, 10_000)
FRESH = Setting("connection for each request", "hello", REQUEST, 13, is_fresh=True)
PIPELINED = Setting("16 pipelined", "hello", REQUEST * 16, 13, depth=16)

JUDGED = (SMALL, BROWSER)
SETTINGS = (*JUDGED, POST_10_KB, POST_1_MB, LARGE, PIECES, FRESH, PIPELINED)

# What a row does not do, and so is not asked.
CANNOT = {
    raw.FLOOR.name: (POST_10_KB, POST_1_MB, LARGE, PIECES, PIPELINED),  # it answers whatever comes
    "nginx": (PIECES,),  # it has nothing that makes them
    "FastPySGI (ASGI)": (PIECES,),  # 0.6 sends the first and no more, and is busy for ever
    "bjoern (WSGI)": (PIPELINED,),  # it answers the first, and forgets the others
}


def nginx_with(application: str) -> Command:
    """What the applications do, as nginx says it."""

    def command(lab: Lab, port: int) -> Sequence[str]:
        answer = 'return 200 "$content_length";' if application == "size" else file_of(lab, "100KB", LARGE.size)
        return nginx(lab, port, answer)

    return command


def command_of(row: Row, application: str) -> Command:
    """The server of a row with an application."""
    if application == "hello":
        return row.command
    if row.command is nginx:
        return nginx_with(application)
    return lambda lab, port: [*row.command(lab, port), "--application", application]


def answers(port: int) -> bool:
    """Whether a server speaks HTTP: some accept before their workers are up."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as sock:
            sock.sendall(REQUEST)
            return sock.recv(12) == b"HTTP/1.1 200"
    except OSError:
        return False


def load(lab: Lab, server: Running, setting: Setting, seconds: float) -> Sample:
    """Ask for so long."""
    requests = lab.folder / f"{setting.name}.request"
    if not requests.exists():
        requests.write_bytes(setting.requests)
    command = [lab.compiled("httpload"), str(server.port), str(CONNECTIONS), str(seconds), str(requests)]
    command += [str(setting.depth), str(setting.size), *(["fresh"] if setting.is_fresh else [])]
    return sample_of(lab, server, command, seconds)


@contextmanager
def session(lab: Lab, row: Row) -> Iterator[Measures]:
    """All settings; those with another application have a server for it, while they are measured."""
    with lab.serving(row.command, row.is_pure, answers) as server:
        load(lab, server, SMALL, lab.warm_up)
        able = [setting for setting in SETTINGS if setting not in CANNOT.get(row.name, ())]
        yield {setting.name: partial(turn, lab, row, server, setting) for setting in able}


def turn(lab: Lab, row: Row, server: Running, setting: Setting) -> Sample:
    """One row in one setting, once."""
    if setting in JUDGED:
        return load(lab, server, setting, lab.seconds)
    if setting.application == SMALL.application:
        return load(lab, server, setting, lab.seconds * SHORT)
    with lab.serving(command_of(row, setting.application), row.is_pure, answers) as other:
        load(lab, other, setting, lab.warm_up * SHORT)
        return load(lab, other, setting, lab.seconds * SHORT)


def benchmark(name: str, title: str, rows: Sequence[Row], floor: Row) -> Benchmark:
    """One of the three."""
    return Benchmark(
        name=name,
        title=title,
        rows=rows,
        columns=raw.COLUMNS,
        session=session,
        floor=floor.name,
        settings=[setting.name for setting in SETTINGS],
        passes={setting.name: PASSES for setting in JUDGED},
    )

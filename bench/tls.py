"""tls: the same canned answer, full handshakes, and 20 MB in one write, all encrypted.

nginx is the floor: it is C on the same OpenSSL. Everybody speaks what a default context and a default client agree
upon, TLS 1.3 with AES-256-GCM, with a certificate of ECDSA on P-256.
"""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench import raw
from bench.benchmark import Benchmark, Column, Measures, Row
from bench.bulk import SIZE
from bench.loads import sample_of, warm_up, wrk_sample
from bench.measure import Sample
from bench.nginx import HELLO, file_of
from bench.nginx import nginx as plain_nginx
from bench.programs import HERE, Command, Lab, Missing, Running, last_line, script

CANNED, HANDSHAKES, BULK = "canned answer, 64 connections", "full handshakes", "20 MB writes"


def certificate(lab: Lab) -> Path:
    """A folder with cert.pem and key.pem, for localhost: ECDSA on P-256, as most new ones are."""
    if not (lab.folder / "cert.pem").exists():
        command = [lab.program("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt"]
        command += ["ec_paramgen_curve:prime256v1", "-nodes", "-days", "30", "-subj", "/CN=localhost"]
        command += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
        command += ["-keyout", str(lab.folder / "key.pem"), "-out", str(lab.folder / "cert.pem")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        if done.returncode:
            raise Missing(f"openssl makes no certificate: {last_line(done.stderr)}")
    return lab.folder


def nginx(lab: Lab, port: int, answer: str = HELLO) -> Sequence[str]:
    """nginx on one process."""
    folder = certificate(lab)
    more = f"ssl_protocols TLSv1.2 TLSv1.3; ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem;"
    return plain_nginx(lab, port, answer, "ssl", more)


def bulky_nginx(lab: Lab, port: int) -> Sequence[str]:
    """The same with a file of 20 MB."""
    return nginx(lab, port, file_of(lab, "20MB", SIZE))


def over_tls(command: Command) -> Command:
    """The same server, with a certificate."""
    return lambda lab, port: [*command(lab, port), "--tls", str(certificate(lab))]


def row(name: str, program: str, style: str, package: str | None = None) -> Row:
    """One of the servers in Python."""
    return Row(name, over_tls(script(program, style, package=package)), is_trews=program == "trews_server")


def bulky(row: Row) -> Command:
    """The command of a row for the writes of 20 MB."""
    if row.command is nginx:
        return bulky_nginx
    return lambda lab, port: [*row.command(lab, port), "--bulk"]


@contextmanager
def session(lab: Lab, row: Row) -> Iterator[Measures]:
    """All three; that of the writes has a server of its own, and as it may take much memory, only then."""
    with lab.serving(row.command, row.is_pure) as server:
        warm_up(server, ssl.create_default_context(cafile=certificate(lab) / "cert.pem"))
        client(lab, server, "handshakes", lab.warm_up)
        yield {
            CANNED: lambda: wrk_sample(lab, server, 64, lab.seconds, tls=True),
            HANDSHAKES: lambda: client(lab, server, "handshakes", lab.seconds),
            BULK: lambda: bulk(lab, row),
        }


def bulk(lab: Lab, row: Row) -> Sample:
    """The writes of 20 MB."""
    with lab.serving(bulky(row), row.is_pure) as server:
        client(lab, server, "bulk", lab.warm_up)
        return client(lab, server, "bulk", lab.seconds)


def client(lab: Lab, server: Running, what: str, seconds: float) -> Sample:
    """The client in Python: wrk would take up sessions again, and is slow with large answers."""
    command = [lab.python, str(HERE / "clients" / "tls_client.py"), what, str(server.port), str(seconds)]
    return sample_of(lab, server, [*command, str(certificate(lab) / "cert.pem"), str(SIZE)], seconds)


BENCHMARK = Benchmark(
    name="tls",
    title="canned answers, full handshakes, 20 MB writes",
    rows=(
        Row("nginx", nginx),
        row("aiofastnet on uvloop", "protocol", "aiofastnet", package="aiofastnet"),
        row("uvloop Protocol", "protocol", "uvloop", package="uvloop"),
        row("asyncio Protocol", "protocol", "asyncio"),
        row("trews callbacks", "trews_server", "callbacks"),
        row("trews await read()", "trews_server", "await"),
    ),
    columns=(Column("cpu", "CPU µs each", 2), *raw.COLUMNS[1:]),
    session=session,
    floor="nginx",
    settings=(CANNED, HANDSHAKES, BULK),
    passes={CANNED: 4},  # which is what is judged
)

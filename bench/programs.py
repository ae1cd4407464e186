"""Other programs: what of them is here, and starting and stopping them. Nothing is ever installed."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import IO, NamedTuple

from bench.measure import descendants

HERE = Path(__file__).parent
EXTRA = 'pip install -e ".[bench]"'
READY_TIMEOUT = 30.0  # seconds until a server answers; on a machine that is not busy half a second
# Below the ports that the system gives to clients (32768 and up): theirs must not take ours.
PORTS = range(20_000, 32_000)

# What the build is, told by the interpreter that is measured: where each compiled module of trews lies.
_BUILD = """
import json, ssl, sys, trews
from importlib.metadata import version, PackageNotFoundError
def of(name):
    try: return version(name)
    except PackageNotFoundError: return None
native = sorted(n for n, m in sys.modules.items() if n.startswith("trews") and (getattr(m, "__file__", "") or "")
                .endswith((".so", ".pyd")))
json.dump({"native": native, "python": sys.version.split()[0], "openssl": ssl.OPENSSL_VERSION,
           "versions": {n: of(n) for n in sys.argv[1:]}}, sys.stdout)
"""
PEERS = (
    *("trews", "uvloop", "gevent", "twisted", "aiofastnet"),
    *("aiohttp", "bjoern", "fastpysgi", "granian", "gunicorn", "httptools", "tornado", "uvicorn"),
)

# How to get what a comparison needs.
HINTS = {
    "wrk": "apt install wrk",
    "nginx": "apt install nginx-light",
    "openssl": "apt install openssl",
    "cc": "apt install gcc libc6-dev",
    "bjoern": f"apt install gcc libc6-dev libev-dev; {EXTRA}",
}


class Missing(Exception):
    """Something is not here; the message is a sentence that says what, and how to get it."""


class Failed(Exception):
    """A program did not do its work; the message is a sentence."""


class Facts(NamedTuple):
    """What the interpreter under test says of itself."""

    python: str
    openssl: str
    native: tuple[str, ...]  # modules of trews that are compiled
    versions: dict[str, str]  # of the packages that are installed


class Running(NamedTuple):
    """A server that answers."""

    pid: int
    port: int


# A command, given the laboratory and the port. It raises Missing for what is not here.
Command = Callable[["Lab", int], Sequence[str]]


class Lab:
    """What a run has at hand.

    Args:
        python: the interpreter whose packages are compared.
        seconds: how long each load runs.
        folder: for compiled programs, certificates and logs; it is there and empty.
        real_time: servers and loads go before all other programs on their cores; None: if the system lets them.
    """

    def __init__(self, python: str, seconds: float, folder: Path, real_time: bool | None = False) -> None:
        self.python = python
        self.seconds = seconds
        # Python specialises its code in the first thousands of calls: this is about 3,000 connections in `churn`, the
        # slowest. What is slower (20 MB, handshakes) is hardly Python's work.
        self.warm_up = min(0.3, seconds)
        self.folder = folder
        self.remembered: dict[str, float] = {}  # what a benchmark measures once a run
        cores = sorted(os.sched_getaffinity(0))
        # A server and its load do not disturb each other where there are two cores.
        self.server_core, self.load_core = cores[0], cores[1 if len(cores) > 1 else 0]
        # Not on the only core: nothing would be left for those who wait for the end.
        self.real_time = len(cores) > 1 and may_run_in_real_time() if real_time is None else real_time

    @cached_property
    def facts(self) -> Facts:
        """Raises Missing where trews cannot be imported."""
        return self._facts()

    @cached_property
    def has_two_builds(self) -> bool:
        """Whether trews is compiled here, and can be run as plain Python, too."""
        return bool(self.facts.native) and not self._facts(pure=True).native

    def _facts(self, pure: bool = False) -> Facts:
        command = [self.python, "-c", _BUILD, *PEERS]
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", env=self.environment(pure), timeout=60
        )
        if done.returncode or not done.stdout.startswith("{"):
            raise Missing(f"{self.python} cannot import trews ({last_line(done.stderr)}); {EXTRA}")
        found = json.loads(done.stdout)
        versions = {name: version for name, version in found["versions"].items() if version}
        return Facts(found["python"], found["openssl"], tuple(found["native"]), versions)

    def package(self, name: str) -> None:
        """Raise Missing if the interpreter under test does not have it."""
        if name not in self.facts.versions:
            raise Missing(f"{name} is not installed; {HINTS.get(name, EXTRA)}")

    def program(self, name: str) -> str:
        """Where a program is."""
        path = shutil.which(name)
        if path is None:
            raise Missing(f"{name} is not installed; {HINTS[name]}")
        return path

    def compiled(self, name: str) -> str:
        """The path of `c/NAME.c`, compiled."""
        binary = self.folder / name
        if not binary.exists():
            done = subprocess.run(
                [self.program("cc"), "-O2", "-Wall", "-o", str(binary), str(HERE / "c" / f"{name}.c")],
                capture_output=True,
                text=True,
                timeout=120,
            )
            if done.returncode:
                raise Missing(f"the C compiler refuses {name}.c: {(done.stderr.strip() or '?').splitlines()[0]}")
        return str(binary)

    def environment(self, pure: bool) -> dict[str, str]:
        """Of a program that runs trews, compiled where it can be or as plain Python."""
        found = dict(os.environ)
        # The byte code is warm after the first start, wherever the packages lie and whatever the user has set.
        found.pop("PYTHONDONTWRITEBYTECODE", None)
        found["PYTHONPYCACHEPREFIX"] = str(self.folder / "bytecode")
        found.pop("TREWS_PURE", None)
        return found | {"TREWS_PURE": "1"} if pure else found

    def start(self, command: Sequence[str], core: int, pure: bool, output: IO[bytes] | int) -> subprocess.Popen[bytes]:
        """Start a program on one core; both of its outputs go to one place."""
        return subprocess.Popen(
            command,
            env=self.environment(pure),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=lambda: self._place(core),
        )

    def _place(self, core: int) -> None:
        """Put this process on a core, and nobody else before it."""
        os.sched_setaffinity(0, {core})
        if self.real_time:
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))

    @contextmanager
    def serving(
        self, command: Command, pure: bool = False, answers: Callable[[int], bool] | None = None
    ) -> Iterator[Running]:
        """Start a server on a core of its own, and wait until `answers(port)`: by default, until it accepts."""
        port = free_port()
        log = self.folder / f"server-{port}.log"  # other servers may be up
        with log.open("wb") as output:
            process = self.start(command(self, port), self.server_core, pure, output)
        try:
            deadline = time.monotonic() + READY_TIMEOUT
            while not (answers or accepts)(port):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise Failed(f"the server does not start: {last_line(log.read_text(errors='replace'))}")
                time.sleep(0.02)
            yield Running(process.pid, port)
            if process.poll() is not None:
                raise Failed(f"the server ended while it was measured: {last_line(log.read_text(errors='replace'))}")
        finally:
            workers = descendants(process.pid)  # that some have, and that would stay
            process.kill()
            process.wait()
            for worker in workers:
                with suppress(ProcessLookupError):
                    os.kill(worker, signal.SIGKILL)


def may_run_in_real_time() -> bool:
    """Whether the system lets programs of this user go before all others, as it lets root's."""
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    except PermissionError:
        return False
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    return True


def last_line(said: str) -> str:
    """What a program that failed said at the end: of a traceback, the error."""
    return (said.strip().splitlines() or ["it said nothing"])[-1]


def free_port() -> int:
    """A port on which nobody listens, for streams or datagrams."""
    for _ in range(1000):
        port = random.choice(PORTS)
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # what is in TIME_WAIT is free
            try:
                tcp.bind(("127.0.0.1", port))
                udp.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise Failed(f"no port from {PORTS.start} to {PORTS.stop - 1} is free")


def accepts(port: int) -> bool:
    """Whether somebody accepts connections there."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def script(name: str, *args: str, package: str | None = None, packages: Sequence[str] = ()) -> Command:
    """The command of `servers/NAME.py ARGS PORT`, which needs a package, or several."""

    def command(lab: Lab, port: int) -> list[str]:
        for needed in [package] if package else packages:
            lab.package(needed)
        return [lab.python, str(HERE / "servers" / f"{name}.py"), *args, str(port)]

    return command


def native(name: str, *args: str) -> Command:
    """The command of `c/NAME.c PORT ARGS`."""
    return lambda lab, port: [lab.compiled(name), str(port), *args]

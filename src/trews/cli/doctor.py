"""`trews doctor`: what runs here, and what may stand in its way."""

from __future__ import annotations

import platform
import shutil
import socket
from importlib import metadata

import click

import trews
from trews import build

FEW_FILES = 4096  # fewer open files than this are worth a hint

# Nothing needs these; what one has from them.
OPTIONAL = {
    "uvloop": "another event loop on which connections run, too",
    "pytest": "runs tests, such as those written with trews.testing",
}


@click.command("doctor")
def command() -> None:
    """Show versions, build, event loop and limits of this machine, and optional parts."""
    loop, poller = loop_and_poller()
    rows = [
        ("trews", trews.__version__),
        ("Python", f"{platform.python_version()} ({platform.python_implementation()})"),
        ("system", platform.platform()),
        ("build", build.describe()),
        ("loop", loop),
        ("poller", poller),
        ("open files", open_files()),
        ("IPv6", "works" if has_ipv6() else "does not work here; servers listen on IPv4 only"),
        ("Unix sockets", "work" if hasattr(socket, "AF_UNIX") else "not on this system"),
        ("telnet", shutil.which("telnet") or "not installed; `trews connect` does as well"),
        *((name, optional(name, use)) for name, use in OPTIONAL.items()),
    ]
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        click.echo(f"{name:<{width}}  {value}")


def loop_and_poller() -> tuple[str, str]:
    """The loop that `trews.serve` and `trews.run` use, and what it waits for events with."""
    loop = trews.new_event_loop()
    try:
        if isinstance(loop, trews.EventLoop):
            return "trews' loop", loop.poller
        return f"asyncio's {type(loop).__name__}", "the loop's own"
    finally:
        loop.close()


def open_files() -> str:
    """How many files and connections this process may have open."""
    try:
        import resource  # not on Windows
    except ImportError:
        return "no limit known on this system"
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    text = f"{_count(soft)} (at most {_count(hard)})"
    if soft == resource.RLIM_INFINITY or soft >= FEW_FILES:
        return text
    return f"{text}; each connection is one: for more, `ulimit -n {_count(hard)}` first"


def _count(limit: int) -> str:
    return "unlimited" if limit < 0 or limit >= 2**62 else str(limit)


def has_ipv6() -> bool:
    """Whether this machine can talk to itself by IPv6."""
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


def optional(name: str, use: str) -> str:
    """The version of a package that is here, or that it is not, and what it is good for."""
    try:
        return f"{metadata.version(name)} ({use})"
    except metadata.PackageNotFoundError:
        return f"not installed ({use})"

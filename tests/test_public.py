"""What `import trews` gives: names, documentation, and how little it loads."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys

import pytest

import trews
from trews import errors, framing, testing

MODULES = {"trews": trews, "trews.framing": framing, "trews.testing": testing}
PUBLIC = [
    (f"{module}.{name}", getattr(value, name, None)) for module, value in MODULES.items() for name in value.__all__
]


@pytest.mark.parametrize("module", MODULES.values(), ids=MODULES)
def test_all_names_exist_and_only_once(module):
    assert [name for name in module.__all__ if not hasattr(module, name)] == []
    assert len(set(module.__all__)) == len(module.__all__)


def test_nothing_else_public_is_at_the_top():
    """Names without an underscore are public or modules."""
    names = {name for name in dir(trews) if not name.startswith("_")}
    others = {name for name in names if not inspect.ismodule(getattr(trews, name))}
    assert others == set(trews.__all__) - {"errors", "framing"}


@pytest.mark.parametrize(
    "name",
    [
        *("Connection", "Server", "serve", "connect", "run", "soon", "after", "every", "Endpoint", "EventLoop"),
        "call_from_thread",
        *(name for name, value in vars(errors).items() if inspect.isclass(value) and issubclass(value, errors.Error)),
    ],
)
def test_the_names_of_the_design_are_there(name):
    assert name in trews.__all__


def test_version():
    assert trews.__version__.count(".") == 2


@pytest.mark.parametrize(("name", "value"), PUBLIC, ids=[name for name, _ in PUBLIC])
def test_public_names_have_docstrings(name, value):
    if value is framing.Framer or inspect.isclass(value) or callable(value) or inspect.ismodule(value):
        doc = inspect.getdoc(value)
        assert doc
        assert doc.strip().splitlines()[0].strip()


def methods():
    for name, cls in [*PUBLIC, *((f"errors.{name}", value) for name, value in vars(errors).items())]:
        if not inspect.isclass(cls):
            continue
        for base in cls.__mro__:
            if not base.__module__.startswith("trews"):
                continue
            for attribute, value in vars(base).items():
                is_code = inspect.isfunction(value) or isinstance(value, property | classmethod | staticmethod)
                # What overrides a method of asyncio's is documented there.
                is_own = not any(attribute in vars(b) for b in cls.__mro__ if b.__module__.startswith("asyncio"))
                if is_code and is_own and not attribute.startswith("_"):
                    yield f"{name}.{attribute}", getattr(cls, attribute)


METHODS = dict(methods())


@pytest.mark.parametrize(("name", "value"), METHODS.items(), ids=METHODS)
def test_public_methods_have_docstrings(name, value):
    assert inspect.getdoc(value)


def test_the_methods_of_a_connection_are_those_of_the_design():
    assert {
        *("write", "send", "drain", "read", "read_all", "wait_closed", "pause_reading", "resume_reading"),
        *("close", "abort", "close_write", "spawn", "bytes_in", "bytes_out", "is_closed", "reason"),
        *("peer_credentials", "on_connect", "on_read", "on_eof", "on_close", "on_full", "on_drain", "on_stop"),
        "on_error",
    } <= {name.rpartition(".")[2] for name in METHODS if name.startswith("trews.Connection.")}


PROGRAM = """
import asyncio, ssl, sys

contexts = []

class Context(ssl.SSLContext):
    def __new__(cls, *args, **kwargs):
        contexts.append(1)
        return super().__new__(cls, *args, **kwargs)

ssl.SSLContext = Context
before = set(sys.modules)
import trews
modules = sorted(set(sys.modules) - before)
import json
print(json.dumps([modules, len(contexts)]))
"""

# Of the standard library, 1 to 5 ms each: they are imported where they are used.
NOT_AT_ONCE = ("dataclasses", "json", "ipaddress", "difflib", "unicodedata", "shlex", "shutil", "random", "dis")

# What is imported when it is used; the rest of trews, that few programs need, is behind these.
HALVES = {
    "serve": {"trews.server", "trews.serving", "trews.registry", "trews.transport.listener"},
    "Server": {"trews.server", "trews.registry", "trews.transport.listener"},
    "Drained": {"trews.registry"},
    "connect": {"trews.client", "trews.keeper", "trews.transport.connector", "trews.transport.resolver"},
    "Client": {"trews.client", "trews.keeper", "trews.transport.connector", "trews.transport.resolver"},
    "Resolver": {"trews.transport.resolver", "trews.transport.lookups"},
    "Datagram": {"trews.datagram", "trews.datagram_lifecycle", "trews.transport.datagram"},
}
SELDOM = ("trews.transport.inherited", "trews.transport.memory", "trews.transport.via", "trews.transport.tls")


@pytest.fixture(scope="module")
def imported():
    """The modules that `import trews` loads beside asyncio's, and how many ssl contexts it makes."""
    result = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    return json.loads(result.stdout)


@pytest.mark.parametrize(
    "name",
    [
        *("click", "rich", "uvloop", "greenlet", "http", "urllib.request", "email", "trews.http", "trews.testing"),
        *("trews.cli", "trews.console", "trews.green", "pytest", "hypothesis", "unittest", "argparse"),
        *NOT_AT_ONCE,
        *SELDOM,
        *sorted(set().union(*HALVES.values())),
    ],
)
def test_importing_it_loads_no(imported, name):
    modules, _ = imported
    assert [module for module in modules if module == name or module.startswith(f"{name}.")] == []


@pytest.mark.parametrize("name", HALVES)
def test_what_a_name_needs_comes_with_it_and_no_other_half(name):
    program = f"import asyncio, json, sys; from trews import {name}; print(json.dumps([*sys.modules]))"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    modules = set(json.loads(result.stdout))
    assert HALVES[name] <= modules
    others = {"trews.server", "trews.client", "trews.datagram", *SELDOM} - HALVES[name]
    assert modules.isdisjoint(others - ({"trews.server"} if name == "serve" else set()))


def test_every_name_is_what_its_module_has():
    """However it is reached, and it is found once."""
    program = """
import sys, trews
assert "Server" not in vars(trews)
assert set(trews.__all__) <= set(dir(trews))
namespace = {}
exec("from trews import *", namespace)
for name in trews.__all__:
    value = getattr(trews, name)
    assert namespace[name] is value is vars(trews)[name]
    module = sys.modules[getattr(value, "__module__", None) or value.__name__]
    assert module is value or getattr(module, name) is value, name
try:
    trews.serv
except AttributeError as exc:
    assert str(exc) == "module 'trews' has no attribute 'serv'", exc
else:
    raise AssertionError
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_importing_it_makes_no_ssl_context(imported):
    assert imported[1] == 0


def test_importing_it_warns_of_nothing():
    subprocess.run([sys.executable, "-W", "error", "-c", "import trews"], check=True, timeout=60)


def test_it_is_typed():
    from importlib.resources import files

    assert (files("trews") / "py.typed").is_file()


WITHOUT_POSIX = """
import asyncio, importlib, os, pkgutil, select, signal, socket, sys
for name in "fcntl grp pwd pty resource termios tty".split():
    sys.modules[name] = None
for module, names in {
    os: "fork getuid geteuid killpg register_at_fork get_blocking set_blocking sendfile pread writev mkfifo O_NONBLOCK",
    select: "epoll kqueue poll EPOLLIN POLLIN POLLOUT PIPE_BUF",
    signal: "SIGCHLD SIGHUP SIGKILL SIGPIPE SIGQUIT SIGUSR1",
    socket: "AF_UNIX SO_BINDTODEVICE SO_PEERCRED SO_REUSEPORT TCP_KEEPIDLE TCP_USER_TIMEOUT recv_fds send_fds",
}.items():
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)
import trews
for module in pkgutil.walk_packages(trews.__path__, "trews."):
    if module.name != "trews.__main__":
        importlib.import_module(module.name)
"""


def test_no_module_needs_anything_of_posix_to_be_imported():
    """As on Windows, which is not there to be tried on."""
    done = subprocess.run([sys.executable, "-W", "error", "-c", WITHOUT_POSIX], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")

"""The programs of `make check` and CI, on small trees made for them, and the layers of this one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tools import (
    check_layers,
    check_links,
    check_mirror,
    check_names,
    loop_suite,
    readme_commands,
    sizes,
)

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def tree(tmp_path):
    """Write files: `tree({"src/trews/errors.py": "import os"})`, and get their root."""

    def write(files):
        for name, text in files.items():
            file = tmp_path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        return tmp_path

    return write


# --- check_layers


def test_the_imports_of_this_repository_go_one_way():
    assert check_layers.check(ROOT) == []


LAYERS = {
    "__init__": "",
    "errors": "import os",
    "framing": "from trews.errors import Error",
    "inbox": "",
    "transport/__init__": "",
    "transport/memory": "",
    "transport/socket": "",
    "loop": "",
    "connection": "",
    "server": "",
    "client": "",
    "protocols/__init__": "",
    "protocols/relay": "",
    "protocols/socks": "",
    "cli/__init__": "",
    "cli/demo": "",
    "testing/__init__": "",
}


@pytest.mark.parametrize(
    ("module", "source", "complaint"),
    [
        ("framing", "from trews import errors", None),
        ("framing", "from . import errors", None),
        ("framing", "from .errors import Error", None),
        ("framing", "import trews.connection", "framing stands below connection"),
        ("framing", "from . import connection", "framing stands below connection"),
        ("framing", "def f():\n    from trews import server", "framing stands below server"),
        ("framing", "from trews import Connection", "framing stands below __init__"),
        ("framing", "import asyncio", "bytes only and imports asyncio"),
        ("inbox", "from time import monotonic", "bytes only and imports time"),
        ("framing", "if TYPE_CHECKING:\n    import asyncio\n    from trews.server import Server", None),
        ("framing", "if TYPE_CHECKING:\n    pass\nelse:\n    import trews.server", "below server"),
        ("errors", "import importlib\nimportlib.import_module('trews.loop')", "below loop"),
        ("transport/socket", "from trews.transport import memory", None),
        ("transport/socket", "from .memory import pair", None),
        ("transport/socket", "from ..connection import Connection", "below connection"),
        ("server", "from trews import client", "server stands beside client"),
        ("server", "from trews.testing import wire", "nothing but tests imports trews.testing"),
        ("server", "if TYPE_CHECKING:\n    import trews.testing", "nothing but tests"),
        ("cli/demo", "import trews.testing", "nothing but tests"),
        ("cli/demo", "from trews.protocols import socks", None),
        ("protocols/socks", "import trews\nfrom trews.protocols.relay import relay", None),
        ("protocols/socks", "from trews.errors import sentence", None),
        ("protocols/socks", "from trews.loop import EventLoop", "a protocol uses trews, trews.errors"),
        ("protocols/socks", "import trews\ntrews.Server._private()", "uses _private"),
        ("protocols/socks", "from trews.cli import demo", "protocols.* stands below cli.*"),
        ("server", "from trews.protocols import relay", "server stands below protocols.*"),
        ("cli/demo", "from trews import Server", None),
        ("__init__", "from trews.server import Server", None),
        ("__init__", "from trews import cli", "__init__ stands below cli"),
        ("testing/__init__", "from trews.cli import demo", None),
        ("gadgets", "", "give it one"),
        ("server", "import trews.gadgets", "trews.gadgets has no place"),
    ],
)
def test_layers(tree, module, source, complaint):
    files = {**LAYERS, module: source, **({"gadgets": ""} if "gadgets" in source else {})}
    root = tree({f"src/trews/{name}.py": text for name, text in files.items()})
    problems = [line for line in check_layers.check(root) if complaint is None or complaint in line]
    assert bool(problems) == (complaint is not None), problems


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("import trews\nfrom trews.framing import Line\nself._mine = trews.serve", None),
        ("from trews.connection import Connection", "imports trews.connection"),
        ("from trews import _private", "trews._private"),
        ("import trews\ntrews.Server._private()", "uses _private"),
        ("print(__file__, x.__name__)", None),
    ],
)
def test_examples_use_public_names_only(tree, source, complaint):
    problems = check_layers.check(tree({"examples/echo.py": source}))
    assert bool(problems) == (complaint is not None)
    assert complaint is None or complaint in problems[0]


# --- the other checks


def test_mirror(tree):
    names = ["__init__", "loop", "_private", "transport/__init__", "transport/socket", "cli/demo"]
    root = tree({f"src/trews/{name}.py": "" for name in names})
    missing = [line.rpartition("tests/")[2] for line in check_mirror.check(root)]
    assert missing == [
        "test_public.py",
        "test_private.py",
        "cli/test_demo.py",
        "test_loop.py",
        "transport/test_socket.py",
    ]
    assert check_mirror.check(tree({f"tests/{name}": "" for name in missing})) == []


def test_names_documented_by_headings():
    page = """
# `Title`
## `Server(handler, **settings)`
### `soon`, `after`, `every`: timers
### `framing.Line(encoding=None)`
#### `write(data)`
## `trews serve`
## Settings of `Server`
```
## `commented`
```
"""
    assert list(check_names.documented(page)) == ["Server", "soon", "after", "every", "Line"]


def test_names_that_differ():
    problems = check_names.compare({"Server": "trews", "Line": "trews.framing"}, {"a.md": "## `Line`\n## `Lime`"})
    assert [line.split(",")[0] for line in problems] == [
        "trews.Server is public",
        "a.md: `Lime` is documented",
    ]


def test_links(tree):
    root = tree(
        {
            "README.md": "[a](docs/a.md) [b](docs/b.md) [c](docs/a.md#one-two) [d](docs/a.md#three) `[e](f)` [g](https://h)",
            "docs/a.md": "# One, two\n\n[up](../README.md) [here](#one-two)\n```\n[x](y)\n# Three\n```\n",
        }
    )
    assert [line.rpartition("README.md: ")[2] for line in check_links.check(root)] == [
        "the link docs/b.md leads nowhere",
        "the link docs/a.md#three names a heading that is not there",
    ]


@pytest.mark.parametrize(("lines", "status"), [(600, 0), (601, 1)])
def test_sizes(tree, monkeypatch, capsys, lines, status):
    root = tree({"src/trews/long.py": "pass\n" * lines, "src/trews/short.py": "pass\n"})
    monkeypatch.setattr(sys, "argv", ["sizes.py", str(root)])
    assert sizes.main() == status
    assert f"long.py: {lines} lines, more than" in capsys.readouterr().out


# --- CI


@pytest.mark.parametrize("which", ["demo", "test"])
def test_the_readme_has_its_commands(which):
    line = readme_commands.command((ROOT / "README.md").read_text("utf-8"), which)
    assert line.startswith("python3 -m venv .venv && .venv/bin/pip install -e ")


def test_a_readme_without_commands():
    with pytest.raises(ValueError, match="has 0 commands that end in 'trews demo'"):
        readme_commands.command("```\npython3 -m venv x\n```\n", "demo")


def test_loop_suite_compares_with_the_stock_loop():
    stock = loop_suite.parse("fail test.a Error: x\nasyncio:Loop 3.13.0 cases 3 {'ok': 2, 'fail': 1}\n")
    ours = loop_suite.parse("fail test.a \nhang test.b \ntrews:f 3.13.0rc1 cases 3 {'ok': 1, 'fail': 1, 'hang': 1}\n")
    fewer = loop_suite.parse("trews:f 3.13.0 cases 2 {'ok': 1, 'skip': 1}\n")
    assert loop_suite.worse(stock, stock) == []
    assert loop_suite.worse(ours, stock) == ["test.b: hang"]
    assert loop_suite.worse(fewer, stock) == [
        "2 cases ran, 3 on the stock loop",
        "1 cases skipped, 0 on the stock loop",
    ]
    assert loop_suite.parse("Traceback") is None


def test_loop_suite_takes_the_name_of_a_poller_for_a_factory():
    assert loop_suite.factory("trews:new_event_loop") == "trews:new_event_loop"
    assert loop_suite.factory("poll") == "tools.loop_suite:poll"
    loop = loop_suite.poll()
    assert loop.poller == "poll"
    loop.close()
    with pytest.raises(AttributeError):
        loop_suite.iocp()


@pytest.mark.parametrize(("on_ci", "outcome"), [("", "skipped"), ("true", "errors")])
def test_what_is_absent_is_skipped_but_fails_on_ci(tmp_path, on_ci, outcome):
    (tmp_path / "conftest.py").write_bytes((ROOT / "tests/conftest.py").read_bytes())
    (tmp_path / "test_it.py").write_text("def test_it(needs_shared): pass")
    env = {**os.environ, "CI": on_ci, "TREWS_SHARED": str(tmp_path / "absent")}
    command = [sys.executable, "-m", "pytest", "-ra", "-p", "no:cacheprovider", "-c", os.devnull, "."]
    run = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert "no shared folder at" in run.stdout
    assert f"1 {outcome.removesuffix('s') if outcome == 'errors' else outcome} in" in run.stdout

"""The documentation tells the truth: its code runs, its tables are the real ones, the tests it names exist.

A fenced ```python block of any page under docs/ is one of three:

    ```python                   run, on the virtual clock and in memory
    ```python examples/x.py     stands like this in that file
    ```python sketch            not run (a signature, a fragment); it must compile

The blocks of a page run from top to bottom with one set of names, and may `await`. Tests in them are called.
What a block prints must be in the ```text block right after it. `serve`, `listen` and `connect` are led to
`memory:` endpoints, and `serve` returns: the server runs until the page's next `serve`, or its end.
"""

from __future__ import annotations

import ast
import asyncio
import builtins
import contextlib
import functools
import importlib
import inspect
import io
import itertools
import re
import subprocess
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import trews
from tools.check_layers import PLACES
from trews import errors, framing, http
from trews.endpoint import Endpoint
from trews.settings import DATAGRAM_DEFAULTS, DEFAULTS
from trews.testing import VirtualLoop
from trews.testing.conformance import CHECKS

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
FENCE = re.compile(r"^```(?P<language>\w*) *(?P<mark>\S*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)


def name_of(page: Path) -> str:
    return page.relative_to(DOCS).as_posix()


# -- code


@dataclass
class Block:
    """A fenced block of Python; `output` is the ```text block right after it, if there is one."""

    line: int
    mark: str
    code: str
    output: str


def blocks(text: str) -> Iterator[Block]:
    fences = list(FENCE.finditer(text))
    outputs = {fence.start() - 1: fence["code"] for fence in fences if fence["language"] == "text"}
    for fence in fences:
        if fence["language"] != "python":
            continue
        output = outputs.get(fence.end(), "")
        yield Block(text.count("\n", 0, fence.start()) + 1, fence["mark"], fence["code"], output)


class PageRun:
    """What the blocks of one page run in."""

    def __init__(self, page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.page = page
        self.names: dict[str, Any] = {"__name__": "docs", "trews": trews}
        self.runner = asyncio.Runner(loop_factory=VirtualLoop)
        self.servers: list[trews.Server] = []
        connect, listen, client = trews.connect, trews.Server.listen, trews.Client.__init__
        monkeypatch.setattr(trews, "serve", self.serve)
        monkeypatch.setattr(http, "serve", self.serve_http)
        monkeypatch.setattr(trews, "run", self.runner.run)
        monkeypatch.setattr(trews, "connect", lambda endpoint, *args, **kw: connect(in_memory(endpoint), *args, **kw))
        monkeypatch.setattr(
            trews.Client, "__init__", lambda me, place, *a, **kw: client(me, in_memory(place), *a, **kw)
        )
        monkeypatch.setattr(trews.Server, "listen", lambda server, *all: listen(server, *map(in_memory, all)))

    def serve(self, handler: Any, *endpoints: Any, grace: float = 10, **settings: Any) -> None:
        self.stop()
        server = handler if isinstance(handler, trews.Server) else trews.Server(handler, **settings)
        self.runner.run(server.listen(*endpoints).start())
        self.servers.append(server)

    def serve_http(self, app: Any, *endpoints: Any, grace: float = 10, **settings: Any) -> None:
        self.serve(app if isinstance(app, http.Server) else http.Server(app, **settings), *endpoints)

    def stop(self) -> None:
        while self.servers:
            self.runner.run(wait(self.servers.pop().stop()))

    def run(self, block: Block) -> None:
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        code = compile("\n" * block.line + block.code, str(self.page), "exec", flags, dont_inherit=True)
        if block.mark == "sketch":
            return
        if block.mark:
            self.quote(block)
            return
        before = dict(self.names)
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            result = eval(code, self.names)
            if inspect.iscoroutine(result):
                self.runner.run(result)
            for name, value in list(self.names.items()):
                if name.startswith("test_") and before.get(name) is not value:
                    value()
        assert printed.getvalue() == block.output, f"{self.page}:{block.line} printed something else"

    def quote(self, block: Block) -> None:
        path = ROOT / block.mark
        assert path.is_relative_to(ROOT / "examples"), f"{self.page}:{block.line}: unknown mark {block.mark!r}"
        source = path.read_text("utf-8")
        assert block.code in source, f"{self.page}:{block.line} is not what {block.mark} says"
        module = types.ModuleType(path.stem)
        exec(compile(source, str(path), "exec", dont_inherit=True), vars(module))
        self.names.update((name, value) for name, value in vars(module).items() if not name.startswith("__"))

    def close(self) -> None:
        self.stop()
        self.names.clear()
        self.runner.close()


async def wait(awaitable: Any) -> None:
    await awaitable


def in_memory(endpoint: Any) -> str:
    """The memory endpoint that stands for another one: by its port or its path."""
    parsed = Endpoint.parse(endpoint)
    name = parsed.path if parsed.kind in ("unix", "memory") else parsed.port
    return "memory:" + re.sub(r"[^\w-]", "-", str(name))


SHOWS_LEAKS = pytest.mark.leaks_ok("the page shows what the check says")


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=name_of(page), marks=[SHOWS_LEAKS] if "no_leaks()" in page.read_text("utf-8") else [])
        for page in PAGES
    ],
)
def test_code_runs(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = PageRun(page, monkeypatch)
    # Where dataclasses and their like look for the names of annotations.
    monkeypatch.setitem(sys.modules, "docs", types.ModuleType("docs"))
    try:
        for block in blocks(page.read_text("utf-8")):
            run.run(block)
    finally:
        run.close()


# -- reference


def reference(page: str) -> str:
    return (DOCS / "reference" / page).read_text("utf-8")


def section(text: str, heading: str) -> str:
    """What stands under a heading of the third level, up to the next of the same or a higher one."""
    found = re.search(rf"^### {heading}\n(.*?)(?=^##?#? |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"no heading {heading!r}"
    return found[1]


def rows(text: str) -> dict[str, list[str]]:
    """The rows of tables whose first cell is one name in backticks."""
    found = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:3] == "| `"]
    return {cells[0].strip("`"): cells[1:] for cells in found}


def members(text: str) -> set[str]:
    """The methods and callbacks that headings of the fourth level document."""
    headings = re.findall(r"^#### `(?:await )?(\w+)", text, re.MULTILINE)
    return {"__aiter__" if name == "async" else name for name in headings}


def in_words(value: Any) -> str:
    """A default as the tables write it: `64 KiB`, `60 s`, or code."""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value >> 20} MiB" if value % (1 << 20) == 0 else f"{value >> 10} KiB"
    return f"{value:g} s" if isinstance(value, float) else f"`{value}`"


def test_the_settings_of_connections_are_documented_with_their_defaults() -> None:
    table = rows(section(reference("connection.md"), "Settings"))
    assert {name: cells[0] for name, cells in table.items()} == {n: in_words(v) for n, v in DEFAULTS.items()}


def test_the_settings_of_datagrams_are_documented_with_their_defaults() -> None:
    table = rows(section(reference("datagram.md"), "Settings of a datagram"))
    assert {name: cells[0] for name, cells in table.items()} == {n: in_words(v) for n, v in DATAGRAM_DEFAULTS.items()}


def test_the_settings_of_servers_are_documented_with_their_defaults() -> None:
    table = rows(section(reference("server.md"), "Settings of a server"))
    assert {name: cells[0] for name, cells in table.items()} == {
        name: f"`{getattr(trews.Server, name)}`"
        for name in ("max_connections", "max_connections_per_host", "max_handshakes")
    }


def test_the_setting_of_clients_is_documented_with_its_default() -> None:
    table = rows(section(reference("client.md"), "A client's setting"))
    assert {name: cells[0] for name, cells in table.items()} == {"queue": f"`{trews.Client.queue}`"}


@pytest.mark.parametrize(
    ("page", "cls", "attributes"),
    [
        ("connection.md", trews.Connection, "Attributes"),
        ("server.md", trews.Server, "Attributes of a server"),
        ("client.md", trews.Client, "Attributes of a client"),
        ("datagram.md", trews.Datagram, "Attributes of a datagram"),
    ],
)
def test_every_method_and_attribute_is_documented(page: str, cls: type, attributes: str) -> None:
    text = reference(page)
    tables = rows(section(text, attributes))
    limits = {"max_connections", "max_connections_per_host", "max_handshakes", "queue"}
    settings = {*DEFAULTS, *DATAGRAM_DEFAULTS, *limits}
    own = members_of(cls)
    public = {name for name in own if not name.startswith("_")} - settings
    methods = {name for name in public if not isinstance(own[name], property)}
    methods |= {"__aiter__"} & set(own)
    assert members(text) == methods
    # What is no property is an attribute of instances, which the class does not show.
    arguments = {
        trews.Connection: (),
        trews.Datagram: (),
        trews.Server: (trews.Connection,),
        trews.Client: ("localhost:4040",),
    }
    instance = cls(*arguments[cls])
    assert public - methods <= set(tables)
    assert [name for name in tables if not hasattr(instance, name)] == []


def members_of(cls: type) -> dict[str, Any]:
    """What a class has, and its bases of ours: all that users see, but what asyncio calls."""
    found: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        if base.__module__.startswith("trews."):
            found |= vars(base)
    return {
        name: value
        for name, value in found.items()
        if not hasattr(asyncio.DatagramProtocol, name) and not hasattr(asyncio.Protocol, name)
    }


def parameters(function: Any) -> list[tuple[Any, ...]]:
    return [(p.name, p.kind, p.default) for p in inspect.signature(function).parameters.values()]


def test_headings_have_the_real_signatures() -> None:
    pages = {"server.md": trews, "client.md": trews, "time-and-loop.md": trews, "framing.md": framing}
    for page, module in pages.items():
        for name, arguments in re.findall(r"^## `(\w+)\((.*)\)`", reference(page), re.MULTILINE):
            scope: dict[str, Any] = {"Connection": trews.Connection}
            exec(f"def documented({arguments}): ...", scope)
            real = getattr(module, name)
            if real in (trews.Server, trews.Client):  # whose __new__ takes anything
                real = functools.partial(real.__init__, None)
            assert parameters(scope["documented"]) == parameters(real), f"{page}: {name}"


def test_the_tree_of_errors_is_the_real_one() -> None:
    tree = reference("errors.md").split("```text\n")[1].split("```")[0]
    parents: dict[int, str] = {}
    for line in tree.splitlines():
        found = re.match(r"([│├└─ ]*)(\w+)(?: \((\w+)\))?( +clean)?$", line)
        assert found, line
        indent, name, other, clean = found.groups()
        parents[len(indent)] = name
        cls = getattr(errors, name)
        if indent:
            assert issubclass(cls, getattr(errors, parents[len(indent) - 4]))
        if other:
            assert issubclass(cls, getattr(errors, other, None) or getattr(builtins, other))
        assert getattr(cls, "is_clean", False) is (clean is not None)
    assert {name for name in re.findall(r"\w+", tree) if hasattr(errors, name)} == {
        name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, errors.Error)
    }


def test_the_picture_of_the_life_of_a_connection_is_the_one_in_the_source() -> None:
    def picture(text: str) -> list[str]:
        lines = text.splitlines()
        (first,) = (i for i, line in enumerate(lines) if line.lstrip().startswith("NEW ──> OPEN"))
        return inspect.cleandoc("\n" + "\n".join(lines[first : first + 2])).splitlines()

    sources = [path.read_text("utf-8") for path in (ROOT / "src/trews").glob("*.py")]
    (source,) = (text for text in sources if "NEW ──> OPEN" in text)
    assert picture((DOCS / "explanation/architecture.md").read_text("utf-8")) == picture(source)


def test_the_layers_are_those_that_are_checked() -> None:
    text = (DOCS / "explanation/architecture.md").read_text("utf-8")
    pictures = [part.split("```")[0] for part in text.split("```text\n")[1:3]]
    ranks = {name.removesuffix(".*"): rank for name, rank in PLACES.items() if not name.startswith("__")}
    of_http = {name.removeprefix("http."): rank for name, rank in ranks.items() if name.startswith("http.")}
    others = {name: rank for name, rank in ranks.items() if not name.startswith("http.")}
    for picture, places in zip(pictures, (others, of_http), strict=True):
        drawn = [re.split(r"  +", line)[0].split() for line in picture.splitlines()]
        assert sorted(itertools.chain(*drawn)) == sorted(places)
        for upper, lower in itertools.pairwise(drawn):
            assert min(places[name] for name in upper) > max(places[name] for name in lower), f"{upper} over {lower}"


def test_the_platforms_are_stated() -> None:
    text = section((DOCS / "explanation/loop.md").read_text("utf-8").replace("\n## ", "\n### "), "Platforms")
    assert "Linux is tested." in text
    for name in ("BSD", "macOS", "Windows"):
        assert name in text.split("Linux is tested.")[1]
    assert "written but not run here" in text


# -- features

ROW = re.compile(r"^\| (\d+) \|(.*)\|(.*)\|(.*)\|$", re.MULTILINE)


def functions(path: Path) -> set[str]:
    """The functions of a file, those in classes as `Class::name`."""
    tree = ast.parse(path.read_text("utf-8"))
    found = set()
    for node in tree.body:
        inside = node.body if isinstance(node, ast.ClassDef) else [node]
        prefix = f"{node.name}::" if isinstance(node, ast.ClassDef) else ""
        found |= {prefix + f.name for f in inside if isinstance(f, ast.FunctionDef | ast.AsyncFunctionDef)}
    return found


FEATURES = {int(number): (api, shown) for number, _, api, shown in ROW.findall(reference("features.md"))}


@pytest.mark.parametrize("number", FEATURES)
def test_a_feature_names_tests_that_exist(number: int) -> None:
    shown = FEATURES[number][1]
    if shown.strip() == "not shown yet":
        return
    names = re.findall(r"`([^`]+)`", shown)
    assert names, "no test is named"
    for name in names:
        if name.startswith("conformance: "):
            assert name.removeprefix("conformance: ") in CHECKS, f"there is no {name}"
        else:
            file, _, test = name.partition("::")
            assert (ROOT / file).is_file(), f"there is no {file}"
            assert test in functions(ROOT / file), f"there is no {name}"


@pytest.mark.parametrize("number", FEATURES)
def test_a_feature_names_an_api_that_exists(number: int) -> None:
    for dotted in re.findall(r"`trews\.([\w.]+)", FEATURES[number][0]):
        found: Any = trews
        for name in dotted.split("."):
            if not hasattr(found, name):
                importlib.import_module(f"{found.__name__}.{name}")
            found = getattr(found, name)


def test_it_is_pure_python_and_needs_only_the_standard_library() -> None:
    code = "import sys, trews, trews.testing; print(*{name.partition('.')[0] for name in sys.modules})"
    bare = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(ROOT / 'src')!r}); {code}"]
    imported = subprocess.run(bare, capture_output=True, text=True, check=True).stdout.split()
    assert set(imported) - sys.stdlib_module_names - {"__main__", "trews"} == set()
    assert {path.suffix for path in (ROOT / "src/trews").rglob("*.*")} <= {".py", ".pyc", ".typed"}


def test_no_feature_is_there_twice() -> None:
    numbers = [int(row[0]) for row in ROW.findall(reference("features.md"))]
    assert numbers == sorted(set(numbers))

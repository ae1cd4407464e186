"""Imports go one way: fail on an import that points up, or out of what a module may use.

Run as `python tools/check_layers.py [ROOT]`. It reads the files by `ast` and imports nothing. Imports
inside functions count. Those under `if TYPE_CHECKING:` may point anywhere but to `trews.testing`:
they are gone at run time. When a module is added, give it its place in LAYERS.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

# From the ground up; a module may import what stands on a lower line. A name with a star is a
# package: its modules may import one another. Two on one line may not.
LAYERS = """
    errors addresses phase names value live build
    endpoint decoders
    framing
    inbox
    reader
    proxy_header
    http.errors
    http.head
    http.http1
    backends
    dispatcher
    poller
    timers backoff notify
    threads
    transport.*
    loop
    virtual
    settings debugging deadlines calls handover
    output upgrade
    intake
    lifecycle
    input
    connection datagram_lifecycle
    datagram
    datagram_open
    handler keeper handshakes registry
    server client
    serving
    http.access_log http.multi http.cookies http.body http.deadlines http.forwarded
    http.content http.slow_request
    http.response http.request http.resource
    http.debug_page
    http.environ
    http.pipeline
    http.wsgi_call http.wsgi_streams
    http.answering http.asgi_exchange
    http.connection
    http.server
    http.reply http.request_bytes http.asgi_lifespan http.wsgi_answer
    http.wsgi_threads
    http.wsgi_handler http.asgi_handler http.test_client
    http
    __init__
    protocols.*
    cli.*
    __main__
    testing.*
"""

# These cut bytes and hold them; they work the same without a network, a clock or a log.
BYTES_ONLY = {"framing", "inbox", "proxy_header", "http.errors", "http.head", "http.http1"}
NOT_FOR_BYTES = {"asyncio", "socket", "ssl", "time", "logging"}

# What `examples/` and `protocols/` may name: they are written as users write.
PUBLIC = {"trews", "trews.framing", "trews.errors", "trews.http", "trews.testing"}

PLACES = {name: rank for rank, line in enumerate(LAYERS.split("\n")) for name in line.split()}


class Import(NamedTuple):
    line: int
    target: str  # dotted: "asyncio", "trews.framing"
    names: tuple[str, ...]  # of `from target import names`
    typing_only: bool


def place_of(module: str) -> str | None:
    """The entry of LAYERS for a module named without `trews.` ("" is the package itself)."""
    for place in PLACES:
        if fnmatchcase(module or "__init__", place) or place == f"{module}.*":
            return place
    return None


def module_name(file: Path, package: Path) -> str:
    parts = file.relative_to(package).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def imports_of(tree: ast.AST, package_path: str = "") -> Iterator[Import]:
    """Every import in a file, relative ones resolved against the dotted name of its package."""
    stack: list[tuple[ast.AST, bool]] = [(tree, False)]
    while stack:
        node, typing_only = stack.pop()
        match node:
            case ast.Import():
                for alias in node.names:
                    yield Import(node.lineno, alias.name, (), typing_only)
            case ast.ImportFrom():
                target = absolute(node, package_path)
                yield Import(node.lineno, target, tuple(a.name for a in node.names), typing_only)
            case ast.Call(
                func=ast.Name(id="import_module" | "__import__") | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(target)), *_],
            ):
                yield Import(node.lineno, target, (), typing_only)
            case ast.If(test=ast.Name(id="TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING")):
                stack += [(child, True) for child in node.body]
                stack += [(child, typing_only) for child in node.orelse]
                continue
        stack += [(child, typing_only) for child in ast.iter_child_nodes(node)]


def absolute(node: ast.ImportFrom, package_path: str) -> str:
    if not node.level:
        return node.module or ""
    above = package_path.split(".")
    above = above[: len(above) - node.level + 1]
    return ".".join([*above, *([node.module] if node.module else [])])


def targets(found: Import, modules: set[str]) -> Iterator[str]:
    """The modules of trews that one import reaches, named without `trews.`."""
    if found.target != "trews" and not found.target.startswith("trews."):
        return
    base = found.target.removeprefix("trews").removeprefix(".")
    reached = [f"{base}.{name}".removeprefix(".") for name in found.names]
    yield from (name for name in reached if name in modules)
    if not found.names or any(name not in modules for name in reached):
        yield base


def refusal(module: str, target: str, typing_only: bool) -> str | None:
    """Why `module` may not import `target` (both without `trews.`), or None if it may."""
    here, there = place_of(module), place_of(target)
    if here == "testing.*" or here is None:
        return None
    if there is None:
        return f"trews.{target} has no place in LAYERS"
    if there == "testing.*":
        return "nothing but tests imports trews.testing"
    if module == target or (here == there and here.endswith(".*")):
        return None
    if typing_only or PLACES[there] < PLACES[here]:
        return None
    return f"{here} stands {'beside' if PLACES[here] == PLACES[there] else 'below'} {there}"


def check_package(package: Path) -> Iterator[str]:
    files = sorted(package.rglob("*.py"))
    modules = {module_name(file, package) for file in files}
    for file in files:
        module = module_name(file, package)
        place = place_of(module)
        if place is None:
            yield f"{file}: trews.{module} has no place in LAYERS of tools/check_layers.py; give it one"
            continue
        dotted = f"trews.{module}".removesuffix(".")
        package_path = dotted if file.name == "__init__.py" else dotted.rpartition(".")[0]
        for found in imports_of(ast.parse(file.read_bytes(), str(file)), package_path):
            if module in BYTES_ONLY and not found.typing_only:
                top = found.target.partition(".")[0]
                if top in NOT_FOR_BYTES:
                    yield f"{file}:{found.line}: {module} is bytes only and imports {top}"
            for target in targets(found, modules):
                why = refusal(module, target, found.typing_only)
                if why:
                    name = f"trews.{target}".removesuffix(".")
                    yield f"{file}:{found.line}: {dotted} imports {name}, but {why}"


def check_public(file: Path, what: str, more: str = "") -> Iterator[str]:
    """Look for what is not public in a file that is written as users write; it may import from the package `more`."""
    tree = ast.parse(file.read_bytes(), str(file))
    for found in imports_of(tree):
        if found.target.partition(".")[0] != "trews":
            continue
        if found.target not in PUBLIC and not (more and f"{found.target}.".startswith(f"{more}.")):
            yield f"{file}:{found.line}: imports {found.target}; {what} uses {', '.join(sorted(PUBLIC))}"
        for name in found.names:
            if name.startswith("_"):
                yield f"{file}:{found.line}: imports {found.target}.{name}, which is private"
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id="self" | "cls")):
                pass  # it may have private names of its own
            case ast.Attribute(attr=name) if name.startswith("_") and not name.endswith("__"):
                yield f"{file}:{node.lineno}: uses {name}, which is private"


def check(root: Path) -> list[str]:
    problems = list(check_package(root / "src" / "trews"))
    for file in sorted((root / "examples").rglob("*.py")):
        problems += check_public(file, "an example")
    for file in sorted((root / "src" / "trews" / "protocols").rglob("*.py")):
        problems += check_public(file, "a protocol", "trews.protocols")
    return problems


def main() -> int:
    problems = check(Path(sys.argv[1]) if len(sys.argv) > 1 else Path())
    print(*problems, sep="\n", end="\n" if problems else "")
    print(f"layers: {len(problems)} wrong imports" if problems else "layers: imports go one way")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())

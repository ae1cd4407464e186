"""What `MODULE:NAME` and `FILE.py:NAME` stand for."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import sys
from contextlib import contextmanager
from difflib import get_close_matches
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

import trews
from trews.cli.problem import Problem, in_one_line
from trews.connection import Connection
from trews.datagram import Datagram
from trews.server import Server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

EXPECTED = "a Connection or Datagram subclass, an async function of a connection, or a Server"


def load(text: str) -> Any:
    """Import what is to be served.

    Args:
        text: `module:Name` or `path/file.py:Name`; the name may be dotted.

    Raises:
        Problem: there is no such thing, it cannot be imported, or it cannot serve.
    """
    found = find(text)
    _check(text, found)
    return found


def find(text: str, example: str = "echo.py:Echo") -> Any:
    """Import what a name stands for, whatever it is.

    Args:
        text: as for `load`.
        example: of such a name, for messages.

    Raises:
        Problem: there is no such thing, or it cannot be imported.
    """
    where, colon, name = text.rpartition(":")
    if not colon or not where or not name:
        raise Problem(f"expected MODULE:NAME or FILE.py:NAME, such as {example}, not {text!r}")
    is_file = where.endswith(".py") or os.sep in where
    found: Any = _import_file(where) if is_file else _import_module(where)
    owner = where
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            near = get_close_matches(part, [known for known in dir(found) if not known.startswith("_")], 1)
            raise Problem(f"{owner} has no {part!r}" + (f"; did you mean {near[0]!r}?" if near else "")) from None
        owner = f"{owner}:{part}"
    return found


def _import_file(path: str) -> ModuleType:
    if not os.path.isfile(path):
        raise Problem(f"there is no file {path!r}")
    # As `python FILE` does it: what lies beside the file can be imported.
    _look_in(os.path.dirname(os.path.abspath(path)))
    stem = os.path.splitext(os.path.basename(path))[0]
    name = f"{stem}.py" if stem in sys.modules else stem  # a file may be called json.py
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise Problem(f"{path!r} is not a Python file; its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    try:
        with _no_serving():
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as exc:
        raise Problem(f"cannot import {path!r}: {in_one_line(exc)}") from exc
    return module


def _import_module(name: str) -> ModuleType:
    _look_in(os.getcwd())
    try:
        with _no_serving():
            return importlib.import_module(name)
    except ModuleNotFoundError as exc:
        if exc.name is not None and f"{name}.".startswith(f"{exc.name}."):
            raise Problem(
                f"there is no module {exc.name!r} here or in Python's path (a file is given as FILE.py:NAME)"
            ) from None
        raise Problem(f"cannot import {name!r}: {in_one_line(exc)}") from exc
    except (Exception, SystemExit) as exc:
        raise Problem(f"cannot import {name!r}: {in_one_line(exc)}") from exc


@contextmanager
def _no_serving() -> Iterator[None]:
    """A module that is imported must not serve by itself: it would for as long as it likes, and without a word."""

    def serve(*args: Any, **kwargs: Any) -> NoReturn:
        raise RuntimeError('it serves when it is imported; put serve(...) under `if __name__ == "__main__":`')

    packages: list[Any] = [package for package in (trews, sys.modules.get("trews.http")) if package is not None]
    originals = [package.serve for package in packages]
    for package in packages:
        package.serve = serve
    try:
        yield
    finally:
        for package, original in zip(packages, originals, strict=True):
            package.serve = original


def _look_in(directory: str) -> None:
    if directory not in sys.path:
        sys.path.insert(0, directory)


def _check(text: str, thing: Any) -> None:
    """Refuse what cannot serve, before anything is bound."""
    if isinstance(thing, Server) or (isinstance(thing, type) and issubclass(thing, (Connection, Datagram))):
        return
    if isinstance(thing, type) and issubclass(thing, Server):
        raise Problem(f"{text} is a class; make a Server of it in the module, and name that")
    if not isinstance(thing, type) and is_async(thing):
        return
    what = f"of type {type(thing).__name__}"
    if isinstance(thing, type):
        what = "a class of another kind"
    elif inspect.isgeneratorfunction(thing) or inspect.isasyncgenfunction(thing):
        what = "a function with `yield`"
    elif inspect.isroutine(thing):
        what = "a function without `async`"
    raise Problem(f"{text} cannot be served: it is {what}, not {EXPECTED}")


def is_async(thing: Any) -> bool:
    """Whether it is an async function, or an object that is called like one."""
    while isinstance(thing, partial):
        thing = thing.func
    if not callable(thing):
        return False
    thing = inspect.unwrap(thing)
    return inspect.iscoroutinefunction(thing) or inspect.iscoroutinefunction(getattr(thing, "__call__", None))  # noqa: B004

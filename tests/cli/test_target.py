"""MODULE:NAME and FILE.py:NAME."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import trews
from trews.cli import target
from trews.cli.problem import Problem

APP = """
import functools
import trews
import beside_it

class Echo(trews.Connection):
    class Inner(trews.Connection):
        pass

async def handler(conn): pass
def plain(conn): pass
async def asking(conn): yield
def giving(conn): yield
def wrap(fn):
    @functools.wraps(fn)
    def wrapper(conn): return fn(conn)
    return wrapper
wrapped = wrap(handler)
part = functools.partial(handler)
class Callable:
    async def __call__(self, conn): pass
instance = Callable()
server = trews.Server(Echo)
class MyServer(trews.Server): pass
number = 3
"""


@pytest.fixture(autouse=True)
def app(tmp_path, monkeypatch):
    """A directory with modules in it, as the current one; what is imported is forgotten."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    Path("app.py").write_text(APP)
    Path("beside_it.py").touch()
    Path("sub").mkdir()
    Path("sub/inner.py").write_text(APP)
    Path("sub/beside_it.py").touch()
    Path("json.py").write_text("import trews\nclass Echo(trews.Connection): pass\n")
    Path("fails.py").write_text("\nimport trews\nraise ValueError('no database')\n")
    Path("needs.py").write_text("import nothing_of_that_name\n")
    Path("serves.py").write_text("import trews\ntrews.serve(trews.Connection, 'localhost:0')\n")
    Path("exits.py").write_text("import sys\nsys.exit(3)\n")
    Path("syntax.py").write_text("def broken(:\n")
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.mark.parametrize(
    "text",
    [
        "app:Echo",
        "app:Echo.Inner",
        "app.py:Echo",
        "./app.py:Echo",
        "sub/inner.py:Echo",
        "sub.inner:Echo",
        "json.py:Echo",
        "app:handler",
        "app:wrapped",
        "app:part",
        "app:instance",
        "app:server",
    ],
)
def test_what_can_be_served(text):
    assert target.load(text) is not None


def test_a_file_by_the_name_of_a_known_module_does_not_take_its_place():
    import json

    target.load("json.py:Echo")
    assert sys.modules["json"] is json


def test_a_file_is_the_module_of_its_classes():
    thing = target.load("app.py:Echo")
    assert sys.modules[thing.__module__].Echo is thing


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "expected MODULE:NAME"),
        ("app", "expected MODULE:NAME or FILE.py:NAME, such as echo.py:Echo, not 'app'"),
        ("app:", "expected MODULE:NAME"),
        (":Echo", "expected MODULE:NAME"),
        ("ap:Echo", "there is no module 'ap' here or in Python's path"),
        ("app.more:Echo", "there is no module 'app.more'"),
        ("nope.py:Echo", "there is no file 'nope.py'"),
        ("sub/:Echo", "there is no file 'sub/'"),
        ("app:Ecko", "app has no 'Ecko'; did you mean 'Echo'?"),
        ("app:Echo.Iner", "app:Echo has no 'Iner'; did you mean 'Inner'?"),
        ("app:zzz", "app has no 'zzz'"),
        ("fails:X", "cannot import 'fails': ValueError: no database (fails.py:3)"),
        ("fails.py:X", "cannot import 'fails.py': ValueError: no database (fails.py:3)"),
        ("syntax.py:X", "cannot import 'syntax.py': SyntaxError: invalid syntax (syntax.py:1)"),
        ("exits:X", "cannot import 'exits': SystemExit: 3 (exits.py:2)"),
        ("needs:X", "cannot import 'needs': ModuleNotFoundError: No module named 'nothing_of_that_name' (needs.py:1)"),
        ("serves:X", "cannot import 'serves': RuntimeError: it serves when it is imported; put serve(...)"),
        ("serves.py:X", 'under `if __name__ == "__main__":` (serves.py:2)'),
        ("app:plain", "app:plain cannot be served: it is a function without `async`, not"),
        ("app:asking", "app:asking cannot be served: it is a function with `yield`, not"),
        ("app:giving", "app:giving cannot be served: it is a function with `yield`, not"),
        ("app:number", "app:number cannot be served: it is of type int, not"),
        ("app:Callable", "app:Callable cannot be served: it is a class of another kind, not"),
        ("app:trews", "app:trews cannot be served: it is of type module, not"),
        ("app:MyServer", "app:MyServer is a class; make a Server of it in the module"),
    ],
)
def test_what_cannot_is_refused_in_one_line(text, expected):
    with pytest.raises(Problem) as caught:
        target.load(text)
    assert expected in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.status == 2


def test_a_name_that_is_not_there_brings_up_no_private_one():
    with pytest.raises(Problem, match=r"app:Echo has no 'module'$"):
        target.load("app:Echo.module")


def test_a_server_is_returned_as_it_is():
    assert isinstance(target.load("app:server"), trews.Server)

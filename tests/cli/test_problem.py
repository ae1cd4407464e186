"""The sentence that ends a command."""

from __future__ import annotations

import pytest

import trews
from trews.cli.problem import Problem, in_one_line


def caught(source, filename):
    try:
        exec(compile(source, filename, "exec"), {"trews": trews})
    except Exception as exc:
        return in_one_line(exc)
    raise AssertionError("nothing was raised")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("\n1/0", "ZeroDivisionError: division by zero (app.py:2)"),
        ("def broken(:", "SyntaxError: invalid syntax (app.py:1)"),
        ("raise ValueError('one\\ntwo')", "ValueError: one (app.py:1)"),
        # Found in a library, or in trews, to be mended in the user's code.
        (
            "\n\nclass C(trews.Connection):\n    def on_conect(self): pass",
            "TypeError: C.on_conect would never be called; did you mean on_connect? (app.py:3)",
        ),
        (
            "import json\njson.loads('')",
            "json.decoder.JSONDecodeError: Expecting value: line 1 column 1 (char 0) (app.py:2)",
        ),
    ],
)
def test_an_error_of_the_users_code_is_one_line_with_its_place(source, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert caught(source, str(tmp_path / "app.py")) == expected


def test_an_error_without_a_place_is_only_told():
    assert in_one_line(ValueError("no")) == "ValueError: no"


def test_a_problem_is_of_what_was_typed_unless_it_says_otherwise():
    assert (Problem("x").status, Problem("x", 1).status) == (2, 1)

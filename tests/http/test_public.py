"""What `trews.http` shows: its names are there, have a docstring, and cost nothing to who does not use them."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys

import pytest

from trews import http


@pytest.mark.parametrize("name", http.__all__)
def test_a_public_name_is_there_and_says_what_it_is(name: str) -> None:
    value = getattr(http, name)
    assert inspect.getdoc(value)
    assert value.__module__.startswith("trews.http.")


def test_all_names_are_in_order_and_listed() -> None:
    assert http.__all__ == sorted(http.__all__)
    assert set(http.__all__) <= set(dir(http))
    assert http.__doc__ is not None
    for name in http.__all__:
        assert name in http.__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"module 'trews\.http' has no attribute 'sreve'"):
        http.sreve  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["test_client"])
def test_a_function_is_not_hidden_by_the_module_of_its_name(name: str) -> None:
    importlib.import_module(f"trews.http.{name}")
    assert not inspect.ismodule(getattr(http, name))


def loaded(code: str) -> set[str]:
    command = [sys.executable, "-c", f"import sys\n{code}\nprint(*sys.modules)"]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


def test_import_trews_leaves_http_out() -> None:
    assert not {name for name in loaded("import trews") if name.startswith("trews.http")}


def test_what_only_some_need_is_imported_when_it_is_used() -> None:
    bare = loaded("import trews.http")
    for name in (
        "tempfile",
        "email",
        "trews.virtual",
        "trews.testing",
        "trews.http.asgi_handler",
        "trews.http.wsgi_handler",
    ):
        assert name not in bare, name
    assert "trews.http.wsgi_handler" in loaded("from trews import http; http.wsgi")

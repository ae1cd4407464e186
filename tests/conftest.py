"""What all tests share: `--slow`, the leak check, the hypothesis profiles, and what is not on every machine.

A test that needs something this checkout does not carry asks for it by a fixture, and is skipped,
visibly, where that is absent. On CI (`CI=true`) it fails instead: a skipped judge judges nothing.
"""

from __future__ import annotations

import gc
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import settings

pytest.register_assert_rewrite("trews.testing.conformance")

from trews.backends import BACKENDS  # noqa: E402  # after the line above: it imports what that is about
from trews.build import is_compiled  # noqa: E402
from trews.testing import no_leaks  # noqa: E402

# The same examples on every run: a failure is then of this change, and the same for everyone.
settings.register_profile("default", derandomize=True, deadline=None, max_examples=100, database=None)
settings.register_profile("long", deadline=None, max_examples=100_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

ROOT = Path(__file__).resolve().parent.parent


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the tests marked slow, too")
    parser.addoption("--poller", choices=list(BACKENDS), help="what trews' loops wait with, instead of the best")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    compiled = is_compiled()
    for item in items:
        if item.get_closest_marker("slow") and not config.getoption("--slow"):
            item.add_marker(pytest.mark.skip(reason="slow: runs with --slow"))
        if compiled and item.get_closest_marker("pure_only"):
            item.add_marker(pytest.mark.skip(reason="patches what is compiled here: runs on pure Python"))


def pytest_configure(config: pytest.Config) -> None:
    name = config.getoption("--poller")
    if name:  # the first is the best
        others = {**BACKENDS}
        BACKENDS.clear()
        BACKENDS.update({name: others.pop(name), **others})
    config.addinivalue_line("markers", "leaks_ok(reason): leaves something open, and says why")
    config.addinivalue_line("markers", "pure_only: patches a module that may be compiled, where that has no effect")


def pytest_collection_finish(session: pytest.Session) -> None:
    """What is there before the tests is never garbage: collections, two for each test, leave it alone."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _no_leaks(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test that leaves a socket, file, task or timer open fails, and names where it was made."""
    mark = request.node.get_closest_marker("leaks_ok")
    if mark is None:
        with no_leaks():
            yield
    elif not (mark.args or mark.kwargs.get("reason")):
        pytest.fail("leaks_ok needs a reason")
    else:
        yield


def absent(what: str) -> NoReturn:
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what}, and on CI the tests that need it must run", pytrace=False)
    pytest.skip(what)


@pytest.fixture(scope="session")
def needs_shared() -> Path:
    """The folder of vectors and suites that lies beside the checkout, or where TREWS_SHARED says."""
    path = Path(os.environ.get("TREWS_SHARED") or ROOT.parent / "shared")
    if not path.is_dir():
        absent(f"no shared folder at {path}")
    return path


@pytest.fixture(scope="session")
def needs_cpython_tests() -> None:
    """CPython's own `test` package, which some distributions leave out."""
    if importlib.util.find_spec("test") is None or importlib.util.find_spec("test.test_asyncio") is None:
        absent("this Python comes without its test package")

"""Which build runs, as `trews.build` tells it. Real compiled builds are tried in test_packaging.py."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

import trews.inbox
from trews import build

PACKAGE = Path(build.__file__).parent
WITHOUT = {name: value for name, value in os.environ.items() if name != "TREWS_PURE"}
WITHOUT["PYTHONPATH"] = str(PACKAGE.parent)


@pytest.fixture
def told(tmp_path):
    """What a copy of the sources, with a note of the build, says of itself; and other expressions there."""

    def run(note, expression="[build.is_compiled(), build.describe()]", broken="", **env):
        ignored = shutil.ignore_patterns("__pycache__", "*.so", "*.json")
        shutil.copytree(PACKAGE, tmp_path / "trews", ignore=ignored, dirs_exist_ok=True)
        if broken:
            (tmp_path / "trews" / broken).write_bytes(b"")
        if note is not None:
            (tmp_path / "trews/_build.json").write_text(json.dumps(note))
        code = f"import json, sys, trews, trews.inbox; from trews import build; print(json.dumps({expression}))"
        env = {**WITHOUT, "PYTHONPATH": str(tmp_path), **env}
        done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
        return json.loads(done.stdout)

    return run


def test_it_tells_what_runs_here():
    is_compiled = not trews.inbox.__file__.endswith(".py")
    assert build.is_compiled() is is_compiled
    assert build.describe().startswith("compiled (" if is_compiled else "pure Python: ")


def test_sources_that_were_never_built(told):
    assert told(None) == [False, "pure Python: not installed, or installed with -e"]


def test_a_pure_build_tells_why_it_is_one(told):
    note = {"compiled": [], "why_pure": "TREWS_COMPILE=0 when it was installed"}
    assert told(note) == [False, "pure Python: TREWS_COMPILE=0 when it was installed"]


def test_trews_pure_is_not_the_reason_where_nothing_was_compiled(told):
    note = {"compiled": [], "why_pure": "TREWS_COMPILE=0 when it was installed"}
    assert told(note, TREWS_PURE="1") == [False, "pure Python: TREWS_COMPILE=0 when it was installed"]


def test_a_module_that_should_be_compiled_and_is_not_does_not_pass_unnoticed(told):
    is_compiled, text = told({"compiled": ["trews.inbox"], "mypyc": "2.4.1"})
    assert is_compiled is False
    assert text == "compiled in part only: trews.inbox should be, too, and are not; install trews anew"


def test_a_module_that_should_be_compiled_and_is_not_there_at_all(told):
    is_compiled, text = told({"compiled": ["trews.inbox", "trews.nowhere"], "mypyc": "2.4.1"})
    assert is_compiled is False
    assert "trews.inbox, trews.nowhere" in text


@pytest.mark.parametrize(("value", "finder"), [("1", True), ("", False), ("0", False)])
def test_trews_pure_puts_a_finder_in_and_nothing_else_does(told, value, finder):
    assert told(None, "any(f is build._Sources for f in sys.meta_path)", TREWS_PURE=value) is finder


def test_trews_pure_imports_sources_though_an_extension_is_beside_them(told):
    """The extension is a broken one: whoever tries to load it fails."""
    broken = f"inbox{EXTENSION_SUFFIXES[0]}"
    note = {"compiled": ["trews.inbox"], "mypyc": "2.4.1"}
    is_source = "trews.inbox.__file__.endswith('.py')"
    assert told(note, f"[{is_source}, build.describe()]", broken, TREWS_PURE="1") == [True, "pure Python: TREWS_PURE=1"]
    with pytest.raises(subprocess.CalledProcessError):
        told(note, is_source, broken)


def test_importing_trews_does_not_import_it():
    code = "import sys, trews; print('trews.build' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], env=WITHOUT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_zip_file_has_no_extensions_to_pass_over(tmp_path):
    shutil.make_archive(str(tmp_path / "trews"), "zip", PACKAGE.parent, "trews")
    code = "import trews.inbox; from trews import build; print(trews.inbox.__file__, build.describe())"
    env = {**WITHOUT, "PYTHONPATH": str(tmp_path / "trews.zip"), "TREWS_PURE": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert "trews.zip" in done.stdout
    assert "pure Python: " in done.stdout

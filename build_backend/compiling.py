"""What of trews is compiled, whether it can be here, and how: what `setup()` is called with.

Which modules is said in pyproject.toml, `[tool.trews] compiled`, and nowhere else. Each is compiled by mypyc to a
small extension beside its `.py`, and all of them share one library, `trews/_native__mypyc.*.so`.
`backend` decides whether to; this module knows no `TREWS_COMPILE`. Needs only setuptools until it compiles.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from setuptools import Distribution, Extension
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent.parent
MYPY = "mypy>=1.19,<3"  # the versions tried; an install with another is better pure than wrong
RECORD = "_build.json"  # in the package, for trews.build

# What the next run of setup.py is about; None when only metadata or an editable install is wanted.
_plan: dict[str, Any] | None = None


def compiled_modules() -> list[str]:
    """The modules to compile, dotted, as pyproject.toml has them."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    return list(settings["tool"]["trews"]["compiled"])


def no_mypy() -> str:
    """Why mypy cannot be expected to install here, or `""`.

    What it is made of (ast-serialize, in Rust; librt, in C) has wheels for these machines. Elsewhere asking for it
    would end the install before anything here could turn it into a pure one.
    """
    if sys.implementation.name != "cpython":
        return f"mypyc is not for {sys.implementation.name}"
    machine = platform.machine()
    if sys.platform in ("linux", "darwin", "win32") and machine.lower() in ("x86_64", "amd64", "aarch64", "arm64"):
        return ""
    return f"mypy is not ready-made for {sys.platform} on {machine}"


def no_compiler() -> str:
    """Why C cannot be compiled here, or `""`: an extension that includes Python.h is built, as the real ones are."""
    with tempfile.TemporaryDirectory() as directory:
        source = Path(directory, "trews_probe.c")
        source.write_text("#include <Python.h>\nPyMODINIT_FUNC PyInit_trews_probe(void) { return NULL; }\n", "utf-8")
        extension = Extension("trews_probe", [str(source)])
        command = build_ext(Distribution({"name": "trews_probe", "ext_modules": [extension]}))
        command.build_lib = command.build_temp = directory
        try:
            command.ensure_finalized()
            command.run()
        except (Exception, SystemExit) as exc:  # whatever it is, there is no compiling with it
            return str(exc) or type(exc).__name__
    return ""


def extensions(directory: str) -> list[Any]:
    """Translate the modules to C in a directory; return what setuptools is to make of it.

    Raises:
        SystemExit: mypy found errors, and has printed them.
    """
    from mypyc.build import mypycify

    sources = [str(Path(*name.split(".")).with_suffix(".py")) for name in compiled_modules()]
    # Without configuration: how strictly trews is checked is not a question of whether it can be compiled.
    options = ["--config-file=", "--follow-imports=silent"]
    # From src, since tracebacks have the paths as they are given here. (They have no lines of source, because Python
    # asks the loader of the extension for them. TREWS_PURE=1 gives those.)
    with contextlib.chdir(ROOT / "src"):
        found = mypycify([*options, *sources], group_name="trews._native", target_dir=directory, debug_level="0")
    for extension in found:
        # Warnings of a compiler newer than this mypyc are no reason to have no build.
        extension.extra_compile_args = [flag for flag in extension.extra_compile_args if flag != "-Werror"]
    return list(found)


class _BuildPy(build_py):  # type: ignore[misc]  # setuptools is untyped here
    """Leaves a note of what was built in the package."""

    def run(self) -> None:
        super().run()
        if _plan is not None and not self.editable_mode:
            Path(self.build_lib, "trews", RECORD).write_text(json.dumps(_plan["record"]) + "\n", "utf-8")


def plan(directory: str, compiled: bool, why_pure: str = "") -> None:
    """Say what the next run of setup.py is to build, with all that lies about in between in `directory`.

    Not in `build/`, where setuptools would find the extensions of an earlier build, and pack them.
    """
    global _plan
    record: dict[str, Any] = {"compiled": [], "why_pure": why_pure}
    found = []
    if compiled:
        from mypy.version import __version__ as version

        found = extensions(os.path.join(directory, "c"))
        record = {"compiled": compiled_modules(), "mypyc": version}
    _plan = {"record": record, "extensions": found, "directory": directory}


def forget() -> None:
    """Let the next run of setup.py be about nothing but what pyproject.toml says."""
    global _plan
    _plan = None


def arguments() -> dict[str, Any]:
    """The arguments of `setup()` in setup.py."""
    if _plan is None:
        return {}
    return {
        "ext_modules": _plan["extensions"],
        "cmdclass": {"build_py": _BuildPy},
        "options": {"build": {"build_base": _plan["directory"]}},
    }


def say(text: str) -> None:
    """Tell who builds; installers show it with -v."""
    print(f"trews: {text}", file=sys.stderr, flush=True)

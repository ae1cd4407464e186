"""The build backend: setuptools, and the decision whether the hot modules are compiled.

`TREWS_COMPILE` decides: unset, they are where a C compiler works, and the install is pure where none does, or where
compiling fails; 0 is pure; 1 demands, and fails otherwise. Editable installs are pure. mypy, which compiles, is asked
for only if it will be used. Why a backend in the tree: docs/decisions/0001-in-tree-build-backend.md; how it
compiles: `compiling`, and docs/decisions/0010-compiled-build.md.
"""

from __future__ import annotations

import importlib.util
import os
import tempfile
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import (
    build_sdist,
    get_requires_for_build_sdist,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

import compiling

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

Settings = dict[str, Any] | None

# What `trews doctor` says of a pure install; the words of compiling.no_compiler() are for who builds.
NO_COMPILER = "no C compiler that works when it was installed"


def demanded() -> bool:
    """Whether a build that is not compiled is a failure."""
    return os.environ.get("TREWS_COMPILE", "") == "1"


def why_pure() -> str:
    """Why the wheel will be pure, or `""` if it is to be compiled.

    Raises:
        SystemExit: it is to be compiled and cannot, or TREWS_COMPILE is wrong. Not another exception, because
            installers show the text of this one as it is, without a traceback.
    """
    wanted = os.environ.get("TREWS_COMPILE", "")
    if wanted not in ("", "0", "1"):
        raise SystemExit(f"TREWS_COMPILE={wanted}: expected 0 (pure) or 1 (compiled)")
    if wanted == "0":
        return "TREWS_COMPILE=0 when it was installed"
    if not wanted and (problem := compiling.no_mypy()):
        return problem
    problem = compiling.no_compiler()
    if problem and wanted == "1":
        raise SystemExit(
            f"TREWS_COMPILE=1: no C compiler that works ({problem}); install one, with Python's headers "
            "(Debian: apt install gcc python3-dev), or unset TREWS_COMPILE for the pure build"
        )
    return NO_COMPILER if problem else ""


def refuse_compiling() -> None:
    """End an editable install that demands what it never does."""
    if demanded():
        raise SystemExit(
            "TREWS_COMPILE=1: an editable install is never compiled, since that would be stale after an edit; "
            "unset it, or install without -e"
        )


def get_requires_for_build_wheel(config_settings: Settings = None) -> list[str]:
    """What building a wheel needs beyond `[build-system] requires`: mypy, if it compiles."""
    more = [] if why_pure() else [compiling.MYPY]
    return [*build_meta.get_requires_for_build_wheel(config_settings), *more]


def get_requires_for_build_editable(config_settings: Settings = None) -> list[str]:
    """An editable install stays pure for good: a compiled module would go stale at the first edit."""
    refuse_compiling()
    return list(build_meta.get_requires_for_build_editable(config_settings))


def build_wheel(wheel_directory: str, config_settings: Settings = None, metadata_directory: str | None = None) -> str:
    """Build a wheel, compiled (`cp313-cp313-linux_x86_64`) or pure (`py3-none-any`), and return its file name."""

    def build(reason: str) -> str:
        with tempfile.TemporaryDirectory(prefix="trews-build-") as directory:
            try:
                compiling.plan(directory, not reason, reason)
                return str(build_meta.build_wheel(wheel_directory, config_settings, metadata_directory))
            finally:
                compiling.forget()

    reason = why_pure()
    if not reason and not importlib.util.find_spec("mypyc"):  # built without what was asked for
        reason = "no mypy when it was installed"
        if demanded():
            raise SystemExit(f"TREWS_COMPILE=1: there is no mypy to compile with; pip install '{compiling.MYPY}' first")
    if not reason:
        try:
            return build("")
        except (Exception, SystemExit) as exc:  # errors of mypy, of the compiler, of setuptools
            if demanded():
                raise SystemExit(f"TREWS_COMPILE=1: compiling failed, see above ({exc})") from None
            compiling.say(f"compiling failed, see above ({exc})")
            reason = "compiling failed when it was installed"
    compiling.say(f"this build is pure Python: {reason}")
    return build(reason)


def build_editable(
    wheel_directory: str, config_settings: Settings = None, metadata_directory: str | None = None
) -> str:
    """Build the wheel of an editable install and return its file name."""
    refuse_compiling()
    return str(build_meta.build_editable(wheel_directory, config_settings, metadata_directory))

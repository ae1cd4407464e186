"""The build backend: setuptools, with the places where compiling will come in already there.

The hooks that could depend on compiling are written out below; the others are setuptools' own.
Today every build is pure. When the hot modules get a compiled build (mypyc), `mypy` becomes a
requirement of a wheel only if it is wanted and a C compiler is there, and nothing else in the
packaging changes shape. Why a hook and not a static requirement:
docs/decisions/0001-in-tree-build-backend.md.
"""

from __future__ import annotations

import os
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import (
    build_sdist,
    get_requires_for_build_sdist,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

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


def refuse_compiling() -> None:
    """End the build with a sentence if `TREWS_COMPILE` asks for what this version cannot do.

    SystemExit and not another exception: installers show its text as it is, without a traceback.
    """
    wanted = os.environ.get("TREWS_COMPILE", "")
    if wanted == "1":
        raise SystemExit("TREWS_COMPILE=1: this version has no compiled build yet; unset it or use TREWS_COMPILE=0")
    if wanted not in ("", "0"):
        raise SystemExit(f"TREWS_COMPILE={wanted}: expected 0 (pure) or 1 (compiled)")


def get_requires_for_build_wheel(config_settings: Settings = None) -> list[str]:
    """What building a wheel needs beyond `[build-system] requires`: for a pure one, nothing."""
    refuse_compiling()
    return list(build_meta.get_requires_for_build_wheel(config_settings))


def get_requires_for_build_editable(config_settings: Settings = None) -> list[str]:
    """An editable install stays pure for good: a compiled module would go stale at the first edit."""
    refuse_compiling()
    return list(build_meta.get_requires_for_build_editable(config_settings))


def build_wheel(wheel_directory: str, config_settings: Settings = None, metadata_directory: str | None = None) -> str:
    """Build a pure wheel (`py3-none-any`) and return its file name."""
    refuse_compiling()
    return str(build_meta.build_wheel(wheel_directory, config_settings, metadata_directory))


def build_editable(
    wheel_directory: str, config_settings: Settings = None, metadata_directory: str | None = None
) -> str:
    """Build the wheel of an editable install and return its file name."""
    refuse_compiling()
    return str(build_meta.build_editable(wheel_directory, config_settings, metadata_directory))

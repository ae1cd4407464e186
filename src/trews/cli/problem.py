"""What ends a command: a sentence for stderr and an exit status."""

from __future__ import annotations

import os
import sysconfig
import traceback

import click

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LIBRARIES = tuple(os.path.join(sysconfig.get_path(name), "") for name in ("stdlib", "purelib", "platlib"))


class Problem(click.ClickException):
    """Ends the command.

    Args:
        message: one sentence; `""` to end without one.
        status: 2 if what was typed cannot work, 1 if it went wrong later.
    """

    def __init__(self, message: str, status: int = 2) -> None:
        super().__init__(message)
        self.status = status


def in_one_line(exc: BaseException) -> str:
    """The last line of a traceback, and where in the user's code it happened."""
    if isinstance(exc, SyntaxError) and exc.filename:
        return f"{type(exc).__name__}: {exc.msg} ({_shown(exc.filename)}:{exc.lineno})"
    text = "".join(traceback.format_exception_only(exc)).strip().partition("\n")[0]
    frames = traceback.extract_tb(exc.__traceback__)
    # What a class or call of the user's is refused for is found inside trews or a library, to be mended outside.
    outside = [frame for frame in frames if not frame.filename.startswith((PACKAGE, "<frozen"))]
    own = [frame for frame in outside if not frame.filename.startswith(LIBRARIES)] or outside
    return f"{text} ({_shown(own[-1].filename)}:{own[-1].lineno})" if own else text


def _shown(path: str) -> str:
    """A path as short as it can be said from here."""
    here = os.path.join(os.getcwd(), "")
    return path.removeprefix(here)

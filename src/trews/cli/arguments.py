"""What commands take: endpoints, which stay on this machine unless they say otherwise, and settings."""

from __future__ import annotations

import math
from typing import Any

from trews.cli.problem import Problem
from trews.endpoint import Endpoint

_WORDS = {"true": True, "false": False, "none": None}


def listening(text: str) -> Endpoint:
    """The endpoint to listen on: localhost if it has no host, all interfaces if that is `*`.

    Raises:
        EndpointError: it cannot be parsed.
        Problem: nobody could come there.
    """
    endpoint = Endpoint.parse(text)
    if endpoint.kind == "memory":
        raise Problem(f"{endpoint.shown}: memory: is within one program, and no other can connect to it")
    if endpoint.kind in ("tcp", "tls", "udp") and not endpoint.host and not endpoint.wildcard:
        return endpoint.__replace__(host="localhost")
    return endpoint


def settings(assignments: tuple[str, ...]) -> dict[str, Any]:
    """`name=value` as keywords; the last of two for one name counts."""
    found = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals or not name.isidentifier():
            raise Problem(f"--set takes NAME=VALUE, such as idle_timeout=60, not {assignment!r}")
        found[name] = scalar(text)
    return found


def scalar(text: str) -> Any:
    """A value as it is written on a command line: a number, true, false, none, or else the text itself."""
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    for convert in (int, float):
        try:
            return convert(text)
        except ValueError:
            pass
    return text


def seconds(option: str, text: str) -> float:
    """A length of time, 0 or more."""
    value = scalar(text)
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf:
        return float(value)
    raise Problem(f"{option} takes a number of seconds, 0 or more, not {text!r}")

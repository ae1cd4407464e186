"""Endpoints and settings as they are typed."""

from __future__ import annotations

import pytest

from trews import EndpointError
from trews.cli import arguments
from trews.cli.problem import Problem


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("4040", "localhost"),
        (":4040", "localhost"),
        ("tcp:4040", "localhost"),
        ("tls:4040", "localhost"),
        ("tcp:*:4040", ""),
        ("*:4040", ""),
        ("tcp:127.0.0.1:4040", "127.0.0.1"),
        ("[::1]:4040", "::1"),
        ("unix:/run/x", ""),
        ("4040?backlog=5", "localhost"),
    ],
)
def test_commands_listen_on_this_machine_only_unless_told_otherwise(text, host):
    assert arguments.listening(text).host == host


def test_options_survive_the_default_host():
    assert arguments.listening("4040?backlog=5").get("backlog") == 5


def test_a_bad_endpoint_is_refused_as_everywhere():
    with pytest.raises(EndpointError):
        arguments.listening("tcp:x:y:z")


def test_what_nobody_can_reach_is_refused():
    with pytest.raises(Problem, match=r"^memory:x: memory: is within one program, and no other can connect to it$"):
        arguments.listening("memory:x")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("-1", -1),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ("true", True),
        ("False", False),
        ("none", None),
        ("None", None),
        ("", ""),
        ("a=b", "a=b"),
        ("1 2", "1 2"),
    ],
)
def test_values_of_settings(text, value):
    found = arguments.scalar(text)
    assert found == value
    assert type(found) is type(value)


def test_settings_become_keywords_and_the_last_counts():
    assert arguments.settings(("a=1", "b=x=y", "a=2")) == {"a": 2, "b": "x=y"}


@pytest.mark.parametrize("text", ["a", "=1", "", "a b=1", "1a=1"])
def test_what_is_not_name_and_value_is_refused(text):
    with pytest.raises(Problem, match="NAME=VALUE"):
        arguments.settings((text,))


@pytest.mark.parametrize(("text", "value"), [("0", 0.0), ("2", 2.0), ("0.5", 0.5)])
def test_seconds(text, value):
    assert arguments.seconds("--grace", text) == value


@pytest.mark.parametrize("text", ["-1", "x", "", "inf", "nan", "true", "none"])
def test_what_is_not_a_length_of_time_is_refused(text):
    with pytest.raises(Problem, match="--grace takes a number of seconds"):
        arguments.seconds("--grace", text)

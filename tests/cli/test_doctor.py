"""`trews doctor`."""

from __future__ import annotations

import platform
import subprocess

import pytest

import trews
from tests.cli.conftest import TREWS
from trews import build
from trews.cli import doctor


def rows(text):
    return dict(line.split(maxsplit=1) for line in text.splitlines())


def test_it_tells_what_runs_here(trews_command):
    ended = trews_command("doctor")
    assert (ended.returncode, ended.stderr) == (0, b"")
    told = rows(ended.stdout.decode())
    assert told["trews"] == trews.__version__
    assert told["Python"].startswith(platform.python_version())
    assert told["build"] == build.describe()
    assert told["loop"] == "trews' loop"
    assert told["poller"] in ("epoll", "kqueue", "poll", "select")
    assert {"system", "open", "IPv6", "Unix", "telnet", "uvloop"} <= told.keys()


def test_few_open_files_come_with_a_hint():
    ended = subprocess.run(
        ["bash", "-c", 'ulimit -Sn 256; exec "$@"', "bash", *TREWS, "doctor"], capture_output=True, timeout=20
    )
    assert ended.returncode == 0
    told = next(line for line in ended.stdout.decode().splitlines() if line.startswith("open files"))
    assert "256 (at most " in told
    assert "`ulimit -n " in told


@pytest.mark.parametrize(("limit", "shown"), [(1024, "1024"), (-1, "unlimited"), (2**63 - 1, "unlimited")])
def test_limits_as_people_read_them(limit, shown):
    assert doctor._count(limit) == shown


def test_a_part_that_is_missing_is_said_to_be():
    assert doctor.optional("no-such-package-of-anyone", "is good for nothing") == "not installed (is good for nothing)"
    assert doctor.optional("pytest", "runs tests").startswith(pytest.__version__)

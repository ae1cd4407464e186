"""The command as a whole: its help, its version, and what it says to bad input."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

import trews
from trews.cli import NAMES, main


def test_version(trews_command):
    ended = trews_command("--version")
    assert (ended.stdout, ended.stderr, ended.returncode) == (f"trews {trews.__version__}\n".encode(), b"", 0)


def test_the_installed_program_is_the_same():
    script = f"import sys; sys.argv = ['/x/trews', '--version']; from {main.__module__} import main; sys.exit(main())"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=20)
    assert (ended.stdout, ended.returncode) == (f"trews {trews.__version__}\n".encode(), 0)


def test_a_command_is_imported_when_it_is_asked_for():
    script = "import sys; from trews.cli import main; main(['--version']); print('trews.cli.demo' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=20)
    assert ended.stdout.endswith(b"False\n")


def test_importing_trews_imports_nothing_of_the_command():
    script = "import sys, trews; print({'click', 'rich', 'trews.cli'} & set(sys.modules))"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=20)
    assert ended.stdout == b"set()\n"


@pytest.mark.parametrize("args", [[], ["--help"], ["-h"]])
def test_help_names_every_command(args, capsys):
    assert main(args) == 0
    printed = capsys.readouterr().out
    assert all(f"  {name} " in printed for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_command_has_help(name, capsys):
    assert main([name, "--help"]) == 0
    assert f"Usage: trews {name}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["srve"], "there is no command 'srve'; did you mean 'serve'? (see `trews --help`)"),
        (
            ["qq"],
            "there is no command 'qq'; "
            "there are connect, demo, doctor, forward, http, serve, socks (see `trews --help`)",
        ),
        (["--nope"], "no such option '--nope' (see `trews --help`)"),
        (["serve", "--nope"], "no such option '--nope' (see `trews serve --help`)"),
        (["serve"], "missing argument 'MODULE:NAME' (see `trews serve --help`)"),
        (["connect"], "missing argument 'ENDPOINT' (see `trews connect --help`)"),
        (["connect", "1", "2"], "got unexpected extra argument"),
        (["forward"], "missing argument 'A' (see `trews forward --help`)"),
        (["forward", "1"], "missing argument 'B' (see `trews forward --help`)"),
        (["socks", "1", "2"], "got unexpected extra argument"),
        (["demo", "1"], "got unexpected extra argument"),
        (["doctor", "1"], "got unexpected extra argument"),
        (["serve", "a:b", "1", "--grace"], "option '--grace' requires an argument"),
    ],
)
def test_bad_input_is_one_line_and_status_2(args, expected, capsys):
    assert main(args) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("trews: ")
    assert expected in err.replace("Option", "option")
    assert err.count("\n") == 1


def test_bad_input_to_the_process_is_the_same(trews_command):
    ended = trews_command("srve")
    assert (ended.returncode, ended.stdout) == (2, b"")
    assert ended.stderr == b"trews: there is no command 'srve'; did you mean 'serve'? (see `trews --help`)\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (signal.default_int_handler, signal.SIG_DFL),  # no traceback
        (signal.SIG_IGN, signal.SIG_IGN),  # as shells start what runs in the background
    ],
)
def test_ctrl_c_ends_the_program_as_any_other(before, after, monkeypatch, capsys):
    signal.signal(signal.SIGINT, before)
    monkeypatch.setattr(sys, "argv", ["trews", "--version"])
    assert main() == 0
    assert signal.getsignal(signal.SIGINT) == after


def test_ctrl_c_stays_what_it_is_for_who_calls_it_with_arguments(capsys):
    assert main(["--version"]) == 0
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

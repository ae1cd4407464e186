"""The command `trews`: one file a command, imported when it is asked for.

Whatever is wrong with what was typed comes out as one line on stderr and exit status 2, never as a traceback.
"""

from __future__ import annotations

import signal
import sys
from importlib import import_module

import click

import trews
from trews.cli.problem import Problem
from trews.settings import nearest

NAMES = ("serve", "http", "connect", "forward", "socks", "demo", "doctor")
INTERRUPTED = 130  # as shells count a program that Ctrl-C has ended


class Commands(click.Group):
    """The commands, each the object `command` of the module of its name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(NAMES)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in NAMES:
            return None
        command: click.Command = import_module(f"{__name__}.{name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in NAMES and not args[0].startswith("-"):
            raise click.UsageError(f"there is no command {args[0]!r}{nearest(args[0], NAMES)}", ctx)
        return super().resolve_command(ctx, args)


@click.group(
    cls=Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(trews.__version__, message="trews %(version)s")
@click.pass_context
def commands(ctx: click.Context) -> None:
    """Network programming made easy: write the protocol, not the plumbing."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main(args: list[str] | None = None) -> int:
    """Run the command with these arguments (those of the process by default); returns its exit status."""
    if args is None and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # Commands that wait take Ctrl-C themselves. Everywhere else, down to the end of Python, it ends the process
        # like any other program, without a traceback.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        status = commands.main(args, prog_name="trews", standalone_mode=False)
    except click.Abort:
        return INTERRUPTED
    except click.UsageError as exc:
        # Of an option without its value click does not say whose it is.
        given = [name for name in (sys.argv[1:] if args is None else args)[:1] if name in NAMES]
        where = exc.ctx.command_path if exc.ctx is not None else " ".join(["trews", *given])
        return _fail(f"{_as_clause(exc.format_message())} (see `{where} --help`)", 2)
    except Problem as exc:
        return _fail(exc.message, exc.status)
    except click.ClickException as exc:
        return _fail(_as_clause(exc.format_message()), 2)
    except trews.Error as exc:
        return _fail(str(exc), 2)
    return status if isinstance(status, int) else 0


def _as_clause(sentence: str) -> str:
    """What click says, as the other messages are: one line, no capital, no full stop."""
    text = " ".join(sentence.split()).removesuffix(".")
    return text[:1].lower() + text[1:]


def _fail(message: str, status: int) -> int:
    if message:
        print(f"trews: {message}", file=sys.stderr, flush=True)
    return status

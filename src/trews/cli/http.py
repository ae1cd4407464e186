"""`trews http`: an ASGI or WSGI application, or a handler of trews' own, served over HTTP."""

from __future__ import annotations

import inspect
import logging
import os
from typing import TYPE_CHECKING, Any

import click

from trews import http
from trews.cli import arguments, target
from trews.cli.problem import Problem, in_one_line
from trews.cli.serve import run_aloud
from trews.http.access_log import LOGGER
from trews.names import takes

if TYPE_CHECKING:
    from collections.abc import Callable

PORT = "8000"

# What each is called with, by the number of arguments.
INTERFACES = {1: "trews", 2: "wsgi", 3: "asgi"}


# What is said of options that other servers have.
_WHERE = "say where to listen behind the application: `trews http MODULE:NAME 0.0.0.0:80`"
_WORKERS = "it is one process yet: start several behind a proxy"
_INSTEAD = {
    **dict.fromkeys(("--host", "--port", "-p", "--bind", "-b", "--uds", "--fd"), _WHERE),
    "--reload": "it does not start again by itself yet: end it and start it",
    **dict.fromkeys(("--workers", "-w", "--processes"), _WORKERS),
}


class _Command(click.Command):
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as exc:
            instead = _INSTEAD.get(exc.option_name)
            if instead is None:
                raise
            raise click.UsageError(f"there is no {exc.option_name}: {instead}", ctx) from None


@click.command("http", cls=_Command)
@click.argument("thing", metavar="MODULE:NAME")
@click.argument("endpoints", metavar="[ENDPOINT]...", nargs=-1)
@click.option(
    "--interface",
    type=click.Choice(["auto", *INTERFACES.values()]),
    default="auto",
    show_default=True,
    help="What it is; by default what it looks like.",
)
@click.option("--factory", is_flag=True, help="MODULE:NAME is called without arguments, and what it returns is served.")
@click.option("--root-path", metavar="PATH", default="", help="Where a proxy has it, and takes that off (ASGI).")
@click.option("--access-log", metavar="FORMAT", help="A line for each answer on stderr: common, combined or json.")
@click.option(
    "--set", "assignments", metavar="NAME=VALUE", multiple=True, help="A setting, as http.Server takes it. Repeatable."
)
@click.option(
    "--grace", metavar="SECONDS", default="10", show_default=True, help="What requests get to end when it stops."
)
@click.option("--trace", is_flag=True, help="Print the traffic of every connection to stderr.")
def command(
    thing: str,
    endpoints: tuple[str, ...],
    interface: str,
    factory: bool,
    root_path: str,
    access_log: str | None,
    assignments: tuple[str, ...],
    grace: str,
    trace: bool,
) -> None:
    """Serve an application over HTTP until Ctrl-C or SIGTERM.

    MODULE:NAME or FILE.py:NAME is an ASGI or WSGI application, a function of a request, or an http.Server.
    Without an ENDPOINT it is served on localhost:8000; 'tcp:*:80' is all interfaces, unix:PATH a Unix socket.
    """
    seconds = arguments.seconds("--grace", grace)
    settings = arguments.settings(assignments)
    if access_log is not None:
        settings["access_log"] = access_log
    parsed = [arguments.listening(endpoint) for endpoint in endpoints]
    if os.path.isdir(thing):
        raise Problem(f"{thing!r} is a directory, and those are not served yet: give MODULE:NAME")
    server = make_server(thing, interface, factory, root_path, settings)
    if not parsed and not server.endpoints:
        parsed = [arguments.listening(PORT)]
    server.listen(*parsed)
    if access_log is not None:
        _show_access_log()
    try:
        run_aloud(server, seconds, trace)
    except http.StartupFailed as exc:
        raise Problem(str(exc), 1) from exc


def make_server(text: str, interface: str, factory: bool, root_path: str, settings: dict[str, Any]) -> http.Server:
    """The server of what a name stands for.

    Raises:
        Problem: there is no such thing, or it cannot be served.
    """
    thing = target.find(text, "app.py:app")
    if factory:
        thing = _made(text, thing)
    if isinstance(thing, http.Server):
        if settings:
            raise Problem(f"{text} is a Server: give it the settings where it is made, not by --set or --access-log")
        return thing
    kind = interface_of(text, thing) if interface == "auto" else interface
    if root_path and kind != "asgi":
        raise Problem("--root-path is for ASGI applications")
    _check_interface(text, thing, kind)
    options = {"root_path": root_path} if kind == "asgi" else {}
    try:
        handler = thing if kind == "trews" else getattr(http, kind)(thing, **options)
        return http.Server(handler, **settings)
    except (TypeError, ValueError) as exc:
        raise Problem(str(exc)) from exc


def interface_of(text: str, thing: Any) -> str:
    """What a callable looks like: `"trews"`, `"wsgi"` or `"asgi"`, by the number of its arguments.

    Raises:
        Problem: none of these; or it does not show.
    """
    what = f"{text} cannot be served: "
    if isinstance(thing, type):
        raise Problem(f"{what}it is a class; make an object of it in the module, and name that, or use --factory")
    if not callable(thing):
        raise Problem(f"{what}it is of type {type(thing).__name__}, and no application")
    fits = [name for count, name in INTERFACES.items() if takes(thing, count)]
    if target.is_async(thing):
        fits = [name for name in fits if name != "wsgi"]
    if not fits:
        hint = "; if it makes one, use --factory" if takes(thing, 0) else ""
        raise Problem(f"{what}it takes neither one argument (trews), nor two (WSGI), nor three (ASGI){hint}")
    if len(fits) > 1 and _takes_any(thing):
        raise Problem(f"{text} may be called with any arguments: say what it is, by --interface {' or '.join(fits)}")
    return fits[0]  # others are there by defaults


def _check_interface(text: str, thing: Any, kind: str) -> None:
    """Refuse what is called with other arguments than `--interface` says, if another fits (Problem)."""
    if isinstance(thing, type) or not callable(thing):
        return  # which is said where it is made a handler
    fits = {name: count for count, name in INTERFACES.items() if takes(thing, count)}
    if fits and kind not in fits:
        [right, *_] = fits
        wanted = next(count for count, name in INTERFACES.items() if name == kind)
        raise Problem(
            f"{_KINDS[kind]} is called with {_COUNTS[wanted]}, and {text} takes {_COUNTS[fits[right]]}, as"
            f" {_KINDS[right]} does: use --interface {right}"
        )


_COUNTS = {1: "one argument", 2: "two arguments", 3: "three arguments"}
_KINDS = {"trews": "a handler of trews", "wsgi": "a WSGI application", "asgi": "an ASGI application"}


def _takes_any(thing: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(thing, follow_wrapped=False).parameters.values()
    except (TypeError, ValueError):
        return True
    return any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters)


def _made(text: str, thing: Any) -> Any:
    if not callable(thing) or not takes(thing, 0):
        raise Problem(f"{text} cannot be called without arguments, as --factory asks for")
    try:
        return thing()
    except Exception as exc:
        raise Problem(f"{text} failed: {in_one_line(exc)}") from exc


def _show_access_log() -> None:
    """Each line on stderr as it is, whatever becomes of the others."""
    logger = logging.getLogger(LOGGER)
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False

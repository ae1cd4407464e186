"""What serves a connection: a `Connection` subclass as it is, or a function of a connection made into one."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from trews.connection import Connection
from trews.phase import Consumer
from trews.settings import DEFAULTS, with_settings

if TYPE_CHECKING:
    from collections.abc import Callable


class HandlerConnection(Connection, derived=True):
    """A connection that a function handles: messages wait for its `read()`, its return closes."""

    _consumer = Consumer.READ
    _closes_after_connect = True
    _handler: Callable[[Connection], Any]

    def on_connect(self) -> Any:
        result = type(self)._handler(self)
        if not inspect.isawaitable(result):
            raise TypeError(
                f"the handler {_name(type(self)._handler)} returned {result!r}; a handler function is an "
                "`async def` (for code written as if it blocked there will be trews.green)"
            )
        return result

    def on_stop(self) -> None:
        """Nothing: its next `read()` at the boundary of a message ends."""


def connection_class(handler: Any, settings: dict[str, Any]) -> type[Connection]:
    """The class whose instances serve connections for `handler`.

    Raises:
        TypeError: `handler` is neither a Connection subclass nor a function, or a setting is unknown.
    """
    if isinstance(handler, type):
        if not issubclass(handler, Connection):
            raise TypeError(f"{handler.__name__} is not a subclass of trews.Connection")
        return _derive(handler, settings)
    if isinstance(handler, Connection):
        raise TypeError(f"give the class {type(handler).__name__}, not an instance: each connection gets its own")
    if not callable(handler):
        raise TypeError(f"a handler is a Connection subclass or an async function of a connection, not {handler!r}")
    if inspect.isgeneratorfunction(handler) or inspect.isasyncgenfunction(handler):
        raise TypeError(f"the handler {_name(handler)} has a `yield`; a handler is a plain `async def`")
    return _derive(HandlerConnection, settings, _handler=staticmethod(handler), __name__=_name(handler))


def _derive(cls: type[Connection], settings: dict[str, Any], **private: Any) -> type[Connection]:
    derived = with_settings(cls, settings, DEFAULTS, derived=True)
    if not private:
        return derived
    name = private.pop("__name__")
    make: Any = type(cls)
    made: type[Connection] = make(name, (derived,), {"__module__": cls.__module__, **private}, derived=True)
    return made


def _name(handler: Any) -> str:
    return getattr(handler, "__qualname__", None) or type(handler).__qualname__

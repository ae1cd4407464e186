"""What serves a connection: a `Connection` subclass as it is, or a function of a connection made into one."""

from __future__ import annotations

import inspect
import sys
from typing import TYPE_CHECKING, Any

from trews.connection import Connection
from trews.names import takes
from trews.phase import Consumer
from trews.settings import DEFAULTS, check_known

if TYPE_CHECKING:
    from collections.abc import Callable


class HandlerConnection(Connection):
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


def is_datagram(handler: Any) -> bool:
    """Whether a handler is a class for datagrams."""
    # Without importing them, which costs 4 ms: who has such a class has imported them.
    datagram = getattr(sys.modules.get("trews.datagram"), "Datagram", None)
    return datagram is not None and isinstance(handler, type) and issubclass(handler, datagram)


def connection_class(handler: Any, settings: dict[str, Any]) -> type[Connection]:
    """The class whose instances serve connections for `handler`.

    Raises:
        TypeError: `handler` is neither a Connection subclass nor a function, or a setting is unknown.
    """
    check_known(settings, DEFAULTS)
    if isinstance(handler, type):
        if not issubclass(handler, Connection):
            raise TypeError(f"{handler.__name__} is not a subclass of trews.Connection")
        if not takes(handler.__init__, 1):
            raise TypeError(
                f"{handler.__name__} is made without arguments, one for each connection, and its __init__ wants some; "
                "what connections share belongs on a trews.Server subclass, as self.server"
            )
        return derive(handler, settings) if settings else handler
    if isinstance(handler, Connection):
        raise TypeError(f"give the class {type(handler).__name__}, not an instance: each connection gets its own")
    if not callable(handler):
        raise TypeError(f"a handler is a Connection subclass or an async function of a connection, not {handler!r}")
    name = _name(handler)
    if inspect.isgeneratorfunction(handler) or inspect.isasyncgenfunction(handler):
        raise TypeError(f"the handler {name} has a `yield`; a handler is a plain `async def`")
    if not takes(handler, 1):
        raise TypeError(f"the handler {name} is called with one argument, the connection")
    return derive(HandlerConnection, {**settings, "_handler": staticmethod(handler)}, name)


def derive(cls: type[Connection], attributes: dict[str, Any], name: str = "") -> type[Connection]:
    """A subclass that differs in attributes only: what consumes messages stays."""
    body = {"__module__": cls.__module__, "__doc__": cls.__doc__, "_consumer": cls._consumer, **attributes}
    if not name:
        body["__qualname__"] = cls.__qualname__
    make: Any = type(cls)
    made: type[Connection] = make(name or cls.__name__, (cls,), body)
    return made


def _name(handler: Any) -> str:
    return getattr(handler, "__qualname__", None) or type(handler).__qualname__

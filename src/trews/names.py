"""Names on the classes that users subclass: what belongs to trews, and how callbacks are called.

A subclass that stores something under a name that trews uses itself, or whose callback takes the wrong arguments,
would fail later and elsewhere. So a class body is looked at when it is executed, its functions by their code.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import CodeType

# What asyncio calls its callbacks, and what they are called here.
_ASYNCIO = {
    "connection_made": "on_connect",
    "data_received": "on_read",
    "eof_received": "on_eof",
    "connection_lost": "on_close",
    "pause_writing": "on_full",
    "resume_writing": "on_drain",
}


def private_names(instance: Any) -> frozenset[str]:
    """The names with one underscore that an instance of a class of ours has, or will have."""
    found = set(vars(instance))
    for cls in type(instance).__mro__:
        if cls.__module__.startswith("trews."):
            found |= {*vars(cls), *vars(cls).get("__annotations__", {})}
    return frozenset(name for name in found if name.startswith("_") and not name.startswith("__"))


def check_names(cls: type, base: type, private: frozenset[str]) -> None:
    """Refuse a subclass of `base` that takes a name which `base` needs (TypeError)."""
    if cls.__module__.startswith("trews."):
        return
    for part in cls.__mro__:
        if part is not cls and (issubclass(part, base) or issubclass(base, part)):
            continue  # looked at when it was made
        for name, value in vars(part).items():
            if name in private:
                raise TypeError(f"{cls.__name__}.{name} is a name that trews uses itself; choose another")
            _check_public(cls, base, name, value)
            for function in _functions(value):
                for stored in _stored(function.__code__, private):
                    raise TypeError(
                        f"{cls.__name__}.{name} assigns to {stored}, a name that trews uses itself; choose another"
                    )


def _check_public(cls: type, base: type, name: str, value: Any) -> None:
    if name in _ASYNCIO and hasattr(base, name):
        raise TypeError(f"{cls.__name__}.{name} is asyncio's callback; trews calls {_ASYNCIO[name]}")
    if name.startswith("_") or hasattr(type(value), "__get__"):
        return  # a method or a property
    known = getattr(base, name, None)
    if isinstance(known, property):
        raise TypeError(f"{cls.__name__}.{name} is set by trews; choose another name")
    if inspect.isfunction(known) and not callable(value):
        raise TypeError(f"{cls.__name__}.{name} would hide a method of {base.__name__}; choose another name")


def _functions(value: Any) -> Iterator[Any]:
    """The functions that a class attribute is made of."""
    if isinstance(value, (staticmethod, classmethod)):
        value = value.__func__
    parts = (value.fget, value.fset) if isinstance(value, property) else (value,)
    for part in parts:
        if inspect.isfunction(part):
            yield part


def _stored(code: CodeType, names: frozenset[str]) -> Iterator[str]:
    """Those of `names` that a method stores on its first argument."""
    if code.co_argcount and not names.isdisjoint(code.co_names):
        import dis  # not at the top: seldom needed, and slow to import

        before: Any = None
        for step in dis.get_instructions(code):
            if step.opname == "STORE_ATTR" and step.argval in names and before == code.co_varnames[0]:
                yield step.argval
            # From Python 3.13 on one instruction may load two variables, this object being the second.
            before = step.argval[-1] if isinstance(step.argval, tuple) else step.argval


def check_arguments(cls: type, callbacks: dict[str, str]) -> None:
    """Refuse a callback that cannot be called with its arguments (TypeError).

    Args:
        callbacks: the arguments of each after `self`, as they are written: `"connection, exc"`.
    """
    for name, value in vars(cls).items():
        if name in callbacks and inspect.isfunction(value):
            arguments = [part for part in callbacks[name].split(", ") if part]
            if not takes(value, 1 + len(arguments)):
                raise TypeError(f"{cls.__name__}.{name} is called as {name}({', '.join(['self', *arguments])})")


def takes(function: Callable[..., Any], count: int) -> bool:
    """Whether something can be called with so many positional arguments, as far as can be known."""
    try:
        signature = inspect.signature(function, follow_wrapped=False)
    except (TypeError, ValueError):
        return True
    try:
        signature.bind(*[None] * count)
    except TypeError:
        return False
    return True


def is_slip(name: str, right: str) -> bool:
    """Whether `name` is `right` with one letter missing, doubled, or two neighbours swapped."""
    for i in range(len(right)):
        if name in (right[:i] + right[i + 1 :], right[:i] + right[i] + right[i:]):
            return True
        if name == right[:i] + right[i : i + 2][::-1] + right[i + 2 :] != right:
            return True
    return False

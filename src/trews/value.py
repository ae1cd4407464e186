"""Values: what never changes once it is made, and equals another of the same class and the same fields.

They behave as `@dataclass(frozen=True, slots=True)` would make them. That compiles source text for each class, in every
program that starts: 0.6 ms a class, and 1.3 for `dataclasses` itself. Not for what is changed, or never compared.
"""

from __future__ import annotations

from typing import Any, Self, dataclass_transform


@dataclass_transform(frozen_default=True)
class Value:
    """A subclass names its fields, in `__slots__` and `__match_args__`, and sets them in its `__init__` by `_set`."""

    __slots__ = ()
    __match_args__: tuple[str, ...] = ()

    def _set(self, *fields: Any) -> None:
        put = object.__setattr__
        for name, value in zip(self.__match_args__, fields, strict=True):
            put(self, name, value)

    def _key(self) -> tuple[Any, ...]:
        """What is compared and hashed."""
        return tuple(getattr(self, name) for name in self.__match_args__)

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, Value) and type(other) is type(self) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__match_args__)
        return f"{type(self).__qualname__}({fields})"

    def __setattr__(self, name: str, value: object) -> None:
        self._refuse(name, "assign to")
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        self._refuse(name, "delete")
        super().__delattr__(name)

    def _refuse(self, name: str, what: str) -> None:
        if name in self.__match_args__:
            raise AttributeError(f"cannot {what} field {name!r} of a {type(self).__name__}: it never changes")

    def __replace__(self, /, **changes: Any) -> Self:
        """The same with these fields changed; what `copy.replace` calls from Python 3.13 on."""
        fields = {name: getattr(self, name) for name in self.__match_args__}
        return type(self)(**{**fields, **changes})

    def __setstate__(self, state: Any) -> None:
        # For copy and pickle, which would use setattr: of the attributes of a subclass, then of the slots.
        for attributes in state if isinstance(state, tuple) else (state,):
            for name, value in (attributes or {}).items():
                object.__setattr__(self, name, value)

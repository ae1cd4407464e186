"""Names that may have several values, in order: queries, forms, and, without regard to case, header fields."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from typing import Any, Self


class MultiDict(MutableMapping[str, str]):
    """A mapping of which a name may have several values: `d["a"]` is the first, `d.get_all("a")` are all.

    Names are there once in `for name in d`, `keys()` and `len()`; `items()` and `values()` have all values. Two are
    equal if each name has the same values in the same order; a plain mapping is one in which each has one.

    Args:
        pairs: a mapping, or `(name, value)`, in order.
    """

    __slots__ = ("_made", "_pairs")

    def __init__(self, pairs: Iterable[tuple[str, str]] | Mapping[str, str] = ()) -> None:
        self._pairs: list[tuple[str, str]] = list(pairs_of(pairs))
        self._made: dict[str, list[str]] | None = None

    @staticmethod
    def _key(name: str) -> str:
        return name

    @property
    def _groups(self) -> dict[str, list[str]]:
        """The values by their names' keys. Made when first asked for: who asks for each of many names asks once."""
        made = self._made
        if made is None:
            made = self._made = {}
            for name, value in self._pairs:
                made.setdefault(self._key(name), []).append(value)
        return made

    # -- what is there

    def get_all(self, name: str) -> list[str]:
        """All values of a name, in order; none is `[]`."""
        return list(self._groups.get(self._key(name), ()))

    def items(self) -> Any:
        """`(name, value)` of all values, in order, as a list of its own."""
        return list(self._pairs)

    def values(self) -> Any:
        """All values, in order, as a list."""
        return [value for _, value in self._pairs]

    def __getitem__(self, name: str) -> str:
        """The first value of a name (KeyError)."""
        values = self._groups.get(self._key(name))
        if values is None:
            raise KeyError(name)
        return values[0]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._key(name) in self._groups

    def __iter__(self) -> Iterator[str]:
        first: dict[str, str] = {}
        for name, _ in self._pairs:
            first.setdefault(self._key(name), name)
        return iter(first.values())

    def __len__(self) -> int:
        return len(self._groups)

    # -- what changes it

    def __setitem__(self, name: str, value: str) -> None:
        """Give a name this value, instead of all that it has; it keeps the place of the first."""
        if name not in self:
            self.add(name, value)
            return
        wanted = self._key(name)
        at = next(at for at, (key, _) in enumerate(self._pairs) if self._key(key) == wanted)
        rest = [pair for pair in self._pairs[at + 1 :] if self._key(pair[0]) != wanted]
        self._pairs[at:] = [(name, value), *rest]
        self._made = None

    def __delitem__(self, name: str) -> None:
        """Remove all values of a name (KeyError)."""
        if name not in self:
            raise KeyError(name)
        wanted = self._key(name)
        self._pairs = [pair for pair in self._pairs if self._key(pair[0]) != wanted]
        self._made = None

    def add(self, name: str, value: str) -> None:
        """Give a name one more value, behind all others."""
        self._pairs.append((name, value))
        self._made = None

    def clear(self) -> None:
        """Remove all."""
        self._pairs.clear()
        self._made = None

    def copy(self) -> Self:
        """The same, to be changed on its own."""
        return type(self)(self._pairs)

    # -- what it is

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Mapping):
            return self._groups == type(self)(other)._groups
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]  # what can be changed has none

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._pairs!r})"


class Headers(MultiDict):
    """Header fields. Names without regard to case; a field that is there several times is one list, as RFC 9110 says.

    `headers["Accept"]` joins the values of several such fields with `", "` (5.3), except Set-Cookie, of which it is the
    first; `get_all` gives them one by one. What cannot be sent is found when it is sent.
    """

    __slots__ = ()

    @staticmethod
    def _key(name: str) -> str:
        return name.lower()

    def __getitem__(self, name: str) -> str:
        """The value of a field, or of several with this name, joined (KeyError)."""
        key = name.lower()
        values = self._groups.get(key)
        if values is None:
            raise KeyError(name)
        return values[0] if len(values) == 1 or key == "set-cookie" else ", ".join(values)


def pairs_of(fields: Any) -> Iterable[tuple[Any, Any]]:
    """Fields that were given as a mapping or as pairs, as pairs (TypeError for what is neither)."""
    if isinstance(fields, Mapping):
        return fields.items()
    if isinstance(fields, (str, bytes)) or not hasattr(fields, "__iter__"):
        raise TypeError(f"{_FIELDS}, not {type(fields).__name__}")
    pairs: Iterable[tuple[Any, Any]] = fields
    return pairs


def checked_pairs(fields: Any) -> list[tuple[Any, Any]]:
    """The same of fields that a program wants to send: each is looked at, so that the error comes where it is made."""
    pairs: list[Any] = list(pairs_of(fields))
    for pair in pairs:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            what = type(pair).__name__  # not what it is, which may be a secret
            size = f" of {len(pair)}" if isinstance(pair, (tuple, list)) else ""
            raise TypeError(f"{_FIELDS}, not {type(fields).__name__} with {what}{size} in it")
        if not isinstance(pair[0], (str, bytes)):
            raise TypeError(f"the name of a field is str or bytes, not {type(pair[0]).__name__}")
    return pairs


_FIELDS = 'fields are a mapping or pairs of a name and a value, such as {"A": "b"} or [("A", "b")]'

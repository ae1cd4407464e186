"""Names that may have several values, in order: queries, forms, and, without regard to case, header fields."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any


class MultiDict(Mapping[str, str]):
    """A mapping of which a name may have several values: `d["a"]` is the first, `d.get_all("a")` are all.

    Args:
        pairs: `(name, value)`, in order.
    """

    __slots__ = ("_pairs",)

    def __init__(self, pairs: Iterable[tuple[str, str]] | Mapping[str, str] = ()) -> None:
        self._pairs: list[tuple[str, str]] = list(pairs.items() if isinstance(pairs, Mapping) else pairs)

    @staticmethod
    def _key(name: str) -> str:
        return name

    def get_all(self, name: str) -> list[str]:
        """All values of a name, in order; none is `[]`."""
        wanted = self._key(name)
        return [value for key, value in self._pairs if self._key(key) == wanted]

    def items(self) -> Any:
        """`(name, value)` of all values, in order."""
        return list(self._pairs)

    def __getitem__(self, name: str) -> str:
        wanted = self._key(name)
        for key, value in self._pairs:
            if self._key(key) == wanted:
                return value
        raise KeyError(name)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and any(self._key(key) == self._key(name) for key, _ in self._pairs)

    def __iter__(self) -> Iterator[str]:
        return iter({self._key(key): key for key, _ in reversed(self._pairs)}.values())

    def __len__(self) -> int:
        return len({self._key(key) for key, _ in self._pairs})

    def __eq__(self, other: object) -> bool:
        if isinstance(other, MultiDict):
            return [(self._key(k), v) for k, v in self._pairs] == [(self._key(k), v) for k, v in other._pairs]
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]  # what can be changed has none

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._pairs!r})"


class Headers(MultiDict):
    """Header fields. Names without regard to case; a field that is there several times is one list, as RFC 9110 says.

    `headers["Accept"]` joins the values of several such fields with `", "` (5.3), except Set-Cookie, of which it is the
    first; `get_all` gives them one by one.
    """

    __slots__ = ()

    @staticmethod
    def _key(name: str) -> str:
        return name.lower()

    def __getitem__(self, name: str) -> str:
        values = self.get_all(name)
        if not values:
            raise KeyError(name)
        return values[0] if len(values) == 1 or name.lower() == "set-cookie" else ", ".join(values)

    def __setitem__(self, name: str, value: str) -> None:
        """Set a field, in the place of all with this name."""
        kept = [(key, old) for key, old in self._pairs if self._key(key) != self._key(name)]
        self._pairs = [*kept, (name, value)]

    def __delitem__(self, name: str) -> None:
        if name not in self:
            raise KeyError(name)
        self._pairs = [(key, value) for key, value in self._pairs if self._key(key) != self._key(name)]

    def add(self, name: str, value: str) -> None:
        """Add a field, beside those with this name."""
        self._pairs.append((name, value))

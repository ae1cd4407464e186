"""What is there once: an object that stands for something outside of Python, which a copy of it could not share."""

from __future__ import annotations

from typing import NoReturn


class Live:
    """A base of connections, servers and clients, open or not: they are neither copied nor pickled.

    A twin of an open connection would write on the same transport and be told nothing. Whoever wants that for a
    subclass after all defines `__copy__` or `__reduce__`.
    """

    __slots__ = ()

    def __reduce__(self) -> NoReturn:  # what `copy`, `deepcopy` and `pickle` ask, in the end
        raise TypeError(
            f"{type(self).__name__} objects are neither copied nor pickled: each stands for sockets of its own;"
            " copy or send the data that is needed of them"
        )

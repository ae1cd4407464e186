"""Values, as `@dataclass(frozen=True, slots=True)` would make them."""

from __future__ import annotations

import copy
import inspect
import pickle
import sys
from struct import Struct

import pytest

from trews import Endpoint
from trews.framing import Delimiter, Exactly, JSONLines, Line, Netstring, Packed, Prefixed, Raw, Varint
from trews.value import Value


class Pair(Value):
    __slots__ = __match_args__ = ("left", "right")
    left: int
    right: int

    def __init__(self, left: int, right: int = 2) -> None:
        self._set(left, right)


class Same(Pair):
    """A subclass of no fields more, with a `__dict__`."""


VALUES = [
    *(Pair(1), Raw(), Exactly(3), Delimiter(b"\0"), Line(), Line((b";",), "utf-8", True, False), JSONLines()),
    *(Netstring(), Prefixed(), Prefixed("!I", True), Varint(), Packed(Struct("!HH"))),
    Endpoint("tcp", "localhost", 4040, options=(("backlog", 5),)),
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_value_equals_one_of_the_same_fields(value):
    same = value.__replace__()
    assert same is not value
    assert same == value
    assert hash(same) == hash(value)
    assert [other for other in VALUES if other == value] == [value]


@pytest.mark.parametrize("value", [value for value in VALUES if value.__match_args__], ids=repr)
def test_a_field_cannot_be_changed(value):
    name = value.__match_args__[0]
    before = getattr(value, name)
    with pytest.raises(AttributeError, match=f"^cannot assign to field '{name}' of a {type(value).__name__}: it"):
        setattr(value, name, before)
    with pytest.raises(AttributeError, match=f"^cannot delete field '{name}'"):
        delattr(value, name)
    assert getattr(value, name) is before


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_value_takes_nothing_else(value):
    with pytest.raises(AttributeError):
        value.other = 1
    with pytest.raises(AttributeError):
        del value.other


@pytest.mark.parametrize("value", [value for value in VALUES if not isinstance(value, Packed)], ids=repr)
def test_values_are_copied_and_pickled(value):
    copies = [copy.copy(value), copy.deepcopy(value)]
    copies += [pickle.loads(pickle.dumps(value, protocol)) for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1)]
    assert copies == [value] * len(copies)


def test_a_subclass_is_copied_with_what_it_has_of_its_own():
    value = Same(1)
    value.more = [3]
    twin = pickle.loads(pickle.dumps(value))
    assert (twin, twin.more) == (value, [3])
    with pytest.raises(AttributeError):
        value.left = 3


def test_another_class_is_another_value():
    assert Pair(1) != Same(1)
    assert Pair(1) != (1, 2)
    assert Same(1) == Same(1)


def test_what_it_looks_like():
    assert repr(Pair(1)) == "Pair(left=1, right=2)"
    assert repr(Line()) == r"Line(ends=(b'\r\n', b'\n'), encoding=None, keep_end=False, final=True)"
    assert (repr(Raw()), repr(Prefixed("!I"))) == ("Raw()", "Prefixed(format='!I', includes_prefix=False)")


def test_its_arguments_are_those_of_its_constructor():
    assert list(inspect.signature(Line).parameters) == ["ends", "encoding", "keep_end", "final"]
    assert Line(final=False) == Line((b"\r\n", b"\n"), None, False, False)
    with pytest.raises(TypeError):
        Raw(1)
    with pytest.raises(TypeError):
        Exactly()


def test_its_fields_match_by_place():
    match Endpoint.parse("tcp:localhost:4040"):
        case Endpoint("tcp", host, int(port)):
            assert (host, port) == ("localhost", 4040)
        case other:
            pytest.fail(str(other))


def test_another_with_some_fields_changed():
    assert Pair(1).__replace__(right=5) == Pair(1, 5)
    with pytest.raises(ValueError, match=r"^a message cannot have -1 bytes$"):
        Exactly(1).__replace__(count=-1)
    with pytest.raises(TypeError):
        Pair(1).__replace__(other=1)


@pytest.mark.skipif(sys.version_info < (3, 13), reason="copy.replace is new in Python 3.13")
def test_copy_replace():
    assert copy.replace(Pair(1), right=5) == Pair(1, 5)

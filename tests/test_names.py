"""What a subclass may not do, refused when its body is executed: take a name of trews', or other arguments."""

from __future__ import annotations

import dataclasses
import functools
import itertools

import pytest

import trews
from trews.client import _private as CLIENT_NAMES
from trews.connection import _private as CONNECTION_NAMES
from trews.names import check_names, is_slip, private_names, takes
from trews.server import _private as SERVER_NAMES
from trews.settings import CALLBACKS, SERVER_CALLBACKS
from trews.testing import wire


def subclass(base: type, **body: object) -> type:
    return type("Mine", (base,), body)


class TestPrivateNames:
    """The names with one underscore that trews uses itself on an instance."""

    def test_they_are_those_of_a_connection_that_has_lived(self):
        connection = wire(trews.Connection).feed(b"x").connection
        connection.close()
        names = {name for name in vars(connection) if name.startswith("_")}
        assert names
        assert names <= CONNECTION_NAMES

    def test_they_are_those_of_the_classes_too(self):
        assert {"_loop", "_task", "_transport", "_pump", "_context"} <= CONNECTION_NAMES
        assert {"_state", "_listeners", "_alive"} <= SERVER_NAMES

    def test_they_are_those_of_what_has_its_arguments(self):
        assert private_names(trews.Server(trews.Connection)) == SERVER_NAMES
        assert private_names(trews.Client("memory:none")) == CLIENT_NAMES

    def test_dunders_and_public_names_are_not_among_them(self):
        for name in CONNECTION_NAMES | SERVER_NAMES:
            assert name.startswith("_")
            assert not name.startswith("__")

    def test_of_a_class_that_is_not_trews_there_are_the_instances(self):
        class Other:
            _in_class = 1

            def __init__(self):
                self._in_instance = self.public = 1

        assert private_names(Other()) == {"_in_instance"}


@pytest.mark.parametrize(("base", "name"), [(trews.Connection, "_loop"), (trews.Server, "_state")])
class TestPrivateNamesAreRefused:
    def test_as_an_attribute(self, base, name):
        with pytest.raises(TypeError, match=rf"^Mine\.{name} is a name that trews uses itself; choose another$"):
            subclass(base, **{name: None})

    def test_as_a_method(self, base, name):
        with pytest.raises(TypeError, match=f"Mine.{name} is a name"):
            subclass(base, **{name: lambda self: None})

    def test_of_a_mixin(self, base, name):
        mixin = type("Mixin", (), {name: None})
        for bases in ((mixin, base), (base, mixin)):
            with pytest.raises(TypeError, match=f"Mine.{name} is a name"):
                type("Mine", bases, {})

    def test_in_a_grandchild(self, base, name):
        child = subclass(base)
        with pytest.raises(TypeError, match=f"Mine.{name} is a name"):
            subclass(child, **{name: None})


class TestAssignments:
    """What a method stores on its first argument is known when the class is made."""

    SENTENCE = r"^Game\.start assigns to _task, a name that trews uses itself; choose another$"

    def refused(self):
        return pytest.raises(TypeError, match=self.SENTENCE)

    def test_in_a_method(self):
        with self.refused():

            class Game(trews.Connection):
                def start(self):
                    self._task = None

    def test_of_what_a_variable_holds(self):
        # In newer Pythons one instruction loads both.
        with self.refused():

            class Game(trews.Connection):
                def start(self, task):
                    self._task = task

    def test_among_others(self):
        with self.refused():

            class Game(trews.Connection):
                def start(self, task):
                    self.one, self._task = task, task

    def test_in_an_async_method(self):
        with self.refused():

            class Game(trews.Connection):
                async def start(self, task):
                    self._task = await task

    def test_in_a_property(self):
        with self.refused():

            class Game(trews.Connection):
                @property
                def start(self):
                    self._task = 1

    def test_in_a_setter(self):
        with self.refused():

            class Game(trews.Connection):
                def start(self, value):
                    self._task = value

                start = property(None, start)

    def test_in_a_class_method(self):
        with self.refused():

            class Game(trews.Connection):
                @classmethod
                def start(cls):
                    cls._task = None

    def test_of_a_mixin(self):
        class Starting:
            def start(self):
                self._task = None

        with self.refused():

            class Game(Starting, trews.Connection):
                pass

    def test_of_a_server(self):
        with pytest.raises(TypeError, match=r"^Room\.__init__ assigns to _stats, a name"):

            class Room(trews.Server):
                def __init__(self):
                    super().__init__(trews.Connection)
                    self._stats = {}

    def test_to_another_object_is_the_users_business(self):
        class Game(trews.Connection):
            def start(self, other):
                other._task = None
                if self._task is None:
                    other._loop = self

    def test_to_names_of_their_own_is_too(self):
        class Game(trews.Connection):
            def __init__(self):
                self._score = 0
                self.__task = None

            def on_connect(self):
                self._score += 1
                self.name = "x"

        assert wire(Game).connection._score == 1


def test_names_of_their_own_in_the_body_may_have_an_underscore():
    assert subclass(trews.Connection, _score=1)()._score == 1
    assert subclass(trews.Server, _score=1)(trews.Connection)._score == 1


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("connection_made", "on_connect"),
        ("data_received", "on_read"),
        ("eof_received", "on_eof"),
        ("connection_lost", "on_close"),
        ("pause_writing", "on_full"),
        ("resume_writing", "on_drain"),
    ],
)
def test_asyncios_callbacks_are_named_with_what_they_are_here(name, instead):
    with pytest.raises(TypeError, match=rf"^Mine\.{name} is asyncio's callback; trews calls {instead}$"):
        subclass(trews.Connection, **{name: lambda self, *args: None})


@pytest.mark.parametrize("name", ["id", "server", "remote_address", "opened_at", "reason", "bytes_in", "is_open"])
def test_an_attribute_that_trews_sets_is_refused(name):
    with pytest.raises(TypeError, match=rf"^Mine\.{name} is set by trews; choose another name$"):
        subclass(trews.Connection, **{name: None})
    with pytest.raises(AttributeError):
        setattr(trews.Connection(), name, None)


@pytest.mark.parametrize(
    ("base", "name"),
    [(trews.Connection, "send"), (trews.Connection, "close"), (trews.Connection, "read"), (trews.Server, "stop")],
)
def test_a_value_that_hides_a_method_is_refused(base, name):
    with pytest.raises(TypeError, match=rf"^Mine\.{name} would hide a method of {base.__name__}; choose another name$"):
        subclass(base, **{name: b""})


def test_methods_and_properties_may_be_overridden():
    class Loud(trews.Connection):
        @property
        def remote_address(self):
            return "somewhere"

        def send(self, message):
            return super().send(message.upper())

    w = wire(Loud)
    w.connection.send(b"hi")
    assert w.sent() == b"HI"
    assert w.connection.remote_address == "somewhere"


def test_annotations_are_no_values():
    class Room(trews.Server):
        topic: str

    class Guest(trews.Connection):
        server: Room
        remote_address: str

    assert wire(Guest).connection.server is None


def test_a_dataclass_may_be_a_connection():
    @dataclasses.dataclass(eq=False)
    class Counting(trews.Connection):
        count: int = 0

        def on_read(self, data):
            self.count += len(data)

    assert wire(Counting).feed(b"abc").connection.count == 3


def test_classes_of_trews_itself_are_not_looked_at():
    inside = type("Inside", (trews.Connection,), {"__module__": "trews.inside", "_loop": None})
    check_names(inside, trews.Connection, CONNECTION_NAMES)


class TestArguments:
    """A callback that cannot be called as it will be is refused when its class is made."""

    @pytest.mark.parametrize(
        ("base", "name", "arguments"),
        [(trews.Connection, *item) for item in CALLBACKS.items()]
        + [(trews.Server, *item) for item in SERVER_CALLBACKS.items()],
    )
    def test_each(self, base, name, arguments):
        right = ["self", *filter(None, arguments.split(", "))]
        count = len(right)
        sentence = rf"^Mine\.{name} is called as {name}\({', '.join(right)}\)$"
        functions = {
            0: lambda: None,
            1: lambda a: None,
            2: lambda a, b: None,
            3: lambda a, b, c: None,
            4: lambda a, b, c, d: None,
        }
        for wrong in sorted(functions.keys() - {count}):
            with pytest.raises(TypeError, match=sentence):
                subclass(base, **{name: functions[wrong]})
        subclass(base, **{name: functions[count]})
        subclass(base, **{name: lambda *args: None})
        subclass(base, **{name: lambda *args, extra=1: None})
        with pytest.raises(TypeError, match=sentence):
            subclass(base, **{name: lambda *args, extra: None})

    def test_what_cannot_be_known_is_let_pass(self):
        wrapped = functools.partialmethod(lambda self, extra: None, 1)
        subclass(trews.Connection, on_connect=wrapped)
        subclass(trews.Connection, on_connect=print)

    def test_a_decorator_counts_as_what_it_is(self):
        def loudly(function):
            @functools.wraps(function)
            def call(*args):
                return function(*args)

            return call

        subclass(trews.Connection, on_connect=loudly(lambda self, extra: None))


@pytest.mark.parametrize(
    ("function", "counts"),
    [
        (lambda: None, {0}),
        (lambda a, b=1: None, {1, 2}),
        (lambda *a: None, {0, 1, 2, 3}),
        (lambda *, key: None, set()),
        (lambda a, **rest: None, {1}),
        (itertools.chain, {0, 1, 2, 3}),
        (type, {0, 1, 2, 3}),  # it has no signature
    ],
)
def test_takes(function, counts):
    assert {count for count in range(4) if takes(function, count)} == counts


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("on_conect", True),
        ("on_connnect", True),
        ("on_cnonect", True),
        ("on_connect", False),
        ("on_connects", False),
        ("on_cnnct", False),
        ("on_konnect", False),
        ("", False),
    ],
)
def test_is_slip(name, is_one):
    assert is_slip(name, "on_connect") is is_one

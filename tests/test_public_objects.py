"""What else is done to public objects: patched, copied, pickled, inspected. Why that matters: test_subclassing.py."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import gc
import inspect
import pickle
import weakref
from unittest import mock

import pytest

import trews
from tests.answers import Fixed, Upper
from trews import framing, testing
from trews.framing import Line
from trews.testing import wire


class TestPatching:
    """What tests of users do: the patched is what runs, also from inside of trews."""

    def test_a_callback_of_a_class(self):
        w = wire(Upper)
        with mock.patch.object(Upper, "on_read", autospec=True) as on_read:
            w.feed(b"a\n")
        on_read.assert_called_once_with(w.connection, b"a")
        assert w.feed(b"b\n").sent() == b"B\n"

    @pytest.mark.parametrize("cls", [Upper, trews.Connection])
    def test_send_of_a_class(self, cls):
        w = wire(Upper)
        with mock.patch.object(cls, "send", autospec=True) as send:
            w.feed(b"a\n")
        send.assert_called_once_with(w.connection, b"A")
        assert w.sent() == b""

    def test_write_of_the_instance_is_what_send_calls(self):
        w = wire(Upper)
        with mock.patch.object(w.connection, "write") as write:
            w.feed(b"a\n")
        write.assert_called_once_with(b"A\n")
        assert w.feed(b"b\n").sent() == b"B\n"

    def test_a_decoder_of_ours(self):
        """Of a framer as a user has one, by the name that it is found by."""
        with mock.patch.object(Line, "decoder", return_value=Fixed().decoder()) as decoder:
            assert wire(Upper, framer=Line()).feed(b"abcd").sent() == b"AB\r\nCD\r\n"
        decoder.assert_called_once_with()

    def test_server_callbacks(self):
        class Mine(trews.Server): ...

        async def main():
            with mock.patch.object(Mine, "on_accept", return_value=False) as on_accept:
                async with Mine(Upper).listen("tcp:127.0.0.1:0") as server:
                    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
                    with contextlib.suppress(ConnectionError):
                        assert await reader.read() == b""
                    writer.close()
            on_accept.assert_called_once()

        trews.run(main())

    @pytest.mark.parametrize("cls", [trews.Connection, trews.Server, trews.Datagram, trews.Client])
    def test_specs(self, cls):
        fake = mock.create_autospec(cls, instance=True)
        with pytest.raises(AttributeError):
            fake.no_such_method()
        assert isinstance(fake, cls)


class TestFramersAreValues:
    @pytest.mark.parametrize("framer", [Line(encoding="utf-8"), framing.Prefixed("!H"), framing.Netstring()])
    @pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda f: pickle.loads(pickle.dumps(f))])
    def test_they_are_copied_and_pickled(self, framer, copied):
        assert copied(framer) == framer
        assert repr(copied(framer)) == repr(framer)
        assert hash(copied(framer)) == hash(framer)


class TestObjects:
    @pytest.mark.parametrize("make", [lambda: wire(Upper).connection, lambda: trews.Server(Upper)])
    def test_weak_references(self, make):
        thing = make()
        ref, known = weakref.ref(thing), weakref.WeakSet([thing])
        assert ref() is thing
        del thing
        gc.collect()
        assert ref() is None
        assert not known

    @pytest.mark.parametrize("copied", [pickle.dumps, copy.copy, copy.deepcopy])
    def test_an_open_connection_is_neither_pickled_nor_copied(self, copied):
        w = wire(Upper)
        with pytest.raises(TypeError, match="Upper objects are neither copied nor pickled"):
            copied(w.connection)
        assert w.feed(b"a\n").sent() == b"A\n"

    def test_attributes_of_any_name(self):
        w = wire(Upper)
        w.connection.user = "ann"
        assert vars(w.connection)["user"] == "ann"
        del w.connection.user
        assert not hasattr(w.connection, "user")

    def test_they_are_hashable_and_equal_to_themselves_only(self):
        one, other = wire(Upper).connection, wire(Upper).connection
        assert one == one
        assert one != other
        assert len({one, other, one}) == 2

    def test_repr_has_the_name_of_the_subclass(self):
        assert repr(wire(Upper).connection).startswith("<Upper ")


CLASSES = [
    (f"{module.__name__}.{name}", value)
    for module in (trews, framing, testing)
    for name in module.__all__
    if inspect.isclass(value := getattr(module, name))
]


def functions():
    for name, cls in CLASSES:
        for attribute, value in vars(cls).items():
            # What overrides a method of asyncio's is documented there, if at all.
            is_own = not any(attribute in vars(base) for base in cls.__mro__ if base.__module__.startswith("asyncio"))
            if is_own and not attribute.startswith("_") and inspect.isroutine(value):
                yield f"{name}.{attribute}", getattr(cls, attribute)


FUNCTIONS = dict(functions())


class TestIntrospection:
    """What editors, debuggers and documentation ask."""

    @pytest.mark.parametrize(("name", "cls"), CLASSES, ids=[name for name, _ in CLASSES])
    def test_classes_have_documentation_and_source(self, name, cls):
        assert inspect.getdoc(cls)
        assert inspect.getsource(cls).lstrip("@").strip()

    @pytest.mark.parametrize(("name", "function"), FUNCTIONS.items(), ids=FUNCTIONS)
    def test_methods_have_documentation_a_signature_and_source(self, name, function):
        assert inspect.getdoc(function)
        signature = inspect.signature(function)
        assert all(p.annotation is not p.empty for p in signature.parameters.values() if p.name not in ("self", "cls"))
        assert inspect.isfunction(inspect.unwrap(getattr(function, "__func__", function)))
        assert inspect.getsource(function)

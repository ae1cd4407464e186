"""What users do to public classes, which must work the same whether what is below them is compiled or not.

mypyc's classes differ from Python's where nobody looks: an attribute that a subclass overrides is read from the
struct of the base, an assignment or a patch is accepted and ignored, weak references and signatures are missing. So no
public class is compiled (test_packaging.py), and here is what that is to give. No module of the package has this
name: it is about all of them.

What matters runs twice: in memory, and on a socket by way of the loop. It is a long file because it is a list.
"""

from __future__ import annotations

import abc
import asyncio
import copy
import dataclasses
import functools
import inspect
import pickle
from typing import Any, ClassVar, Generic, TypeVar
from unittest import mock

import pytest

import trews
from tests.answers import Fixed, Upper, in_memory, on_a_socket
from trews.framing import Decoder, Framer, Line
from trews.testing import wire

T = TypeVar("T")


@pytest.fixture(params=[in_memory, on_a_socket])
def answer(request):
    """`answer(cls, data, **settings)`: what a connection of the class sends to a peer that sends `data` and ends."""
    return request.param


def test_it_answers(answer):
    assert answer(Upper, b"a\nb\n") == b"A\nB\n"


class TestSettings:
    def test_an_attribute_of_a_subclass(self, answer):
        class Piped(Upper):
            framer = b"|"

        assert answer(Piped, b"a|b|") == b"A|B|"

    def test_an_annotated_attribute_of_a_subclass(self, answer):
        class Piped(Upper):
            framer: Any = b"|"

        assert answer(Piped, b"a|b|") == b"A|B|"

    def test_an_attribute_of_the_instance(self, answer):
        class Piped(Upper):
            def on_connect(self):
                self.framer = b"|"

        assert answer(Piped, b"a|b|") == b"A|B|"

    def test_a_keyword(self, answer):
        assert answer(Upper, b"a|b|", framer=b"|") == b"A|B|"

    def test_changed_between_messages(self, answer):
        class Changing(Upper):
            def on_read(self, line):
                super().on_read(line)
                self.framer = b"|"

        assert answer(Changing, b"a\nb|c|") == b"A\nB|C|"

    def test_changed_on_the_class_while_connections_are_open(self):
        class Changing(Upper): ...

        w = wire(Changing).feed(b"a\n")
        Changing.framer = b"|"
        assert w.feed(b"b|").sent() == b"A\nB|"

    def test_a_property(self, answer):
        class Computed(Upper):
            @property
            def framer(self):
                return b"|"

        assert answer(Computed, b"a|b|") == b"A|B|"

    def test_a_limit_of_a_subclass(self):
        class Short(Upper):
            max_message = 3

        w = wire(Short).feed(b"abc\nabcd\n")
        assert w.sent() == b"ABC\n"
        assert isinstance(w.reason, trews.MessageTooLong)


class TestInheritance:
    def test_super_in_every_callback(self):
        seen = []

        class All(trews.Connection):
            framer = b"\n"

            def on_connect(self):
                seen.append("connect")
                super().on_connect()

            def on_read(self, message):
                seen.append(message)
                super().on_read(message)

            def on_eof(self):
                seen.append("eof")
                super().on_eof()

            def on_close(self, reason):
                seen.append(type(reason).__name__)
                super().on_close(reason)

        wire(All).feed(b"1\n").eof()
        assert seen == ["connect", b"1", "eof", "ClosedByPeer"]

    def test_a_mixin_before(self, answer):
        class Counting:
            count = 0

            def on_read(self, line):
                self.count += 1
                self.send(b"%d" % self.count)

        class Counted(Counting, Upper): ...

        assert answer(Counted, b"a\nb\n") == b"1\n2\n"

    def test_a_mixin_after(self, answer):
        """It has what nobody before it has, settings and slots included; what it shares with us is ours."""

        class Helping:
            __slots__ = ()
            sign = b"!"

            def signed(self, line):
                return line + self.sign

            def close(self):
                raise AssertionError

        class Helped(Upper, Helping):
            def on_read(self, line):
                super().on_read(self.signed(line))
                self.close()

        assert answer(Helped, b"a\n") == b"A!\n"

    def test_a_mixin_that_calls_super(self, answer):
        class Twice:
            def on_read(self, line):
                super().on_read(line)
                super().on_read(line)

        class Both(Twice, Upper): ...

        assert answer(Both, b"a\n") == b"A\nA\n"

    def test_a_diamond(self, answer):
        class A(Upper):
            def on_read(self, line):
                super().on_read(b"a" + line)

        class B(Upper):
            def on_read(self, line):
                super().on_read(b"b" + line)

        class Both(A, B): ...

        assert answer(Both, b"x\n") == b"BAX\n"

    def test_init_that_forgets_super(self, answer):
        class Forgetful(Upper):
            def __init__(self):
                self.sign = b"!"

            def on_read(self, line):
                super().on_read(line + self.sign)

        assert answer(Forgetful, b"a\n") == b"A!\n"

    def test_init_and_new_that_call_super(self, answer):
        class Careful(Upper):
            def __new__(cls, *args, **kwargs):
                self = super().__new__(cls, *args, **kwargs)
                self.first = b"1"
                return self

            def __init__(self):
                super().__init__()
                self.second = b"2"

            def on_read(self, line):
                self.send(self.first + self.second)

        assert answer(Careful, b"a\n") == b"12\n"

    def test_slots(self, answer):
        class Slotted(Upper):
            __slots__ = ("last",)

            def on_read(self, line):
                self.last = line
                super().on_read(self.last)

        assert inspect.ismemberdescriptor(Slotted.last)
        assert answer(Slotted, b"a\n") == b"A\n"

    def test_a_generic_subclass(self, answer):
        class Typed(Upper, Generic[T]):
            def on_read(self, line: T) -> None:
                super().on_read(line)

        assert answer(Typed, b"a\n") == b"A\n"
        assert answer(Typed[bytes].__origin__, b"a\n") == b"A\n"

    def test_an_abstract_subclass(self, answer):
        class Abstract(Upper, abc.ABC):
            @abc.abstractmethod
            def sign(self): ...

            def on_read(self, line):
                super().on_read(line + self.sign())

        class Concrete(Abstract):
            def sign(self):
                return b"?"

        assert answer(Concrete, b"a\n") == b"A?\n"

    def test_a_dataclass(self, answer):
        @dataclasses.dataclass(eq=False)
        class Counter(Upper):
            lines: list[bytes] = dataclasses.field(default_factory=list)

            def on_read(self, line):
                self.lines.append(line)
                self.send(b"%d" % len(self.lines))

        assert answer(Counter, b"a\nb\n") == b"1\n2\n"

    def test_init_subclass_and_class_keywords(self, answer):
        class Registered(Upper):
            known: ClassVar[list[Any]] = []

            def __init_subclass__(cls, sign=b"", **kwargs):
                super().__init_subclass__(**kwargs)
                cls.sign = sign
                Registered.known.append(cls)

            def on_read(self, line):
                super().on_read(line + self.sign)

        class Signed(Registered, sign=b"!"): ...

        assert answer(Signed, b"a\n") == b"A!\n"
        assert Signed in Registered.known

    def test_an_async_override(self, answer):
        class Slow(Upper):
            async def on_read(self, line):
                await asyncio.sleep(0)
                await self.send(line + b"~")

        assert answer(Slow, b"a\nb\n") == b"a~\nb~\n"

    def test_methods_of_ours_overridden_are_those_that_are_called(self, answer):
        calls = []

        class Watched(Upper):
            def on_read(self, line):
                super().on_read(line)
                self.close()

            def write(self, data):
                calls.append("write")
                super().write(data)

            def send(self, message):
                calls.append("send")
                return super().send(message)

            def close(self):
                calls.append("close")
                super().close()

        assert answer(Watched, b"a\n") == b"A\n"
        assert calls == ["send", "write", "close"]

    def test_an_overridden_write_has_the_bytes_of_send(self, answer):
        class Wrapped(Upper):
            def write(self, data):
                super().write(b"<" + data + b">")

        assert answer(Wrapped, b"a\n") == b"<A\n>"

    def test_a_subclass_may_say_itself_how_it_is_copied_and_pickled(self):
        class Reduced(Upper):
            def __reduce__(self):
                return str, ("a name",)

        class Copied(Upper):
            def __copy__(self):
                return "a copy"

        connection = wire(Reduced).connection
        assert copy.copy(connection) == pickle.loads(pickle.dumps(connection)) == "a name"
        assert copy.copy(wire(Copied).connection) == "a copy"

    def test_it_is_an_asyncio_protocol(self):
        assert issubclass(trews.Connection, asyncio.Protocol)
        assert isinstance(wire(Upper).connection, asyncio.Protocol)


class TestCallbacksThatAreNoMethods:
    def test_rebound_on_the_instance(self, answer):
        class Steps(trews.Connection):
            framer = b"\n"

            def on_read(self, name):
                self.name = name
                self.on_read = self.echo

            def echo(self, line):
                self.send(self.name + b":" + line)

        assert answer(Steps, b"ann\na\nb\n") == b"ann:a\nann:b\n"

    def test_rebound_before_the_first_message(self, answer):
        class Steps(trews.Connection):
            framer = b"\n"

            def on_connect(self):
                self.on_read = self.send

        assert answer(Steps, b"a\nb\n") == b"a\nb\n"

    def test_rebound_and_let_go_of(self, answer):
        class Once(Upper):
            def on_connect(self):
                self.on_read = self.on_first

            def on_first(self, line):
                self.send(b"first")
                del self.on_read

        assert answer(Once, b"a\nb\n") == b"first\nB\n"

    def test_rebound_from_outside(self):
        w = wire(Upper).feed(b"a\n")
        seen = []
        w.connection.on_read = seen.append
        w.feed(b"b\n")
        assert (w.sent(), seen) == (b"A\n", [b"b"])

    def test_on_close_rebound(self):
        seen = []
        w = wire(Upper)
        w.connection.on_close = seen.append
        w.eof()
        assert [type(reason) for reason in seen] == [trews.ClosedByPeer]

    def test_a_partial_method(self, answer):
        class Signed(trews.Connection):
            framer = b"\n"

            def signed(self, sign, line):
                self.send(line + sign)

            on_read = functools.partialmethod(signed, b"!")

        assert answer(Signed, b"a\n") == b"a!\n"

    def test_a_static_method_and_a_class_method(self):
        seen = []

        class Static(trews.Connection):
            framer = b"\n"

            @staticmethod
            def on_read(line):
                seen.append(line)

            @classmethod
            def on_close(cls, reason):
                seen.append(cls.__name__)

        wire(Static).feed(b"a\n").eof()
        assert seen == [b"a", "Static"]

    def test_a_callable_object(self, answer):
        class Handler:
            def __get__(self, connection, owner=None):
                return self if connection is None else functools.partial(self, connection)

            def __call__(self, connection, line):
                connection.send(line * 2)

        class With(trews.Connection):
            framer = b"\n"
            on_read = Handler()

        assert answer(With, b"a\n") == b"aa\n"

    def test_a_mock(self):
        w = wire(Upper)
        w.connection.on_read = mock.Mock(return_value=None)
        w.feed(b"a\nb\n")
        assert w.connection.on_read.call_args_list == [mock.call(b"a"), mock.call(b"b")]


class TestFramers:
    def test_a_subclass_of_framer_and_decoder(self, answer):
        assert answer(Upper, b"abcd", framer=Fixed()) == b"ABCD"

    def test_a_subclass_of_that(self, answer):
        class Three(Fixed):
            size = 3

        assert answer(Upper, b"abcdef", framer=Three()) == b"ABCDEF"

    def test_a_framer_and_a_decoder_that_inherit_nothing(self, answer):
        class Bare:
            def decoder(self):
                return self

            def decode(self, buffer, scanned):
                return (bytes(buffer[:1]), 1) if buffer else 1

            def eof(self, buffer):
                return None

            def encode(self, message):
                return message + b"."

        assert answer(Upper, b"ab", framer=Bare()) == b"A.B."

    def test_a_subclass_of_one_of_ours(self, answer):
        class Stripped(Line):
            def encode(self, message):
                return super().encode(message.strip())

        assert answer(Upper, b" a \n", framer=Stripped(encoding="utf-8")) == b"A\r\n"

    def test_the_decoder_of_one_of_ours_wrapped(self, answer):
        class Reversed(Decoder):
            def __init__(self):
                self.inner = Line().decoder()

            def decode(self, buffer, scanned):
                self.inner.limit = self.limit
                result = self.inner.decode(buffer, scanned)
                return (result[0][::-1], result[1]) if isinstance(result, tuple) else result

        class Framing(Framer):
            def decoder(self):
                return Reversed()

            def encode(self, message):
                return message + b"\n"

        assert answer(Upper, b"abc\nde\n", framer=Framing()) == b"CBA\nED\n"


class TestServers:
    def test_a_subclass_with_state_and_callbacks(self):
        seen = []

        class Room(trews.Server):
            def __init__(self, *args, **kwargs):
                super().__init__(*args, **kwargs)
                self.topic = b"news"

            def on_accept(self, conn):
                seen.append("accept")
                return super().on_accept(conn)

            async def on_start(self):
                seen.append("start")

            def on_stop(self):
                seen.append("stop")

        class Member(trews.Connection):
            framer = b"\n"

            def on_connect(self):
                self.send(self.server.topic)
                self.close()

        async def main():
            async with Room(Member).listen("tcp:127.0.0.1:0") as server:
                conn = await trews.connect(server.endpoints[0], framer=b"\n")
                assert await conn.read(timeout=20) == b"news"
                await conn.wait_closed()

        trews.run(main())
        assert seen == ["start", "accept", "stop"]

    def test_callbacks_rebound_on_the_instance(self):
        errors = []

        class Broken(trews.Connection):
            def on_connect(self):
                raise ZeroDivisionError

        async def main():
            server = trews.Server(Broken)
            server.on_error = lambda conn, exc: errors.append(type(exc))
            async with server.listen("tcp:127.0.0.1:0"):
                conn = await trews.connect(server.endpoints[0])
                await conn.wait_closed()

        trews.run(main())
        assert errors == [ZeroDivisionError]

    def test_a_subclass_of_the_loop(self):
        class Loop(trews.EventLoop):
            turns = 0

            def call_soon(self, *args, **kwargs):
                self.turns += 1
                return super().call_soon(*args, **kwargs)

        async def main():
            return asyncio.get_running_loop().turns

        with asyncio.Runner(loop_factory=Loop) as runner:
            assert runner.run(main()) > 0

"""wire: one connection, and the test is its peer."""

import asyncio

import pytest

import trews
from trews import Connection, http
from trews.framing import Line
from trews.testing import run, wire


class Echo(Connection):
    def on_read(self, message):
        self.send(message)


class Noting(Connection):
    def __init__(self):
        self.reads = []

    def on_read(self, message):
        self.reads.append(message)


async def shout(conn):
    async for line in conn:
        await conn.send(line.upper())
    await conn.send("bye")


def test_what_is_fed_is_read_and_what_is_written_is_sent():
    with wire(Echo) as w:
        assert w.sent() == b""
        assert w.feed(b"hi").sent() == b"hi"
        assert w.sent() == b""
        assert not w.closed


@pytest.mark.parametrize(
    ("chunk", "reads"),
    [(None, [b"abcde"]), (1, [b"a", b"b", b"c", b"d", b"e"]), (2, [b"ab", b"cd", b"e"]), (9, [b"abcde"])],
)
def test_chunks_are_what_arrives_at_once(chunk, reads):
    with wire(Noting) as w:
        w.feed(b"abcde", chunk=chunk)
        assert w.connection.reads == reads


def test_more_than_the_wire_holds_goes_through():
    with wire(Echo, capacity=1000) as w:
        data = bytes(range(256)) * 1000
        assert w.feed(data).sent() == data


def test_feeding_a_connection_that_does_not_read_says_so():
    with wire(Noting, capacity=1000) as w:
        w.connection.pause_reading()
        with pytest.raises(BufferError, match="does not read"):
            w.feed(bytes(5000))


@pytest.mark.parametrize("data", [bytearray(b"abc"), memoryview(b"abc")])
def test_bytes_of_all_kinds_may_be_fed(data):
    with wire(Noting) as w:
        assert w.feed(data, chunk=2).connection.reads == [b"ab", b"c"]


@pytest.mark.parametrize(("data", "name"), [("text", "str"), (3, "int"), (None, "NoneType"), ([b"x"], "list")])
def test_feeding_what_is_not_bytes_says_so(data, name):
    with wire(Noting) as w:
        with pytest.raises(TypeError, match=rf"^feed\(\) takes bytes, bytearray or memoryview, not {name}"):
            w.feed(data)
        assert w.feed(b"x").connection.reads == [b"x"]


@pytest.mark.parametrize("end", ["eof", "reset", "end"])
def test_feeding_after_the_end_was_fed_says_so(end):
    with wire(Noting, half_close=True) as w:
        getattr(w, end)()
        with pytest.raises(trews.Error, match=r"^the peer sends no more after its eof\(\), reset\(\) or end\(\)$"):
            w.feed(b"x")
        assert w.connection.reads == []


@pytest.mark.parametrize(
    ("handler", "says"),
    [
        (5, "a handler is a Connection subclass or an async function of a connection, not 5"),
        (None, "not None"),
        (Noting(), "give the class Noting, not an instance"),
        (dict, "dict is not a subclass of trews.Connection"),
        (lambda: None, "is called with one argument, the connection"),
    ],
)
def test_what_is_no_handler_is_refused_in_a_sentence(handler, says):
    with pytest.raises(TypeError, match=says):
        wire(handler)


@pytest.mark.parametrize("server", [trews.Server, "memory:a", Noting])
def test_what_is_no_server_is_refused_in_a_sentence(server):
    with pytest.raises(TypeError, match=r"^server= takes a trews.Server, made with its handler, not "):
        wire(Noting, server=server)


def test_settings_and_server_are_as_with_a_server():
    server = trews.Server(Noting)
    with wire(Noting, framer=Line(), server=server) as w:
        assert w.feed(b"a\nb").connection.reads == [b"a"]
        assert w.connection.server is server
        assert list(server.connections) == [w.connection]


async def listens(conn):
    async for message in conn:
        conn.server.heard.append(message)


@pytest.mark.parametrize("handler", [Noting, listens])
def test_the_settings_of_the_server_apply(handler):
    class Room(trews.Server):
        def __init__(self):
            super().__init__(handler, framer=Line(), max_message=4, idle_timeout=30)
            self.heard = []

    with wire(handler, server=Room()) as w:
        w.feed(b"abcd\n").advance(29)
        assert w.connection.server.heard == ([b"abcd"] if handler is listens else [])
        assert not w.closed
        w.feed(b"abcde")
        assert isinstance(w.reason, trews.MessageTooLong)
    with wire(handler, server=Room(), max_message=5) as w:
        w.feed(b"abcde\n").advance(31)
        assert isinstance(w.reason, trews.IdleTooLong)


def test_a_server_may_stand_for_its_handler():
    server = trews.Server(Noting, framer=Line())
    with wire(server) as w:
        w.feed(b"a\nb")
        assert w.connection.server is server
        assert isinstance(w.connection, Noting)
        assert w.connection.framer == Line()
    with wire(http.Server(lambda request: 1 / 0)) as w:  # whose on_error is no user's
        with pytest.raises(ZeroDivisionError):
            w.feed(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert w.sent().startswith(b"HTTP/1.1 500 ")


def test_a_server_of_something_else_lends_no_settings():
    class Other(Noting):
        pass

    with wire(Noting, server=trews.Server(Other, framer=1)) as w:
        assert type(w.connection) is Noting
        assert w.feed(b"abc").connection.reads == [b"abc"]


def test_the_end_reaches_the_connection_and_its_answer_the_test():
    with wire(shout, framer=Line(encoding="utf-8")) as w:
        w.feed(b"hi\nyou").eof()
        assert w.sent() == b"HI\r\nYOU\r\nbye\r\n"
        assert w.closed
        assert not w.was_reset


def test_a_reset_is_a_reset():
    with wire(Noting) as w:
        w.reset()
        assert isinstance(w.reason, trews.ConnectionReset)
        assert w.connection.is_closed


@pytest.mark.parametrize(("end", "is_reset"), [("close", False), ("abort", True)])
def test_the_connections_own_end_is_seen(end, is_reset):
    with wire(Noting) as w:
        assert w.reason is None
        getattr(w.connection, end)()
        w.settle()
        assert w.closed
        assert w.was_reset is is_reset


def test_what_is_fed_after_the_end_is_lost():
    with wire(Noting) as w:
        w.connection.abort()
        w.feed(b"x")
        assert w.connection.reads == []


def test_a_clogged_peer_takes_nothing_until_it_is_unclogged():
    with wire(Noting, capacity=1000) as w:
        w.clog()
        w.connection.write(bytes(5000))
        assert w.sent() == b""
        assert w.unclog().sent() == bytes(5000)


def test_time_is_the_tests():
    with wire(Noting, idle_timeout=30) as w:
        w.advance(29).feed(b"x").advance(29)
        assert not w.closed
        w.advance(2)
        assert w.closed
        assert isinstance(w.reason, trews.IdleTooLong)


def test_timers_and_sleeps_run_on_its_time():
    async def late(conn):
        trews.after(5, conn.write, b"timer ")
        await asyncio.sleep(10)
        await conn.send(b"slept")

    with wire(late) as w:
        assert w.advance(4).sent() == b""
        assert w.advance(2).sent() == b"timer "
        assert w.advance(5).sent() == b"slept"
        assert w.closed


def test_async_callbacks_timeouts_and_task_groups_work():
    class Slow(Connection):
        framer = Line()

        async def on_read(self, message):
            async with asyncio.timeout(60), asyncio.TaskGroup() as group:
                group.create_task(asyncio.sleep(10))
            self.send(message)

    with wire(Slow) as w:
        w.feed(b"a\nb\n")
        assert w.sent() == b""
        assert w.advance(10).sent() == b"a\r\n"
        assert w.advance(10).sent() == b"b\r\n"


def test_it_works_inside_a_running_loop():
    async def main():
        outer = asyncio.get_running_loop()
        with wire(shout, framer=Line(encoding="utf-8")) as w:
            assert w.feed(b"hi\n").sent() == b"HI\r\n"
            assert w.loop is not outer
            w.advance(3600)
        assert asyncio.get_running_loop() is outer
        await asyncio.sleep(0)

    run(main())
    asyncio.run(main())


def test_wires_are_apart():
    with wire(Echo) as one, wire(Echo) as other:
        one.feed(b"1")
        other.feed(b"2")
        assert (one.sent(), other.sent()) == (b"1", b"2")


def test_it_need_not_be_ended():
    w = wire(shout, framer=Line(encoding="utf-8"))
    w.feed(b"hi\n")
    assert "shout" in repr(w)
    del w  # the leak check looks


def test_ending_it_tells_the_connection():
    reasons = []

    class Ending(Connection):
        def on_close(self, reason):
            reasons.append(type(reason))

    w = wire(Ending)
    w.end()
    w.end()
    assert reasons == [trews.Aborted]


# -- errors of the code under test


class Failing(Connection):
    """Fails where it is told to."""

    where = "on_read"
    framer = Line(encoding="ascii")

    def fail(self, where):
        if self.where == where:
            raise ZeroDivisionError(where)

    def on_connect(self):
        self.fail("on_connect")

    def on_read(self, message):
        self.fail("on_read")
        if message == "spawn":
            self.spawn(self.later("spawned"))

    async def on_eof(self):
        await self.later("on_eof")

    async def later(self, where):
        await asyncio.sleep(1)
        self.fail(where)

    def on_close(self, reason):
        self.fail("on_close")


def failing(where):
    return wire(type("Failing", (Failing,), {"where": where}))


@pytest.mark.parametrize(
    ("call", "args"),
    [("feed", [b"x"]), ("advance", [1]), *((name, []) for name in ("sent", "eof", "reset", "unclog", "settle", "end"))],
)
def test_an_error_of_a_callback_is_raised_by_the_next_call_whichever_it_is(call, args):
    w = failing("on_connect")
    assert isinstance(w.error, ZeroDivisionError)
    with pytest.raises(ZeroDivisionError, match=r"^on_connect$") as caught:
        getattr(w, call)(*args)
    assert caught.value is w.error
    assert "fail" in [entry.name for entry in caught.traceback]
    assert w.was_reset
    assert isinstance(w.reason, trews.Aborted)
    w.end()  # it is raised once


@pytest.mark.parametrize(
    ("where", "last"),
    [
        ("on_read", lambda w: w.feed(b"a\nb\n")),
        ("on_eof", lambda w: w.eof().advance(1)),
        ("spawned", lambda w: w.feed(b"spawn\n").advance(1)),
        ("on_close", lambda w: w.reset()),
        ("on_close", lambda w: w.end()),
    ],
)
def test_errors_of_all_of_its_code_are_raised(where, last):
    with failing(where) as w:
        assert w.error is None
        with pytest.raises(ZeroDivisionError, match=f"^{where}$"):
            last(w)


def test_feeding_stops_where_it_failed():
    with failing("on_read") as w:
        with pytest.raises(ZeroDivisionError):
            w.feed(b"a\nb\n" * 1000, chunk=1)
        assert w.connection.bytes_in == 2


def test_the_end_of_the_block_raises_it_unless_the_block_failed():
    with pytest.raises(ZeroDivisionError, match="on_connect"), failing("on_connect"):
        pass
    with pytest.raises(KeyError), failing("on_connect"):
        raise KeyError


def test_a_handler_that_fails_is_told():
    async def handler(conn):
        async with asyncio.TaskGroup() as group:
            group.create_task(conn.read())
            raise ZeroDivisionError

    with pytest.raises(ExceptionGroup) as caught:
        wire(handler).settle()
    assert isinstance(caught.value.exceptions[0], ZeroDivisionError)


@pytest.mark.parametrize("exc", [SystemExit, KeyboardInterrupt])
def test_what_ends_the_program_is_raised_once(exc):
    async def handler(conn):
        raise exc

    with pytest.raises(exc):
        wire(handler)

    async def later(conn):
        await conn.read()
        raise exc

    with wire(later) as w:
        with pytest.raises(exc):
            w.feed(b"x")
        assert w.sent() == b""


def test_the_peers_faults_are_no_errors_of_the_code():
    async def reads(conn):
        await conn.read()

    with wire(reads, framer=4) as w:
        w.feed(b"abc").eof()
        assert w.error is None
        assert w.closed


@pytest.mark.parametrize("is_rebound", [False, True])
def test_a_class_with_its_own_on_error_sees_to_it_itself(is_rebound):
    class Own(Failing):
        def __init__(self):
            self.told = []
            if is_rebound:
                self.on_error = self.told.append

    if not is_rebound:
        Own.on_error = lambda self, exc: self.told.append(exc)
    with wire(Own) as w:
        w.feed(b"a\n")
        assert w.connection.told == [w.error]
        assert isinstance(w.error, ZeroDivisionError)
        assert w.was_reset


def test_a_server_with_its_own_on_error_sees_to_it_itself():
    class Room(trews.Server):
        def on_error(self, connection, exc):
            self.told = connection, exc

    server = Room(Failing)
    with wire(Failing, server=server) as w:
        w.feed(b"a\n")
        assert server.told == (w.connection, w.error)
    with wire(Failing, server=trews.Server(Failing)) as w, pytest.raises(ZeroDivisionError):
        w.feed(b"a\n")

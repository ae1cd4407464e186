"""`Client`: what users call and write; how it keeps its connection is in test_keeper.py."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import trews
from tests.clients import LINES, Board, serve
from tests.servers import NAME, Echo, virtually
from trews import Client, ConnectionClosed
from trews.framing import JSONLines, Line

# -- sending


@virtually
async def test_without_a_queue_sending_while_it_is_down_is_refused_with_the_reason():
    async with Client(NAME) as client:
        with pytest.raises(
            ConnectionClosed, match="the message was not sent: cannot connect to memory:here: no server"
        ):
            client.send(b"x")
        async with serve():
            conn = await client.connected()
            await client.send(b"x")
            await conn.read()
        with pytest.raises(
            ConnectionClosed, match="not sent: the connection to memory:here has ended: the peer closed"
        ):
            client.send(b"x")


@virtually
async def test_a_queue_keeps_so_many_messages_and_sends_them_in_order():
    server = Board()
    client = Client(NAME, framer=LINES, queue=3)
    client.send("before start")
    async with client:
        await client.send("while down")
        client.send("too")
        with pytest.raises(ConnectionClosed, match="not sent, for 3 wait already: cannot connect"):
            client.send("one more")
        async with serve(server):
            await client.connected()
            client.send("up")
            await client.stop()
    assert server.got == ["before start", "while down", "too", "up"]


@virtually
async def test_what_on_up_sends_comes_first_and_others_wait_for_its_end():
    class Login(Client):
        async def on_up(self, connection):
            connection.send("user")
            await asyncio.sleep(1)
            self.send("password")

    server = Board()
    async with Login(NAME, framer=LINES, queue=10) as client:
        client.send("kept")
        async with serve(server):
            await asyncio.sleep(1.2)
            assert server.got == ["user"]
            assert client.connection is None
            client.send("meanwhile")
            await client.connected()
            client.send("after")
            await client.stop()
    assert server.got == ["user", "password", "kept", "meanwhile", "after"]


@virtually
async def test_without_a_queue_others_are_refused_until_on_up_has_returned():
    class Login(Client):
        async def on_up(self, connection):
            assert await self.connected() is connection is self.connection
            await asyncio.sleep(1)

    async with serve(), Login(NAME) as client:
        await asyncio.sleep(0.5)
        with pytest.raises(ConnectionClosed, match="not connected to memory:here yet"):
            client.send(b"x")
        await client.connected()
        client.send(b"x")


@virtually
async def test_from_a_plain_on_up_on_everything_can_be_sent():
    up = asyncio.Event()
    sent = []

    async def wait():
        await up.wait()
        sent.append(client.send(b"x"))

    async with serve():
        client = Client(NAME)
        client.on_up = lambda connection: up.set()
        async with client, asyncio.TaskGroup() as group:
            group.create_task(wait())
            await client.connected()
    assert len(sent) == 1


@virtually
async def test_much_that_was_kept_waits_for_a_slow_peer_and_keeps_its_order():
    piece = b"x" * 100_000
    got = bytearray()

    class Slow(trews.Connection):
        async def on_read(self, data):
            await asyncio.sleep(0.01)
            got.extend(data)

    async with Client(NAME, queue=300) as client:
        for _ in range(299):
            client.send(piece)  # more than write_limit
        async with serve(Slow):
            while not got:
                await asyncio.sleep(0.01)
            assert client.connection is None
            client.send(b"last")
            conn = await client.connected()
            assert conn.is_open
            await client.stop(1000)
            while len(got) < 29_900_004:
                await asyncio.sleep(0.01)
    assert got == piece * 299 + b"last"


@virtually
async def test_what_was_kept_and_cannot_be_encoded_is_logged_and_left_out(caplog):
    server = Board()
    async with Client(NAME, framer=LINES, queue=3) as client:
        client.send("one")
        client.send(b"two")
        client.send("three")
        async with serve(server):
            await client.connected()
            await client.stop()
    assert server.got == ["one", "three"]
    assert "a message that was kept cannot be sent: b'two'" in caplog.text


@virtually
async def test_what_is_kept_may_be_changed_afterwards_if_it_is_bytes():
    server = Board()
    buffer = bytearray(b"as it was")
    async with Client(NAME, framer=Line(), queue=3) as client:
        client.send(buffer)
        buffer[:] = b"other"
        async with serve(server):
            await client.connected()
            await client.stop()
    assert server.got == ["as it was"]


@virtually
async def test_what_is_still_kept_at_the_end_is_lost_with_a_line_in_the_log(caplog):
    async with Client(NAME, queue=3) as client:
        client.send(b"x")
        client.send(b"y")
    assert "2 messages that were kept were never sent" in caplog.text
    with pytest.raises(ConnectionClosed, match="not sent: <Client stopped down memory:here> is stopped"):
        client.send(b"z")


@virtually
async def test_what_cannot_be_encoded_is_raised_at_once_while_it_is_up():
    async with serve(), Client(NAME, framer=JSONLines(), queue=3) as client:
        await client.connected()
        with pytest.raises(TypeError):
            client.send(object())


# -- wrong use


@virtually
async def test_starting_twice_is_refused():
    async with Client(NAME) as client:
        with pytest.raises(trews.Error, match=r"<Client down memory:here> was started before; make a new one"):
            await client.start()


@virtually
async def test_what_is_asked_before_start_says_so():
    client = Client(NAME)
    with pytest.raises(trews.Error, match=r"<Client new down memory:here> was not started; call start\(\) first"):
        await client.connected()
    with pytest.raises(
        ConnectionClosed, match="the message was not sent: <Client new down memory:here> was not started"
    ):
        client.send(b"x")


def test_another_loop_is_refused():
    with asyncio.Runner(loop_factory=trews.testing.VirtualLoop) as runner:
        client = runner.run(Client(NAME).start())

        async def elsewhere():
            for call in (client.connected, client.stop):
                with pytest.raises(trews.Error, match="was started in another loop, and can be used in that one only"):
                    await call()
            with pytest.raises(trews.Error, match="started before"):
                await client.start()

        trews.testing.run(elsewhere())

        async def stop():
            await client.stop()

        runner.run(stop())

    async def at_the_end():
        await client.stop()

    trews.testing.run(at_the_end())


@virtually
async def test_call_from_thread_finds_its_loop():
    async with serve(), Client(NAME) as client:
        conn = await client.connected()
        sent = await asyncio.to_thread(trews.call_from_thread, client.send, b"hello")
        assert await conn.read() == b"hello"
        assert sent.done()


AT_ONCE: list[tuple[str, Any, type[Exception], str]] = [
    ("a bad endpoint", lambda: Client("tcp:host:99999"), trews.EndpointError, "99999"),
    ("a slip", lambda: Client(NAME, framr=1), TypeError, "did you mean 'framer'"),
    ("a slip in its own", lambda: Client(NAME, queu=1), TypeError, "did you mean 'queue'"),
    ("a bad handler", lambda: Client(NAME, 3.5), TypeError, "Connection subclass"),  # type: ignore[call-overload]  # shown
    ("a bad value", lambda: Client(NAME, max_message=-1), ValueError, "max_message"),
    ("no number", lambda: Client(NAME, queue="7"), TypeError, "queue is a number of messages or None, not '7'"),  # type: ignore[call-overload]  # shown
    ("a truth", lambda: Client(NAME, queue=True), TypeError, "queue is a number of messages or None, not True"),
    ("no room", lambda: Client(NAME, queue=0), ValueError, "queue is a number of messages, 1 or more, or None"),
]


@pytest.mark.parametrize(("call", "error", "sentence"), [row[1:] for row in AT_ONCE], ids=[row[0] for row in AT_ONCE])
def test_what_is_written_wrongly_is_refused_where_it_is_written(call, error, sentence):
    with pytest.raises(error, match=sentence):
        call()


@pytest.mark.parametrize(
    ("args", "settings"),
    [
        (("localhost", 4040), {}),
        ((Echo, "localhost:4040"), {}),
        ((Echo,), {}),
        (("localhost",), {"port": 4040}),
    ],
)
def test_a_call_that_is_mixed_up_is_shown_the_right_one(args, settings):
    with pytest.raises(TypeError, match=r'trews\.Client\("localhost:4040", Echo\)'):
        Client(*args, **settings)


@pytest.mark.parametrize("endpoint", ["systemd:web", "tcp:localhost:80?via=https://proxy:1080"])
@virtually
async def test_an_endpoint_that_is_not_for_clients_is_refused_by_start(endpoint):
    client = Client(endpoint)
    with pytest.raises(trews.EndpointError):
        await client.start()
    await client.stop()


@virtually
async def test_a_forgotten_init_gets_a_sentence():
    class Forgetful(Client):
        def __init__(self): ...

    with pytest.raises(trews.Error, match=r"Forgetful\.__init__ must call super\(\)\.__init__\(endpoint\)"):
        await Forgetful().start()
    assert repr(Forgetful()) == "<Forgetful new down nowhere>"


class TestSubclasses:
    """A class body is looked at when it is executed, as a server's."""

    def test_settings_and_callbacks_of_connections_belong_there(self):
        with pytest.raises(TypeError, match=r"Mine\.on_read belongs on a Connection subclass$"):
            type("Mine", (Client,), {"on_read": lambda self, message: None})
        with pytest.raises(
            TypeError,
            match=r"Mine\.framer belongs on a Connection subclass, or is a keyword: Client\(..., framer=...\)",
        ):
            type("Mine", (Client,), {"framer": Line()})

    def test_arguments(self):
        with pytest.raises(TypeError, match=r"Mine\.on_up is called as on_up\(self, connection\)"):
            type("Mine", (Client,), {"on_up": lambda self: None})

    def test_names_of_trews(self):
        with pytest.raises(TypeError, match=r"Mine\._keeper is a name that trews uses itself"):
            type("Mine", (Client,), {"_keeper": None})
        with pytest.raises(TypeError, match=r"Mine\.connection is set by trews"):
            type("Mine", (Client,), {"connection": None})

    def test_its_own_setting(self):
        class Mine(Client):
            queue = 7

        assert Mine(NAME).queue == 7
        assert Mine(NAME, queue=8).queue == 8
        with pytest.raises(ValueError, match="queue"):
            type("Mine", (Client,), {"queue": -1})
        with pytest.raises(TypeError, match=r"Mine\.queu is not a setting; did you mean queue\?"):
            type("Mine", (Client,), {"queu": 1})

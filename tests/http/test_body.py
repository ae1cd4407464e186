"""Bodies as they come: what waits, who waits for it, and what becomes of the rest."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.http.serving import Noting, chunked, get, post, serve, statuses, told
from trews import http
from trews.http.body import SMALL, Body
from trews.http.head import Limits, scan_request


class Holder:
    """What a body asks of its connection."""

    max_body = 100_000
    max_trailers = 1000
    max_fields = 10

    def __init__(self) -> None:
        self.taken = 0

    def _body_taken(self) -> None:
        self.taken += 1


def body(length: int | None) -> Body:
    fields = {"Transfer-Encoding": "chunked"} if length is None else {"Content-Length": str(length)}
    head = scan_request(get("/", "POST", **fields), 0, Limits())
    assert head is not None
    holder: Any = Holder()
    return Body(holder, head)


def test_pieces_wait_until_they_are_taken() -> None:
    one = body(10)
    assert one.feed(b"xxabc", 2) == 5
    assert (one.size, one.total, one.rest, one.is_complete) == (3, 3, 7, False)
    assert one.take() == b"abc"
    assert (one.size, one.total) == (0, 3)
    assert one.feed(b"defghijKLM", 0) == 7
    assert one.is_complete
    assert one.take() == b"defghij"


@pytest.mark.parametrize("sizes", [[1] * 10_000, [SMALL - 1] * 10, [SMALL] * 10, [1, SMALL, 1, 1, SMALL, 1, 2, 3]])
def test_small_pieces_are_put_together(sizes: list[int]) -> None:
    one = body(sum(sizes))
    data = bytes(n % 251 for n in range(sum(sizes)))
    at = 0
    for size in sizes:
        one.feed(data[at : at + size], 0)
        at += size
    assert len(one._pieces) <= 3 + 2 * sum(sizes) // SMALL
    taken = one.take()
    assert type(taken) is bytes
    assert taken == data


def test_what_is_skipped_is_not_kept() -> None:
    one = body(None)
    one.feed(b"3\r\nabc\r\n", 0)
    one.skip()
    assert one.size == 0
    one.feed(b"4\r\ndefg\r\n0\r\n\r\n", 0)
    assert (one.size, one.skipped, one.is_complete) == (0, 4, True)


def test_a_body_that_has_failed_gives_what_had_come_first() -> None:
    got: list[Any] = []

    async def app(request: http.Request) -> Any:
        await asyncio.sleep(1)
        try:
            async for piece in request:
                got.append(piece)
        except http.BadMessage as exc:
            got.append(exc.status)
        with pytest.raises(http.BadMessage):
            await request.read()
        return 200

    w = serve(app)
    w.feed(get("/", "POST", Transfer_Encoding="chunked") + b"3\r\nabc\r\n")
    w.feed(b"no chunk\r\n").advance(1)
    assert got == [b"abc", 400]
    (answer,) = told(w)
    assert (answer.status, answer.fields["connection"]) == (200, "close")
    assert w.closed


def test_there_is_one_reader() -> None:
    async def app(request: http.Request) -> Any:
        other = asyncio.create_task(request.read())
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="another task reads"):
            await request.read()
        return await other

    w = serve(app)
    w.feed(post(b"abc")[:-1])
    w.feed(b"c")
    assert told(w)[0].body == b"abc"


def test_a_read_that_was_given_up_loses_nothing() -> None:
    async def app(request: http.Request) -> Any:
        for _ in range(3):
            try:
                await asyncio.wait_for(request.read(), 1)
            except TimeoutError:
                pass
        return await request.read()

    w = serve(app)
    w.feed(post(b"abcdef")[:-4])
    for byte in b"cdef":
        w.advance(1.5)
        w.feed(bytes([byte]))
    assert told(w)[0].body == b"abcdef"


def test_what_is_left_of_a_body_is_gone_with_the_answer() -> None:
    errors: list[str] = []

    async def app(request: http.Request) -> Any:
        if request.method == "GET":
            return "next"
        reading = asyncio.create_task(request.read())
        await asyncio.sleep(0)
        request.respond("early")
        for read in (reading, request.read()):
            with pytest.raises(RuntimeError) as raised:
                await read
            errors.append(str(raised.value))
        return None

    w = serve(app)
    w.feed(post(b"abcdef")[:-3])
    assert statuses(w) == [200]
    assert errors == ["the request is answered: what was left of its body is thrown away"] * 2
    w.feed(b"def" + get())
    assert statuses(w) == [200]


def test_a_body_that_has_come_may_be_read_after_the_answer() -> None:
    read: list[bytes] = []

    async def app(request: http.Request) -> None:
        request.respond("early")
        await asyncio.sleep(1)
        read.append(await request.read())

    w = serve(app)
    w.feed(post(b"abcdef") + get()).advance(1)
    assert statuses(w) == [200] * 2
    assert read == [b"abcdef", b""]


def test_a_lost_client_ends_who_waits_for_its_body() -> None:
    for kind in (post(b"abc")[:-1], chunked(b"abc")[:-1]):
        ended: list[str] = []

        async def app(request: http.Request) -> Any:
            try:
                return await request.read()
            except Exception as exc:
                ended.append(type(exc).__name__)  # noqa: B023
                raise

        w = serve(app, Noting)
        w.feed(kind)
        w.reset()
        assert ended == ["ConnectionReset"]
        assert w.connection.server.errors == []
        assert w.connection._is_ended

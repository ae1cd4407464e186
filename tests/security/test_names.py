"""What names and those who answer for them can do: fill no memory, take no threads, write no log, be nobody else."""

from __future__ import annotations

import asyncio
import socket
import threading

import pytest

import trews
from trews import ConnectError, ConnectTimedOut, Endpoint, EndpointError, ResolveError, Resolver, testing
from trews.testing import no_leaks
from trews.transport.lookups import MAX_THREADS
from trews.transport.resolver import MAX_ADDRESSES, MAX_CACHED

LEGACY = [
    "2130706433",
    "127.1",
    "0x7f.1",
    "0x7f000001",
    "017700000001",
    "010.0.0.1",
    "127.0.0.01",
    "1.2.3",
    "１２７.0.0.1",
]


@pytest.mark.parametrize("host", LEGACY)
def test_ssrf_legacy_forms_of_ipv4_are_no_addresses_wherever_they_come_from(host: str) -> None:
    """aiohttp 3.14.1: a list of allowed addresses is passed by a form that only the resolver understands."""

    class Saying(Resolver):
        async def look_up(self, name: str) -> list[str]:
            return [host]

    for text in (f"{host}:80", f"tcp:{host}:80", f"tcp:a:80?source={host}"):
        with pytest.raises(EndpointError):
            Endpoint.parse(text)
    with pytest.raises(EndpointError):
        testing.run(Resolver().resolve(host))
    with pytest.raises(ResolveError):
        testing.run(Saying().resolve("a.example"))
    with pytest.raises(ValueError, match="override"):
        Resolver(overrides={"a.example": host})


def test_cve_2026_34513_the_cache_of_names_is_bounded() -> None:
    class Known(Resolver):
        async def look_up(self, name: str) -> list[str]:
            return ["192.0.2.1"] * 1000

    async def main() -> None:
        resolver = Known(cache_seconds=1e9)
        for number in range(3 * MAX_CACHED):
            await resolver.resolve(f"h{number}.example")
        assert len(resolver._cache) == MAX_CACHED
        assert max(len(addresses) for _, addresses in resolver._cache.values()) <= MAX_ADDRESSES

    testing.run(main())


def test_names_that_hang_take_a_bounded_number_of_threads_and_the_loop_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()

    def hang(*args: object, **kwargs: object) -> None:
        go_on.wait(30)
        raise socket.gaierror(socket.EAI_AGAIN, "too late")

    def threads() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name == "trews-lookup"]

    async def attempt(number: int) -> None:
        with pytest.raises(ConnectTimedOut):
            await trews.connect(f"h{number}.example:80?timeout=0.2")

    async def main() -> None:
        server = trews.Server(trews.Connection)
        async with server.listen("127.0.0.1:0"), asyncio.TaskGroup() as group:
            for number in range(10 * MAX_THREADS):
                group.create_task(attempt(number))
            await asyncio.sleep(0)
            # An address needs no thread, and so none that is free.
            async with trews.connect(f"127.0.0.1:{server.port}"):
                assert len(threads()) <= MAX_THREADS
            assert await trews.in_thread(lambda: 42) == 42  # the executor is for others

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    try:
        with no_leaks():
            trews.run(main())
        assert len(threads()) <= MAX_THREADS
    finally:
        go_on.set()
        for thread in threads():
            thread.join(30)


def test_a_name_with_thousands_of_addresses_is_tried_at_some(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sockets that hang are open at the same time, so their number is what a zone's owner chooses otherwise."""
    tried: list[str] = []

    class Many(Resolver):
        async def look_up(self, name: str) -> list[str]:
            return [f"127.1.{number // 256}.{number % 256}" for number in range(5000)]

    async def main() -> None:
        loop = asyncio.get_running_loop()

        async def sock_connect(sock: socket.socket, address: tuple[str, int]) -> None:
            tried.append(address[0])
            await loop.create_future()

        monkeypatch.setattr(loop, "sock_connect", sock_connect)
        with pytest.raises(ConnectError) as caught:
            await trews.connect("many.example:80", resolver=Many())
        assert len(tried) == len(caught.value.attempts) == MAX_ADDRESSES

    with no_leaks():
        testing.run(main())


def test_a_name_in_dns_writes_one_plain_line(monkeypatch: pytest.MonkeyPatch) -> None:
    evil = "\n\x1b[31mERROR:root:all is lost"
    monkeypatch.setattr(socket, "getnameinfo", lambda *args: (evil, "0"))
    with pytest.raises(ResolveError) as caught:
        trews.run(Resolver().name_of("192.0.2.1"))
    assert str(caught.value).isprintable()

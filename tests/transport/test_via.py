"""Connecting through proxies: what is said, byte for byte; deadlines, errors, and not one byte too many taken."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import threading
from base64 import b64encode
from typing import Any

import pytest

from tests.clients import LOOPS
from trews import ConnectError, ConnectTimedOut, Endpoint, EndpointError, testing
from trews.testing import no_leaks
from trews.transport import via
from trews.transport.connector import open_stream
from trews.transport.via import AHEAD, MAX_HEAD, Proxy, Refused, connect, open_via, socks5, target_host

BEHIND = b"220 the target speaks first\r\n\r\n"
GRANTED = b"\5\0\0\1\x7f\0\0\1\x1f\x90"


def play(dialogue, answer, ahead=lambda: 10_000, chunk=10_000):
    """Answer a dialogue with these bytes; `ahead` is how many a look shows. Returns what was said, and what is left."""
    sent, position = [], 0
    try:
        data, wanted = next(dialogue)
        while True:
            sent.append(data)
            if wanted == AHEAD:
                got = answer[position : position + min(ahead(), chunk)]
            else:
                got = answer[position : position + wanted]
                assert len(got) == wanted, "it waits for more"
                position += wanted
            data, wanted = dialogue.send(got)
    except StopIteration:
        return b"".join(sent), answer[position:]


SOCKS = [
    ("no password", None, b"", b"\5\0" + GRANTED, b"\5\1\0"),
    ("password not asked for", b"ann", b"x", b"\5\0" + GRANTED, b"\5\2\0\2"),
    ("password", b"ann", b"s:e", b"\5\2\1\0" + GRANTED, b"\5\2\0\2\1\3ann\3s:e"),
    ("empty password", b"ann", b"", b"\5\2\1\0" + GRANTED, b"\5\2\0\2\1\3ann\0"),
    ("answers with IPv6", None, b"", b"\5\0\5\0\0\4" + bytes(18), b"\5\1\0"),
    ("answers with a name", None, b"", b"\5\0\5\0\0\3\4host\0\x50", b"\5\1\0"),
    ("answers with an empty name", None, b"", b"\5\0\5\0\0\3\0\0\x50", b"\5\1\0"),
]


@pytest.mark.parametrize(("user", "password", "answer", "begins"), [c[1:] for c in SOCKS], ids=[c[0] for c in SOCKS])
def test_socks5_takes_its_answer_and_nothing_behind_it(user, password, answer, begins):
    sent, left = play(socks5("192.0.2.1", 80, user, password), answer + BEHIND)
    assert left == BEHIND
    assert sent == begins + b"\5\1\0\1\xc0\0\2\1\0\x50"


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("192.0.2.1", b"\1\xc0\0\2\1"),
        ("2001:db8::1", b"\4\x20\1\x0d\xb8" + bytes(11) + b"\1"),
        ("example.org", b"\3\x0bexample.org"),
        ("x" * 255, b"\3\xff" + b"x" * 255),
    ],
)
def test_socks5_has_a_form_for_each_kind_of_address(host, address):
    assert play(socks5(host, 25, None, b""), b"\5\0" + GRANTED)[0] == b"\5\1\0\5\1\0" + address + b"\0\x19"


@pytest.mark.parametrize(
    ("user", "answer", "why"),
    [
        (None, b"HT", r"^it does not speak SOCKS5: b'HT'"),
        (None, b"\4\x5a", r"^it does not speak SOCKS5"),
        (None, b"\5\2", r"^it does not speak SOCKS5"),  # a method that was not offered
        (b"u", b"\5\1", r"^it does not speak SOCKS5"),
        (None, b"\5\xff", r"^it wants a user and a password: write socks5://user:password@host in via="),
        (b"u", b"\5\xff", r"^it does not take a user and a password"),
        (b"u", b"\5\2\1\1", r"^wrong user or password$"),
        (b"u", b"\5\2\5\0", r"^it does not speak SOCKS5"),
        (None, b"\5\0\5\1", r"^it failed without saying why"),
        (None, b"\5\0\5\2", r"^its rules do not allow this target"),
        (None, b"\5\0\5\3", r"^it cannot reach the network"),
        (None, b"\5\0\5\4", r"^it cannot reach 192\.0\.2\.1:80$"),
        (None, b"\5\0\5\5", r"^the target refused the connection"),
        (None, b"\5\0\5\6", r"^it got no answer from the target"),
        (None, b"\5\0\5\7", r"^it does not do CONNECT"),
        (None, b"\5\0\5\x08", r"^it does not know this kind of address"),
        (None, b"\5\0\5\x63", r"^it failed with the unknown code 99"),
        (None, b"\5\0\4\0", r"^it does not speak SOCKS5"),
        (None, b"\5\0\5\0\1\1", r"^it does not speak SOCKS5"),
        (None, b"\5\0\5\0\0\2", r"^it does not speak SOCKS5"),
    ],
)
def test_socks5_refusals_and_gibberish_are_a_sentence_each(user, answer, why):
    with pytest.raises(Refused, match=why):
        play(socks5("192.0.2.1", 80, user, b"p"), answer)


def test_a_name_that_the_proxy_cannot_look_up_or_reach_is_named():
    with pytest.raises(Refused, match=r"^it cannot look up or reach db\.example:80$"):
        play(socks5("db.example", 80, None, b""), b"\5\0\5\4")


OK = b"HTTP/1.1 200 OK\r\n\r\n"
HEADS = [
    OK,
    b"HTTP/1.0 200 Connection established\r\nProxy-Agent: x\r\nVia: 1.1 y\r\n\r\n",
    b"HTTP/1.1 204\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",  # §9.3.6: without a meaning here
    b"HTTP/1.1 299 \r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n" + OK,
]


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("chunk", [0, 1, 2, 3, 5, 10_000])
def test_connect_takes_the_head_of_the_answer_and_nothing_behind_it(head, chunk):
    sent, left = play(connect("example.org", 25, None, b""), head + BEHIND, chunk=chunk)
    assert left == BEHIND
    assert sent == b"CONNECT example.org:25 HTTP/1.1\r\nHost: example.org:25\r\n\r\n"


@pytest.mark.parametrize("head", HEADS)
def test_connect_whatever_the_splits(head):
    rng = random.Random(78)
    for _ in range(200):
        behind = rng.choice([b"", BEHIND, b"\r\n\r\n", b"\n"])
        assert play(connect("h", 1, None, b""), head + behind, ahead=lambda: rng.randrange(12))[1] == behind


def test_connect_brackets_ipv6_and_encodes_the_password():
    sent, _ = play(connect("2001:db8::1", 443, b"ann", "p:ä".encode()), OK)
    token = b64encode("ann:p:ä".encode()).decode()
    assert sent.decode() == (
        "CONNECT [2001:db8::1]:443 HTTP/1.1\r\nHost: [2001:db8::1]:443\r\n"
        f"Proxy-Authorization: Basic {token}\r\n\r\n"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("status", "user", "why"),
    [
        (407, None, r"^it wants a user and a password: write http://user:password@host in via= \(407\)$"),
        (407, b"u", r"^wrong user or password \(407\)$"),
        (403, None, r"^its rules do not allow this target \(403\)$"),
        (405, None, r"^it does not do CONNECT \(405\)$"),
        (400, None, r"^it does not do CONNECT \(400\)$"),
        (501, None, r"^it does not do CONNECT \(501\)$"),
        (502, None, r"^it cannot look up or reach h:1 \(502\)$"),
        (503, None, r"^it cannot look up or reach h:1 \(503\)$"),
        (504, None, r"^it cannot look up or reach h:1 \(504\)$"),
        (500, None, r"^it failed \(500\); perhaps it cannot look up or reach h:1$"),
        (302, None, r"^it answered with the status 302$"),
        (599, None, r"^it answered with the status 599$"),
    ],
)
def test_connect_refusals_are_a_sentence_each_without_the_proxys_own_words(status, user, why):
    answer = b"HTTP/1.1 %d \x1b[31mpassword hunter2\r\nContent-Length: 0\r\n\r\n" % status
    with pytest.raises(Refused, match=why):
        play(connect("h", 1, user, b"hunter2"), answer)


@pytest.mark.parametrize(
    "answer",
    [
        b"\5",
        b"220 smtp.example.org ESMTP\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 +20 OK\r\n\r\n",
        b"HTTP/1.1 600 OK\r\n\r\n",
        b"HTTP/1.1  200 OK\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\n\r\n",
        b"HTTP/1.1 200 OK\n\n",
        b"HTTP/1.1 200 OK\r\nA: b\n\r\n",
        b"HTTP/1.1\r\n\r\n",
        b"http/1.1 200 OK\r\n\r\n",
    ],
)
@pytest.mark.parametrize("chunk", [0, 1, 10_000])
def test_connect_gibberish_is_refused_when_it_shows(answer, chunk):
    with pytest.raises(Refused, match=r"^it does not speak HTTP: b"):
        play(connect("h", 1, None, b""), answer, chunk=chunk)


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 200 OK\r\nA: " + b"a" * MAX_HEAD, b"HTTP/1.1 100 C\r\n\r\n" * MAX_HEAD],
    ids=["one head", "provisional answers"],
)
@pytest.mark.parametrize("chunk", [1, 1000])
def test_connect_takes_a_bounded_answer(answer, chunk):
    with pytest.raises(Refused, match="longer than 16 KiB"):
        play(connect("h", 1, None, b""), answer, chunk=chunk)


# -- the URL and the target


def test_the_url_is_taken_apart_and_decoded():
    proxy = Proxy.parse("socks5h://ann:p%40s%3As%2F%C3%A4@[::1]:99")
    assert proxy == Proxy("socks5h", "::1", 99, b"ann", "p@s:s/ä".encode())
    assert proxy.shown == "the proxy socks5h://[::1]:99"
    assert "ann" not in repr(proxy)
    assert "p@s" not in repr(proxy)
    assert [Proxy.parse(f"{scheme}://host").port for scheme in ("socks5", "socks5h", "http")] == [1080, 1080, 80]
    assert Proxy.parse("http://ann@host:1/") == Proxy("http", "host", 1, b"ann", b"")


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("https://ann:secret@host:1", r"https:// in via= \(TLS to the proxy itself\) is not supported"),
        ("socks4://ann:secret@host:1", "via= takes socks5://, socks5h:// or http://, not socks4://"),
        ("socks5://ann:secret@host:0", "cannot have the port 0"),
        ("socks5://ann:secret@host:70000", "cannot have the port 70000"),
        ("socks5://ann:secret%zz@host", "must be written '%25'"),
        ("socks5://:secret@host", "the user of via= is empty"),
        ("socks5://ann:secret" + "x" * 255 + "@host", "at most 255 bytes"),
        ("http://ann%3A:secret@host", "cannot contain ':'"),
        ("http://ann:secret%0D%0AX:%201@host", "control characters"),
        ("http://ann%0A:secret@host", "control characters"),
        ("http://ann:secret%7F@host", "control characters"),
    ],
)
def test_a_proxy_that_is_none_is_refused_before_anything_is_opened_and_without_the_password(url, why):
    async def never(endpoint):
        raise AssertionError("opened")

    async def main():
        endpoint = Endpoint("tcp", "example.org", 80, options=(("via", url),))
        await open_via(endpoint, asyncio.get_running_loop(), never, 30)

    with pytest.raises(EndpointError, match=why) as caught:
        asyncio.run(main())
    assert "secret" not in str(caught.value)


def test_line_ends_in_a_user_of_socks5_are_bytes_like_others():
    proxy = Proxy.parse("socks5://a%0D%0A:b%00@host")
    assert (proxy.user, proxy.password) == (b"a\r\n", b"b\0")


@pytest.mark.parametrize(
    "host", ["a\r\nEvil: 1", "a b", "a:b", "", "x" * 256, "a\0", "::1%eth0", "ä" * 80, "a/b", "é\n"]
)
def test_a_host_that_would_break_the_request_is_refused(host):
    with pytest.raises(ValueError):
        target_host(host)


@pytest.mark.parametrize(
    ("host", "told"),
    [("example.org", "example.org"), ("0:0::1", "::1"), ("bücher.example", "xn--bcher-kva.example"), ("10.0.0.1",) * 2],
)
def test_a_host_as_the_proxy_is_told_it(host, told):
    assert target_host(host) == told


# -- on sockets


@contextlib.contextmanager
def scripted(*steps):
    """A proxy for one connection: takes so many bytes, or sends these, in turn; then holds on to the other's end."""
    heard = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def run():
            sock, _ = listener.accept()
            with sock:
                sock.settimeout(20)
                for step in steps:
                    if isinstance(step, bytes):
                        sock.sendall(step)
                    else:
                        heard.append(sock.recv(step, socket.MSG_WAITALL))
                if steps[-1] != b"":
                    with contextlib.suppress(ConnectionResetError):  # it was given up with an answer half read
                        while sock.recv(1000):
                            pass

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield listener.getsockname()[1], heard
        finally:
            thread.join()


@pytest.fixture(params=LOOPS)
def on_loop(request):
    def run(main):
        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            return runner.run(main)

    return run


async def opened(text):
    return await open_stream(Endpoint.parse(text), asyncio.get_running_loop())


CONNECT = len(b"CONNECT example.org:25 HTTP/1.1\r\nHost: example.org:25\r\n\r\n")
SPEAKS_FIRST: dict[str, tuple[Any, ...]] = {
    "socks5h": (3, b"\5\0", 18, GRANTED + BEHIND),
    "http": (CONNECT, OK + BEHIND),
    "http in pieces": (CONNECT, b"HTTP/1.1 2", b"00 OK\r", b"\n\r", b"\n" + BEHIND),
}


@pytest.mark.parametrize("kind", SPEAKS_FIRST)
def test_what_the_target_says_at_once_stays_in_the_socket(on_loop, kind):
    async def main(port):
        sock, address = await opened(f"tcp:example.org:25?via={kind.split()[0]}://127.0.0.1:{port}")
        with sock:
            assert address == ("127.0.0.1", port)
            assert not sock.getblocking()
            assert await asyncio.wait_for(asyncio.get_running_loop().sock_recv(sock, 1000), 20) == BEHIND

    with scripted(*SPEAKS_FIRST[kind]) as (port, _), no_leaks():
        on_loop(main(port))


@pytest.mark.parametrize(
    ("scheme", "steps", "why"),
    [
        ("socks5h", (3, b""), "it closed the connection instead of an answer"),
        ("socks5h", (3, b"\5\0", 18, b"\5\0\0", b""), "it closed the connection instead of an answer"),
        ("http", (10, b""), "it closed the connection|the peer broke the connection off"),
        ("http", (CONNECT, b"HTTP/1.1 200 OK\r\n", b""), "it closed the connection instead of an answer"),
        ("http", (CONNECT, b"220 smtp\r\n"), "it does not speak HTTP: b'2'"),
        ("socks5h", (3, b"HTTP/1.1 400 Bad Request\r\n\r\n"), "it does not speak SOCKS5: b'HT'"),
        ("socks5h", (3, b"\5\0", 18, b"\5\5"), "the target refused the connection"),
    ],
)
def test_a_proxy_that_does_not_do_it_is_one_sentence_with_both_names(on_loop, scheme, steps, why):
    with scripted(*steps) as (port, _), no_leaks():
        text = f"tcp:example.org:25?via={scheme}://127.0.0.1:{port}"
        prefix = rf"^cannot connect to {text.replace('?', '[?]')}: the proxy {scheme}://127.0.0.1:{port}: ({why})$"
        with pytest.raises(ConnectError, match=prefix):
            on_loop(opened(text))


def test_the_password_is_in_no_error(on_loop):
    with scripted(4, b"\5\2", 3 + 3 + 7, b"\1\1") as (port, heard), no_leaks():
        with pytest.raises(ConnectError, match="wrong user or password") as caught:
            on_loop(opened(f"tcp:example.org:25?via=socks5h://ann:hunter2@127.0.0.1:{port}"))
    assert heard[-1] == b"\1\3ann\7hunter2"
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in repr(caught.value)
    assert caught.value.__cause__ is None


def test_a_proxy_that_is_not_there(on_loop):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        with pytest.raises(ConnectError) as caught, no_leaks():
            on_loop(opened(f"tcp:example.org:25?via=http://ann:hunter2@127.0.0.1:{port}"))
    refused = "connection refused (is a server listening there?)"
    assert caught.value.attempts == ((f"the proxy http://127.0.0.1:{port}", refused),)
    assert "hunter2" not in str(caught.value)


# What a silent proxy has been told and has answered when it falls silent.
SILENCES: dict[str, list[tuple[bytes, ...]]] = {
    "socks5h": [(b"",), (b"\5",), (b"\5\0",), (b"\5\0", b"\5\0\0\1")],
    "http": [(b"",), (b"HTTP/1.1 200 OK\r\n",), (b"HTTP/1.1 100 Continue\r\n\r\n",)],
}


@pytest.mark.parametrize(("scheme", "said"), [(scheme, said) for scheme, all in SILENCES.items() for said in all])
@pytest.mark.parametrize(("query", "seconds"), [("", 30), ("&timeout=2.5", 2.5)], ids=["default", "as asked"])
def test_a_proxy_that_hangs_is_given_up_at_the_deadline(scheme, said, query, seconds):
    ours, theirs = socket.socketpair()

    async def open_tcp(endpoint):
        ours.setblocking(False)
        theirs.sendall(b"".join(said))
        return ours, None

    async def main():
        loop = asyncio.get_running_loop()
        begin = loop.time()
        endpoint = Endpoint.parse(f"tcp:example.org:25?via={scheme}://u:hunter2@proxy:1{query}")
        with pytest.raises(ConnectTimedOut) as caught:
            await open_via(endpoint, loop, open_tcp, endpoint.get("timeout") or 30)
        assert loop.time() == begin + seconds
        assert caught.value.attempts == ((f"the proxy {scheme}://proxy:1", f"no answer within {seconds:g} s"),)
        assert "hunter2" not in str(caught.value)

    with ours, theirs, no_leaks():
        testing.run(main())
        assert ours.fileno() == -1


def test_cancelling_closes_the_socket(on_loop):
    async def main(port, heard):
        task = asyncio.create_task(opened(f"tcp:example.org:25?via=socks5h://127.0.0.1:{port}"))
        while not heard:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with scripted(3) as (port, heard), no_leaks():
        on_loop(main(port, heard))


# -- names


@pytest.fixture
def names(monkeypatch):
    """What a name stands for here; names asked for are noted."""
    known, asked = {}, []
    really = socket.getaddrinfo

    def look_up(host, port, *args, **kwargs):
        if host not in known:
            return really(host, port, *args, **kwargs)
        asked.append(host)
        if not known[host]:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        families = [(socket.AF_INET6 if ":" in address else socket.AF_INET, address) for address in known[host]]
        return [(family, socket.SOCK_STREAM, 6, "", (address, port)) for family, address in families]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return known, asked


async def told(monkeypatch, scheme, *answers, text="tcp:service.test:80"):
    """The addresses that a proxy is asked for, when it answers the requests so."""
    requests = []

    def dialogue(proxy, host, port):
        requests.append((host, port))
        answer = answers[len(requests) - 1]
        if answer is not None:
            raise answer
        return
        yield

    async def open_tcp(endpoint):
        return socket.socket(), ("192.0.2.7", 1)

    monkeypatch.setattr(via, "dialogue", dialogue)
    loop = asyncio.get_running_loop()
    sock, address = await open_via(Endpoint.parse(f"{text}?via={scheme}://proxy:1"), loop, open_tcp, 30)
    sock.close()
    return requests, address


def test_socks5_looks_names_up_here_and_tries_every_address(monkeypatch, names):
    known, asked = names
    known["service.test"] = ["2001:db8::1", "192.0.2.1"]
    refused = Refused("it cannot reach the target", is_about_target=True)
    requests, address = asyncio.run(told(monkeypatch, "socks5", refused, None))
    assert requests == [("2001:db8::1", 80), ("192.0.2.1", 80)]
    assert address == ("192.0.2.7", 1)
    assert asked == ["service.test"]
    with pytest.raises(ConnectError) as caught:
        asyncio.run(told(monkeypatch, "socks5", refused, refused))
    assert [where for where, _ in caught.value.attempts] == [
        "the proxy socks5://proxy:1 to [2001:db8::1]:80",
        "the proxy socks5://proxy:1 to 192.0.2.1:80",
    ]


def test_what_is_not_about_the_target_is_not_tried_again(monkeypatch, names):
    names[0]["service.test"] = ["2001:db8::1", "192.0.2.1"]
    with pytest.raises(ConnectError) as caught:
        asyncio.run(told(monkeypatch, "socks5", Refused("wrong user or password"), None))
    assert len(caught.value.attempts) == 1


@pytest.mark.parametrize("scheme", ["socks5h", "http"])
def test_the_others_leave_names_to_the_proxy(monkeypatch, names, scheme):
    known, asked = names
    known["service.test"] = []
    assert asyncio.run(told(monkeypatch, scheme, None))[0] == [("service.test", 80)]
    assert asked == []


def test_addresses_are_told_as_they_are(monkeypatch, names):
    for text, host in (("tcp:192.0.2.1:80", "192.0.2.1"), ("tcp:[2001:db8::1]:80", "2001:db8::1")):
        for scheme in ("socks5", "socks5h", "http"):
            assert asyncio.run(told(monkeypatch, scheme, None, text=text))[0] == [(host, 80)]


def test_services_are_looked_up_here(monkeypatch):
    def look_up(host, port, *args, **kwargs):
        assert host is None
        if port != "smtp":
            raise socket.gaierror(socket.EAI_SERVICE, "Servname not supported")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 25))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    assert asyncio.run(told(monkeypatch, "http", None, text="tcp:service.test:smtp"))[0] == [("service.test", 25)]
    with pytest.raises(ConnectError, match="the service 'nonesuch' is not known"):
        asyncio.run(told(monkeypatch, "http", None, text="tcp:service.test:nonesuch"))


def test_a_name_that_is_not_known_here_says_what_would_look_it_up_there(monkeypatch, names):
    names[0]["service.test"] = []
    with pytest.raises(ConnectError, match=r"'service.test' is not known.*with socks5h:// the proxy looks it up"):
        asyncio.run(told(monkeypatch, "socks5", None))


def test_what_is_about_the_socket_is_for_the_way_to_the_proxy():
    gates = []

    async def open_tcp(endpoint):
        gates.append(endpoint)
        raise ConnectError("x", [("y", "z")])

    async def main():
        text = "tcp:example.org:80?via=http://a:b@proxy:1&source=127.0.0.3&tcp_user_timeout=3&timeout=9"
        await open_via(Endpoint.parse(text), asyncio.get_running_loop(), open_tcp, 9)

    with pytest.raises(ConnectError, match="the proxy http://proxy:1 at y: z"):
        asyncio.run(main())
    assert [str(gate) for gate in gates] == ["tcp:proxy:1?source=127.0.0.3&tcp_user_timeout=3"]

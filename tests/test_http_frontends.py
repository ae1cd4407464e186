"""No input makes nginx or haproxy and a server behind them, or beside them, see different requests.

Each front end gets all of `smuggling.cases()`, with settings of many kinds. What it forwarded is known from its log and
from a tap; what trews saw, from the handler.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import h11
import pytest

import trews
import trews.testing
from tests import fronts, smuggling
from trews import http

KEEP = (
    'proxy_pass http://behind; proxy_http_version 1.1; proxy_set_header Connection "";proxy_set_header Host $http_host;'
)
NGINX = {
    "as it comes": "location / { proxy_pass http://behind; }",  # HTTP/1.0, a connection for each request
    "keep-alive": f"location / {{ {KEEP} }}",
    "unbuffered": f"location / {{ {KEEP} proxy_request_buffering off; proxy_buffering off; }}",
    "lenient": "ignore_invalid_headers off; underscores_in_headers on; merge_slashes off;"
    f"location / {{ {KEEP} proxy_request_buffering off; proxy_set_header Connection $http_connection;"
    "proxy_set_header Upgrade $http_upgrade; proxy_set_header TE $http_te; }",
}
HAPROXY = {
    "reuse": "http-reuse always",
    "lenient": "http-reuse always; option accept-invalid-http-request",
    "httpclose": "option httpclose",
    "buffered": "http-reuse always; option http-buffer-request",
}
ANSWERS_ITSELF = {"nginx": "location / { return 200; }", "haproxy": "http-request return status 200"}
AT_ONCE = 300  # cases
SLOW = pytest.mark.slow


@dataclass
class Seen:
    """What trews' handler saw."""

    method: str
    target: str
    content: bytes
    client: tuple[str, int]
    path: str  # with the query, as the request splits them


@dataclass
class Run:
    """What came of all cases, sent to one front end."""

    seen: list[Seen] = field(default_factory=list)
    answers: dict[str, bytes] = field(default_factory=dict)  # to each case
    streams: dict[tuple[str, int], bytes] = field(default_factory=dict)  # to trews
    asked: list[fronts.Asked] = field(default_factory=list)


async def ask(place: Path | int, data: bytes) -> bytes:
    """What comes back on a connection of its own, up to its end."""
    if isinstance(place, int):
        reader, writer = await asyncio.open_connection("127.0.0.1", place)
    else:
        reader, writer = await asyncio.open_unix_connection(place)
    answer = b""
    try:
        writer.write(data)
        while piece := await reader.read(65536):
            answer += piece
    except ConnectionError:
        answer += b"<reset>"
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    return answer


async def ask_all(place: Path | int) -> dict[str, bytes]:
    slots = asyncio.Semaphore(AT_ONCE)

    async def one(data: bytes) -> bytes:
        async with slots:
            return await ask(place, data)

    made = smuggling.cases()
    return dict(zip(made, await asyncio.gather(*map(one, made.values())), strict=True))


@contextlib.asynccontextmanager
async def serving(run: Run):
    """trews, with a handler that notes what it sees and says it."""

    def app(request):
        target = request.target.decode("latin-1")
        path = request.raw_path + (f"?{request.raw_query}" if "?" in target else "")
        run.seen.append(Seen(request.method, target, request.content, request.client, path))
        return http.Response("", headers={"X-Seen": target[:200]})

    server = http.Server(app, head_timeout=2.0, body_timeout=2.0, keep_alive_timeout=10.0)
    async with server.listen("tcp:127.0.0.1:0"):
        yield server


def marks(text: str) -> set[str]:
    return set(re.findall(r"/[ast](\d+)", text))


@pytest.fixture
def place():
    """A directory with a path that is short enough for Unix sockets in it."""
    with tempfile.TemporaryDirectory(prefix="trews-") as name:
        yield Path(name)


def by_h11(stream: bytes) -> list[tuple[str, str, bytes]]:
    """The requests of a stream, method, target and body of each, as h11 reads them; up to what it refuses."""
    conn = h11.Connection(h11.SERVER)
    conn.receive_data(stream)
    found = []
    with contextlib.suppress(h11.ProtocolError):
        while True:
            event = conn.next_event()
            if isinstance(event, h11.Request):
                request, body = event, b""
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                found.append((request.method.decode(), request.target.decode("latin-1"), body))
                conn.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
                conn.send(h11.EndOfMessage())
                if conn.our_state is h11.MUST_CLOSE:  # it knows no HTTP/1.0 that persists
                    rest, conn = conn.trailing_data[0], h11.Connection(h11.SERVER)
                    conn.receive_data(rest)
                else:
                    conn.start_next_cycle()
            else:
                break
    return found


# -- behind


async def behind(name: str, kind: str, at: Path) -> Run:
    run = Run()
    async with serving(run) as server, fronts.tap(server.port) as tap:
        if name == "nginx":
            async with fronts.nginx(at, f"unix:{tap.path}", {"front": NGINX[kind]}):
                run.answers = await ask_all(at / "front")
        else:
            async with fronts.haproxy(at, f"unix@{tap.path}", {"front": HAPROXY[kind]}):
                run.answers = await ask_all(at / "front")
        run.asked = (fronts.nginx_log if name == "nginx" else fronts.haproxy_log)(at, "front")
        run.streams = {address: bytes(stream) for address, stream in tap.streams.items()}
    return run


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *((pytest.param("nginx", kind, marks=SLOW if kind != "keep-alive" else ())) for kind in NGINX),
        *((pytest.param("haproxy", kind, marks=SLOW if kind != "reuse" else ())) for kind in HAPROXY),
    ],
)
def test_behind_it_trews_sees_what_it_forwards(name, kind, place):
    run = trews.run(behind(name, kind, place))
    forwarded = [asked for asked in run.asked if asked.is_forwarded]
    seen = Counter((one.method, one.target) for one in run.seen)
    assert len(run.seen) > 300

    # Nothing is seen that was not forwarded; what is not seen was refused by trews, not lost.
    assert not seen - Counter((asked.method, asked.target) for asked in forwarded)
    assert not Counter((asked.method, asked.target) for asked in forwarded if asked.status == "200") - seen
    assert {asked.status for asked in forwarded} <= {"200", "400", "408", "413", "414", "431", "501", "505"}

    # Each client has answers to what it has asked, never to what another has.
    for number, answer in enumerate(run.answers.values()):
        for target in re.findall(rb"(?i)\nX-Seen: (.*)\r\n", answer):
            assert marks(target.decode("latin-1")) <= {f"{number:03}"}

    # Bodies too: another reader of the same streams sees the same, up to where trews refuses.
    for address, stream in run.streams.items():
        ours = [(one.method, one.target, one.content) for one in run.seen if one.client == address]
        theirs = by_h11(stream)
        assert ours == theirs[: len(ours)]


# -- beside


@pytest.fixture(scope="module")
def alone() -> Run:
    """trews by itself."""
    run = Run()

    async def main():
        async with serving(run) as server:
            run.answers = await ask_all(server.port)

    trews.run(main())
    return run


async def itself(name: str, at: Path) -> Run:
    """The front end as a server."""
    run = Run()
    if name == "nginx":
        async with fronts.nginx(at, "127.0.0.1:9", {"front": ANSWERS_ITSELF[name]}):
            run.answers = await ask_all(at / "front")
    else:
        async with fronts.haproxy(at, "127.0.0.1:9", {"front": ANSWERS_ITSELF[name]}):
            run.answers = await ask_all(at / "front")
    run.asked = (fronts.nginx_log if name == "nginx" else fronts.haproxy_log)(at, "front")
    return run


def by_case(asked) -> dict[int, list[tuple[str, str]]]:
    """Method and path of each request, for each case that can be told by its marks."""
    found: dict[int, list[tuple[str, str]]] = {}
    for method, path in asked:
        for number in sorted(marks(path))[:1]:
            found.setdefault(int(number), []).append((method, path))
    return found


# What trews accepts and they, as servers, do not; each is what the RFC says, or concerns no framing.
ACCEPTED = {
    "nginx": {
        r".*Transfer-Encoding:.*\\t.*|.*lengths: \\t.*|hosts: Host:\\ta.*": "a tab is white space, RFC 9110, 5.6.3",
        r".*TRACE.*": "a method like others, RFC 9110, 9.3.8",
        r".*get .*|.*xxxxGET|lines: garbage before": "a method may be any token, RFC 9112, 3.1",
        r"hosts: Host:( |)\\r\\n": "Host may be empty, RFC 9112, 3.2",
        r"hosts: Host: \.\.?\\r\\n": "dots may be in a host, RFC 3986, 3.2.2",
        r"targets: GET /a%00 .*": "an escaped NUL is of the handler's path, not of HTTP",
        r"targets: OPTIONS \* .*": "RFC 9112, 3.2.4",
        r'connections: Connection: ("close"|close;x)': "are not the option 'close', RFC 9110, 7.6.1",
    },
    "haproxy": {
        r"lengths: PRI .*": "a method may be any token; only the whole preface is HTTP/2, RFC 9113, 3.4",
        r"targets: GET http://a\?.*": "a URL needs no path, RFC 9112, 3.2.2",
        r"connections: Upgrade: websocket": "haproxy asks for the key; here it is no more than a field",
        r"pipelines: a large .*": "haproxy closes, as it does not read what is large before it answers",
    },
}


@pytest.mark.parametrize("name", ["nginx", "haproxy"])
def test_what_both_accept_they_read_the_same_way(name, place, alone):
    ours = by_case((one.method, one.path) for one in alone.seen)
    theirs = by_case(
        # haproxy notes a URL as it came, nginx what is left of it.
        (one.method, re.sub(r"^[A-Za-z]+://[^/?]*", "", one.target))
        for one in trews.run(itself(name, place)).asked
        if one.status == "200"
    )
    more = set()
    for number, case in enumerate(smuggling.cases()):
        own, other = ours.get(number, []), theirs.get(number, [])
        assert own[: len(other)] == other[: len(own)], case
        if len(own) > len(other):
            more.add(case)
    explained = {case for case in more if any(re.fullmatch(pattern, case) for pattern in ACCEPTED[name])}
    assert more == explained
    assert len(theirs) > 300


def test_behind_a_refusal_nothing_is_read(alone):
    for case, answer in alone.answers.items():
        statuses = re.findall(rb"(?m)^HTTP/1\.1 (\d+)", answer)
        assert statuses, case
        assert set(statuses) <= {b"100", b"200", b"400", b"408", b"413", b"414", b"431", b"501", b"505"}, case
        assert all(status < b"400" for status in statuses[:-1]), case
        assert b"<reset>" not in answer, case


@pytest.mark.parametrize("size", [pytest.param(1, marks=SLOW), 7])
def test_in_pieces_they_are_read_as_they_are_whole(size):
    """Each case gets the same answers, and the handler sees the same, as if it had come at once."""

    async def ask_piecewise(data: bytes, piece: int) -> list[bytes]:
        async with trews.connect("memory:pieces") as conn:
            answer = b""
            with contextlib.suppress(trews.ConnectionClosed):
                for at in range(0, len(data), piece):
                    conn.write(data[at : at + piece])
                    await asyncio.sleep(0)
            with contextlib.suppress(trews.ConnectionClosed):
                while True:
                    answer += await conn.read()
        return [status for status in re.findall(rb"(?m)^HTTP/1\.1 (\d+)", answer) if status != b"100"]

    async def main():
        for case, data in smuggling.cases().items():
            found = []
            for piece in (len(data), size if len(data) < 5000 else 1000):
                run.seen.clear()
                statuses = await ask_piecewise(data, piece)
                found.append((statuses, [(one.method, one.target, one.content) for one in run.seen]))
            assert found[0] == found[1], case

    run = Run()

    async def with_server():
        async with serving(run) as server:
            server.listen("memory:pieces")
            await main()

    trews.testing.run(with_server())

"""Names to addresses and back: what is asked, what is not, and what the answers may be."""

from __future__ import annotations

import asyncio
import socket

import pytest

import trews
from tests.clients import LOOPS
from tests.servers import virtually
from trews import ConnectError, EndpointError, ResolveError, Resolver, TimedOut, testing
from trews.transport.resolver import MAX_ADDRESSES, MAX_CACHED, port_of


class Answering(Resolver):
    """Answers from a table, and notes what it was asked."""

    def __init__(self, answers=None, **settings):
        super().__init__(**settings)
        self.answers = {} if answers is None else answers
        self.asked = []

    async def look_up(self, host):
        self.asked.append(host)
        if host not in self.answers:
            raise ResolveError(f"{host} is not known")
        return self.answers[host]


def resolved(resolver, host):
    return trews.run(resolver.resolve(host))


def stub(monkeypatch, found=None, error=None):
    """What the operating system says; returns what it was asked."""
    asked = []

    def getaddrinfo(host, port, *args, flags=0, **kwargs):
        asked.append((host, port, flags))
        if error is not None:
            raise error
        return found

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked


def entries(*addresses):
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses]


# -- addresses


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "2001:db8::1", "fe80::1%2", "fe80::1%lo"])
def test_an_address_is_its_own_and_nobody_is_asked(address):
    resolver = Answering()
    assert resolved(resolver, address) == [address]
    assert resolver.asked == []


@pytest.mark.parametrize("host", ["127.1", "0x7f.1", "2130706433", "010.0.0.1", "1.2.3.4.5", "１２７.0.0.1"])
def test_what_only_some_take_for_an_address_is_refused(host):
    resolver = Answering()
    with pytest.raises(EndpointError):
        resolved(resolver, host)
    assert resolver.asked == []


# -- the operating system


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
def test_the_operating_system_is_asked_on_every_loop(loop, monkeypatch):
    asked = stub(monkeypatch, entries(("2001:db8::1", 0, 0, 0), ("192.0.2.1", 0), ("192.0.2.1", 0)))
    with asyncio.Runner(loop_factory=loop) as runner:
        assert runner.run(Resolver().resolve("db.example")) == ["2001:db8::1", "192.0.2.1"]
    assert asked == [("db.example", None, 0)]


def test_a_loop_with_names_of_its_own_is_asked_itself():
    class Simulated(asyncio.SelectorEventLoop):
        async def getaddrinfo(self, host, port, **kwargs):
            return entries(("10.0.0.7", 0)) if host else entries(("0.0.0.0", 7777))

        async def getnameinfo(self, sockaddr, flags=0):
            return ("a.simulated", "0")

    with asyncio.Runner(loop_factory=Simulated) as runner:
        assert runner.run(Resolver().resolve("a")) == ["10.0.0.7"]
        assert runner.run(Resolver().name_of("10.0.0.7")) == "a.simulated"
        assert runner.run(port_of("something")) == 7777


def test_scopes_are_kept(monkeypatch):
    (number, name), *_ = socket.if_nameindex()
    stub(monkeypatch, entries(("fe80::1", 0, 0, number), ("fe80::1", 0, 0, 99999)))
    assert resolved(Resolver(), "printer") == [f"fe80::1%{name}", "fe80::1%99999"]


FAILURES = [
    (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), r"^the host 'a\.b' is not known \(Name or"),
    (socket.gaierror(socket.EAI_AGAIN, "Temporary failure"), r"^the host 'a\.b' is not known \(Temporary failure\)$"),
    (UnicodeError("label too long"), r"^the host 'a\.b' is not known \(label too long\)$"),
    (OSError(24, "Too many"), r"^the host 'a\.b' could not be looked up: too many open files in this process"),
]


@pytest.mark.parametrize(("failure", "sentence"), FAILURES)
def test_failures_are_sentences(monkeypatch, failure, sentence):
    stub(monkeypatch, error=failure)
    for asked in (Resolver().resolve, Resolver().canonical_name):
        with pytest.raises(ResolveError, match=sentence) as caught:
            trews.run(asked("a.b"))
        assert caught.value.__suppress_context__
        assert isinstance(caught.value, OSError)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "localhost.", "web.localhost"])
def test_localhost_is_this_machine_even_where_the_hosts_file_lacks_it(monkeypatch, host):
    stub(monkeypatch, error=socket.gaierror(socket.EAI_NONAME, "Name or service not known"))
    assert resolved(Resolver(), host) == ["127.0.0.1", "::1"]
    with pytest.raises(ResolveError):
        resolved(Resolver(), "notlocalhost")


def test_localhost_is_found_here():
    assert resolved(Resolver(), "localhost")[0] in ("127.0.0.1", "::1")


def test_names_that_are_not_ascii_are_asked_for_as_dns_has_them():
    resolver = Answering({"xn--bcher-kva.example": ["192.0.2.1"]})
    assert resolved(resolver, "bücher.example") == ["192.0.2.1"]
    assert resolved(resolver, "BÜCHER.example") == ["192.0.2.1"]


@pytest.mark.parametrize("host", ["a\u0627.example", "ü" * 63, "ü..example"])
def test_names_that_dns_cannot_have_are_one_sentence(host):
    resolver = Answering()
    with pytest.raises((ResolveError, EndpointError)) as caught:
        resolved(resolver, host)
    assert "Error(" not in str(caught.value)
    assert resolver.asked == []


# -- what a resolver of one's own may say


def test_look_up_may_be_overridden_and_its_answers_are_checked():
    resolver = Answering({"a": ["::1", "127.0.0.1", "::1"], "none": [], "bad": ["127.1"], "name": ["other.example"]})
    resolver.answers |= {"one": "192.0.2.1", "number": [2130706433], "bytes": [b"\x7f\0\0\1"], "nothing": None}
    assert resolved(resolver, "a") == ["::1", "127.0.0.1"]
    assert resolved(resolver, "one") == ["192.0.2.1"]
    for host, sentence in [
        ("none", "the host 'none' has no address"),
        ("bad", "the host 'bad' was looked up as '127.1', which is not an address"),
        ("name", "the host 'name' was looked up as 'other.example', which is not an address"),
        ("number", "the host 'number' was looked up as 2130706433, which is not an address"),
        ("bytes", r"the host 'bytes' was looked up as b'\\x7f.*', which is not an address"),
        ("nothing", "the host 'nothing' could not be looked up: TypeError.*"),
        ("unknown", "unknown is not known"),
    ]:
        with pytest.raises(ResolveError, match=f"^{sentence}$"):
            resolved(resolver, host)


@pytest.mark.parametrize("make", [trews.connect, trews.Client])
def test_what_fails_in_look_up_is_a_reason_and_the_error_is_its_cause(make, caplog):
    class Failing(Resolver):
        async def look_up(self, host):
            raise KeyError("no such row")

    async def main():
        made = make("db.example:80", resolver=Failing())
        if make is trews.connect:
            with pytest.raises(ConnectError, match=r"the host 'db.example' could not be looked up: KeyError") as caught:
                await made
            assert isinstance(caught.value.__cause__, KeyError)
        else:
            async with made:
                while made.failures < 2:
                    await asyncio.sleep(1)

    testing.run(main())
    logged = [record for record in caplog.records if record.getMessage() == "Failing.look_up('db.example') failed"]
    assert logged
    assert all(isinstance(record.exc_info[1], KeyError) for record in logged)


def test_a_look_up_that_is_not_async_says_so(caplog):
    class Plain(Resolver):
        def look_up(self, host):
            return ["127.0.0.1"]

    with pytest.raises(ResolveError, match=r"look_up is an async function, and this one returned \['127\.0\.0\.1'\]"):
        resolved(Plain(), "db.example")
    assert "Plain.look_up('db.example') failed" in caplog.text


def test_a_refusal_of_look_up_is_no_bug_and_not_logged(caplog):
    with pytest.raises(ResolveError):
        resolved(Answering(), "db.example")
    assert not caplog.records


@pytest.mark.parametrize("name", ["lookup", "look_upp", "loko_up"])
def test_a_slip_in_the_name_of_look_up_is_refused(name):
    async def function(self, host):
        return []

    with pytest.raises(TypeError, match=rf"^Own\.{name} would never be called; did you mean look_up\?$"):
        type("Own", (Resolver,), {name: function})


def test_look_up_takes_one_host():
    async def function(self):
        return []

    with pytest.raises(TypeError, match=r"^Own\.look_up is called as look_up\(self, host\)$"):
        type("Own", (Resolver,), {"look_up": function})


def test_a_subclass_may_forget_to_call_init():
    class Forgetful(Resolver):
        def __init__(self):
            pass

        async def look_up(self, host):
            return ["192.0.2.1"]

    assert resolved(Forgetful(), "a") == ["192.0.2.1"]


def test_of_a_name_with_very_many_addresses_some_are_used():
    resolver = Answering({"a": [f"10.0.{n // 256}.{n % 256}" for n in range(5000)]})
    assert len(resolved(resolver, "a")) == MAX_ADDRESSES


@virtually
async def test_the_timeout():
    class Hanging(Resolver):
        async def look_up(self, host):
            await asyncio.sleep(1e9)

    begin = asyncio.get_running_loop().time()
    with pytest.raises(TimedOut, match=r"^the host 'a' was not looked up within 30 s$"):
        await Hanging().resolve("a")
    assert asyncio.get_running_loop().time() == begin + 30
    with pytest.raises(TimeoutError) as caught:
        async with asyncio.timeout(1):
            await Hanging().resolve("a")
    assert not isinstance(caught.value, TimedOut)


# -- overrides


@pytest.mark.parametrize("overrides", [["a"], "a", 5])
def test_overrides_are_by_name(overrides):
    with pytest.raises(
        TypeError, match=r"^overrides are addresses by name, such as \{'db\.example': '127\.0\.0\.1'\}, not"
    ):
        Resolver(overrides=overrides)


def test_the_canonical_name_of_an_overridden_one_is_itself(monkeypatch):
    asked = stub(monkeypatch, error=socket.gaierror(socket.EAI_NONAME, "Name or service not known"))
    resolver = Resolver(overrides={"db.example": "127.0.0.1"})
    assert trews.run(resolver.canonical_name("DB.example")) == "DB.example"
    assert asked == []


@pytest.mark.parametrize("host", ["db.example", "DB.Example", "db.example."])
def test_overrides(host):
    resolver = Answering(overrides={"db.example": "127.0.0.1", "both.example.": ["::1", "127.0.0.2"]})
    assert resolved(resolver, host) == ["127.0.0.1"]
    assert resolved(resolver, "both.example") == ["::1", "127.0.0.2"]
    assert resolver.asked == []
    with pytest.raises(ResolveError):
        resolved(resolver, "sub.db.example")


def test_overrides_of_names_that_are_not_ascii():
    assert resolved(Answering(overrides={"bücher.example": "192.0.2.1"}), "xn--bcher-kva.example") == ["192.0.2.1"]


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ({"a": "b"}, "the override of 'a' is not an address: 'b'"),
        ({"a": "127.1"}, "not an address: '127.1'"),
        ({"a": ["::1", "127.0.0.1:80"]}, "not an address: '127.0.0.1:80'"),
        ({"a": []}, "the override of 'a' has no address"),
        ({"192.0.2.1": "127.0.0.1"}, "only names are looked up"),
        ({"a b": "::1"}, "a host cannot contain ' '"),
    ],
)
def test_bad_overrides_are_told_at_once(overrides, sentence):
    with pytest.raises(ValueError, match=sentence):
        Resolver(overrides=overrides)


# -- the cache


@virtually
async def test_without_a_cache_every_time_is_asked():
    resolver = Answering({"a": ["::1"]})
    assert [await resolver.resolve("a") for _ in range(3)] == [["::1"]] * 3
    assert resolver.asked == ["a"] * 3


@virtually
async def test_the_cache_holds_for_its_seconds():
    resolver = Answering({"a": ["::1"]}, cache_seconds=5)
    first = await resolver.resolve("a")
    first.append("changed by the caller")
    await asyncio.sleep(4.9)
    assert await resolver.resolve("A") == ["::1"]
    assert resolver.asked == ["a"]
    await asyncio.sleep(0.1)
    resolver.answers["a"] = ["127.0.0.1"]
    assert await resolver.resolve("a") == ["127.0.0.1"]
    assert resolver.asked == ["a", "a"]


@virtually
async def test_failures_are_not_cached():
    resolver = Answering({"none": []}, cache_seconds=5)
    for host in ("unknown", "none"):
        for _ in range(2):
            with pytest.raises(ResolveError):
                await resolver.resolve(host)
    assert resolver.asked == ["unknown", "unknown", "none", "none"]
    resolver.answers["unknown"] = ["::1"]
    assert await resolver.resolve("unknown") == ["::1"]


@virtually
async def test_when_the_cache_is_full_the_oldest_goes():
    resolver = Answering({f"h{n}": ["::1"] for n in range(MAX_CACHED + 1)}, cache_seconds=5)
    for host in resolver.answers:
        await resolver.resolve(host)
    assert len(resolver._cache) == MAX_CACHED
    asked = len(resolver.asked)
    await resolver.resolve(f"h{MAX_CACHED}")
    assert len(resolver.asked) == asked
    await resolver.resolve("h0")
    assert len(resolver.asked) == asked + 1


@pytest.mark.parametrize("seconds", [-1, float("nan")])
def test_a_bad_time_is_told(seconds):
    with pytest.raises(ValueError, match="cache_seconds"):
        Resolver(cache_seconds=seconds)


# -- canonical names, and names of addresses


def test_the_canonical_name_is_that_of_the_first_answer(monkeypatch):
    first = (socket.AF_INET, socket.SOCK_STREAM, 6, "real.example", ("192.0.2.1", 0))
    asked = stub(monkeypatch, [first, *entries(("192.0.2.2", 0))])
    assert trews.run(Resolver().canonical_name("www.example")) == "real.example"
    assert asked == [("www.example", None, socket.AI_CANONNAME)]


def test_names_here():
    async def main():
        assert await Resolver().canonical_name("localhost")
        assert await Resolver().name_of("127.0.0.1") == await Resolver().name_of(("127.0.0.1", 4040))

    trews.run(main())


@pytest.mark.parametrize("name", ["a\nforged log line", "\x1b[31m", "a b", "", "x" * 300, "ä"])
def test_names_that_no_host_can_have_are_not_passed_on(monkeypatch, name):
    first = (socket.AF_INET, socket.SOCK_STREAM, 6, name or "\0", ("192.0.2.1", 0))
    stub(monkeypatch, [first])
    monkeypatch.setattr(socket, "getnameinfo", lambda *args: (name, "0"))
    for asked in (Resolver().canonical_name("www.example"), Resolver().name_of("192.0.2.1")):
        with pytest.raises(ResolveError, match="not one that a host can have") as caught:
            trews.run(asked)
        assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "failure",
    [socket.gaierror(socket.EAI_NONAME, "Name or service not known"), UnicodeDecodeError("utf-8", b"\xff", 0, 1, "x")],
)
def test_an_address_without_a_name_is_one_sentence(monkeypatch, failure):
    def getnameinfo(*args):
        raise failure

    monkeypatch.setattr(socket, "getnameinfo", getnameinfo)
    with pytest.raises(ResolveError, match=r"^no name is known for 192.0.2.1 \("):
        trews.run(Resolver().name_of("192.0.2.1"))


@pytest.mark.parametrize("address", ["localhost", "127.1", "/run/x.sock", ("localhost", 80)])
def test_names_are_of_addresses_only(address):
    with pytest.raises(EndpointError, match="expected an address"):
        trews.run(Resolver().name_of(address))


# -- services


def test_services():
    assert trews.run(port_of(8080)) == 8080
    assert trews.run(port_of("http")) == 80
    with pytest.raises(
        ResolveError, match=r"^the service 'nosuchservice' is not known \(.*; give the number of its port"
    ):
        trews.run(port_of("nosuchservice"))


# -- use


@pytest.mark.parametrize("make", [trews.connect, trews.Client])
def test_what_is_no_resolver_is_told_at_once(make):
    with pytest.raises(TypeError, match=r"^resolver is a trews\.Resolver, not \{\}$"):
        make("db.example:80", resolver={})


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
def test_connect_and_client_use_the_one_they_are_given(loop):
    async def main():
        async with trews.Server(trews.Connection).listen("127.0.0.1:0") as server:
            resolver = Resolver(overrides={"db.example": "127.0.0.1"})
            port = server.port
            async with trews.connect(f"db.example:{port}", resolver=resolver) as conn:
                assert conn.remote_address == ("127.0.0.1", port)
            async with trews.Client(f"db.example:{port}", resolver=resolver) as client:
                assert (await client.connected()).remote_address == ("127.0.0.1", port)

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())

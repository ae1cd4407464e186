"""Whom proxies speak for: what each says, in every spelling, and what nobody may say."""

from __future__ import annotations

import pytest

from tests.asking import Peer, fields_of, get, wire
from trews import http
from trews.http.forwarded import DEFAULT_FIELDS, FIELDS, MAX_HOPS, Origin, Proxies, read_proxies

PEER = ("10.0.0.1", 5000)
SEEN = Origin(PEER, "http", "example.org")
ALL_X = FIELDS[:4]
FORWARDED = ("Forwarded",)


def origin(*lines, trusted="10.0.0.0/8", fields=ALL_X, peer=PEER, scheme="http", host="example.org"):
    proxies = Proxies(trusted, fields)
    return proxies.origin(fields_of(*lines).get_all, Origin(peer, scheme, host))


# -- X-Forwarded-For: read from the right, as far as known proxies have written it


@pytest.mark.parametrize(
    ("lines", "client"),
    [
        ([], PEER),
        (["1.2.3.4"], ("1.2.3.4", 0)),
        (["1.2.3.4:567"], ("1.2.3.4", 567)),
        (["1.2.3.4:0"], ("1.2.3.4", 0)),
        (["  1.2.3.4\t"], ("1.2.3.4", 0)),
        (["2001:DB8::1"], ("2001:db8::1", 0)),
        (["[2001:db8::1]"], ("2001:db8::1", 0)),
        (["[2001:db8::1]:567"], ("2001:db8::1", 567)),
        (["::ffff:1.2.3.4"], ("1.2.3.4", 0)),
        # what the client has sent is left of it
        (["6.6.6.6, 1.2.3.4"], ("1.2.3.4", 0)),
        (["6.6.6.6", "1.2.3.4"], ("1.2.3.4", 0)),
        (["garbage\x01, 1.2.3.4"], ("1.2.3.4", 0)),
        ([", , 1.2.3.4"], ("1.2.3.4", 0)),
        (["unknown, 1.2.3.4"], ("1.2.3.4", 0)),
        (["10.9.9.9, 1.2.3.4"], ("1.2.3.4", 0)),
        # through known proxies
        (["1.2.3.4, 10.0.0.2"], ("1.2.3.4", 0)),
        (["1.2.3.4, 10.0.0.3", "10.0.0.2"], ("1.2.3.4", 0)),
        (["6.6.6.6, 1.2.3.4, 10.0.0.3, 10.0.0.2"], ("1.2.3.4", 0)),
        (["10.0.0.3, 10.0.0.2"], ("10.0.0.3", 0)),  # it is in the known network itself
        (["1.2.3.4,,10.0.0.2,"], ("1.2.3.4", 0)),
        # it says that it does not say
        (["unknown"], PEER),
        (["Unknown"], PEER),
        (["_hidden"], PEER),
        (["1.2.3.4, unknown, 10.0.0.2"], ("10.0.0.2", 0)),
        (["1.2.3.4, _x.y-1:80, 10.0.0.2"], ("10.0.0.2", 0)),
        # a known proxy has written what is no address
        (["garbage"], PEER),
        (["1.2.3.4, garbage"], PEER),
        (["1.2.3.4, garbage, 10.0.0.2"], PEER),
        (["example.org"], PEER),
        (["1.2.3"], PEER),
        (["1.2.3.256"], PEER),
        (["01.2.3.4"], PEER),
        (["0x7f.0.0.1"], PEER),
        (["2130706433"], PEER),
        (["1.2.3.4:65536"], PEER),
        (["1.2.3.4:-1"], PEER),
        (["1.2.3.4:"], PEER),
        (["1.2.3.4 5.6.7.8"], PEER),
        (['"1.2.3.4"'], PEER),
        (["[1.2.3.4]"], ("1.2.3.4", 0)),
        (["[2001:db8::1"], PEER),
        (["2001:db8::1]"], PEER),
        (["2001:db8:::1"], PEER),
        (["fe80::1%eth0"], PEER),
        (["1.2.3.4\xb2"], PEER),
        (["\u0661.2.3.4"], PEER),
        ([":80"], PEER),
        (["1.2.3.4:_" + "x" * 32], ("1.2.3.4", 0)),
        (["1.2.3.4:_" + "x" * 33], PEER),
        (["/run/x.sock"], PEER),
    ],
)
def test_x_forwarded_for(lines, client):
    assert origin(*(f"X-Forwarded-For: {line}" for line in lines)).client == client


def test_who_is_no_known_proxy_says_nothing():
    fields = ("X-Forwarded-For: 1.2.3.4", "X-Forwarded-Proto: https", "X-Forwarded-Host: evil.org", "Forwarded: for=1")
    peer = ("192.0.2.1", 1)
    assert origin(*fields, peer=peer) == Origin(peer, "http", "example.org")
    assert origin(*fields, peer=peer, fields=FORWARDED) == Origin(peer, "http", "example.org")


def test_only_so_many_hops_are_looked_at():
    many = ", ".join(["1.2.3.4", *["10.0.0.2"] * MAX_HOPS])
    assert origin(f"X-Forwarded-For: {many}").client == ("10.0.0.2", 0)
    few = ", ".join(["1.2.3.4", *["10.0.0.2"] * (MAX_HOPS - 1)])
    assert origin(f"X-Forwarded-For: {few}").client == ("1.2.3.4", 0)


# -- X-Forwarded-Proto, -Host, -Port: what the known proxy next to the client has written


@pytest.mark.parametrize(
    ("hops", "values", "scheme"),
    [
        ([], [], "http"),
        ([], ["https"], "https"),
        ([], ["HTTPS"], "https"),
        ([], ["http"], "http"),
        ([], ["wss"], "https"),
        ([], ["ws"], "http"),
        (["1.2.3.4"], ["https"], "https"),
        # the proxy has added to what the client sent
        (["1.2.3.4"], ["https, http"], "http"),
        (["1.2.3.4"], ["https", "http"], "http"),
        (["1.2.3.4"], ["https", "garbage"], "http"),
        (["1.2.3.4"], ["garbage, https"], "https"),
        # two known proxies, each of which adds
        (["1.2.3.4, 10.0.0.2"], ["https, http"], "https"),
        (["1.2.3.4, 10.0.0.2"], ["http, https, http"], "https"),
        # and of which the last replaces it
        (["1.2.3.4, 10.0.0.2"], ["https"], "https"),
        # what cannot be read counts for nothing
        ([], ["ftp"], "http"),
        ([], ["javascript"], "http"),
        ([], ["https;"], "http"),
        ([], ['"https"'], "http"),
        ([], [""], "http"),
        ([], [","], "http"),
        (["garbage"], ["https, http"], "http"),
        (["garbage"], ["http, https"], "https"),
    ],
)
def test_x_forwarded_proto(hops, values, scheme):
    lines = [f"X-Forwarded-For: {hop}" for hop in hops] + [f"X-Forwarded-Proto: {value}" for value in values]
    assert origin(*lines).scheme == scheme


def test_a_proxy_may_say_that_it_was_not_https():
    assert origin("X-Forwarded-Proto: http", scheme="https").scheme == "http"


@pytest.mark.parametrize(
    ("lines", "host"),
    [
        ([], "example.org"),
        (["X-Forwarded-Host: www.example.net"], "www.example.net"),
        (["X-Forwarded-Host: www.example.net:8080"], "www.example.net:8080"),
        (["X-Forwarded-Host: [::1]:8080"], "[::1]:8080"),
        (["X-Forwarded-Host: evil.org, www.example.net"], "www.example.net"),
        (["X-Forwarded-Host: evil.org", "X-Forwarded-Host: www.example.net"], "www.example.net"),
        (["X-Forwarded-Host: a b"], "example.org"),
        (["X-Forwarded-Host: evil.org/path"], "example.org"),
        (["X-Forwarded-Host: user@evil.org"], "example.org"),
        (["X-Forwarded-Host: http://evil.org"], "example.org"),
        (["X-Forwarded-Host: :80"], "example.org"),
        (["X-Forwarded-Host: \xe9.org"], "example.org"),
        # the port goes with the host that is known
        (["X-Forwarded-Port: 8443"], "example.org:8443"),
        (["X-Forwarded-Port: 80"], "example.org"),
        (["X-Forwarded-Port: 443", "X-Forwarded-Proto: https"], "example.org"),
        (["X-Forwarded-Port: 443"], "example.org:443"),
        (["X-Forwarded-Host: b.org", "X-Forwarded-Port: 8443"], "b.org:8443"),
        (["X-Forwarded-Host: b.org:1", "X-Forwarded-Port: 8443"], "b.org:1"),
        (["X-Forwarded-Host: [::1]", "X-Forwarded-Port: 8443"], "[::1]:8443"),
        (["X-Forwarded-Port: 1, 8443"], "example.org:8443"),
        (["X-Forwarded-Port: 0"], "example.org"),
        (["X-Forwarded-Port: 65536"], "example.org"),
        (["X-Forwarded-Port: 8_0"], "example.org"),
        (["X-Forwarded-Port: +80"], "example.org"),
        (["X-Forwarded-Port: \xb2"], "example.org"),
        (["X-Forwarded-Port: 999999999999999999999999"], "example.org"),
    ],
)
def test_x_forwarded_host_and_port(lines, host):
    assert origin(*lines).host == host


def test_a_port_without_a_host_is_none():
    assert origin("X-Forwarded-Port: 8443", host="").host == ""


# -- which fields count


def test_what_is_not_named_passes_through_a_proxy_and_counts_for_nothing():
    lines = (
        "X-Forwarded-For: 1.2.3.4",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: evil.org",
        "X-Forwarded-Port: 1",
    )
    assert origin(*lines, fields=DEFAULT_FIELDS) == Origin(("1.2.3.4", 0), "https", "example.org")
    assert origin(*lines, fields=("X-Forwarded-For",)) == Origin(("1.2.3.4", 0), "http", "example.org")
    assert origin(*lines, fields=FORWARDED) == SEEN


def test_of_both_families_one_counts_never_both():
    lines = ("X-Forwarded-For: 1.2.3.4", "Forwarded: for=5.6.7.8")
    assert origin(*lines).client == ("1.2.3.4", 0)
    assert origin(*lines, fields=FORWARDED).client == ("5.6.7.8", 0)
    with pytest.raises(ValueError, match="alone"):
        Proxies("10.0.0.1", ("Forwarded", "X-Forwarded-For"))


# -- Forwarded


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], SEEN),
        (["for=1.2.3.4"], Origin(("1.2.3.4", 0), "http", "example.org")),
        (['For="1.2.3.4:567"'], Origin(("1.2.3.4", 567), "http", "example.org")),
        (['for="[2001:db8:cafe::17]:4711"'], Origin(("2001:db8:cafe::17", 4711), "http", "example.org")),
        (['for="1.2.3.4:_port"'], Origin(("1.2.3.4", 0), "http", "example.org")),
        (["for=1.2.3.4;proto=https;by=203.0.113.43"], Origin(("1.2.3.4", 0), "https", "example.org")),
        (["for=1.2.3.4;PROTO=HTTPS;host=a.org"], Origin(("1.2.3.4", 0), "https", "a.org")),
        (['for=1.2.3.4; host="a.org:8080" ; secret=x'], Origin(("1.2.3.4", 0), "http", "a.org:8080")),
        ([r'for="1.2.\3.4"'], Origin(("1.2.3.4", 0), "http", "example.org")),
        (["for=1.2.3.4;"], Origin(("1.2.3.4", 0), "http", "example.org")),
        (["proto=https"], Origin(PEER, "https", "example.org")),
        (["for=unknown;proto=https"], Origin(PEER, "https", "example.org")),
        (['for="_gazonk"'], SEEN),
        (['for="_gazonk:_x"'], SEEN),
        # what the client has sent is left of it
        (["for=6.6.6.6;proto=https, for=1.2.3.4"], Origin(("1.2.3.4", 0), "http", "example.org")),
        (["for=6.6.6.6;proto=https", "for=1.2.3.4"], Origin(("1.2.3.4", 0), "http", "example.org")),
        (['for=", for=1.2.3.4'], Origin(("1.2.3.4", 0), "http", "example.org")),
        (['for="6.6.6.6, for=1.2.3.4;proto=https'], Origin(("1.2.3.4", 0), "https", "example.org")),
        (["garbage, , for=1.2.3.4"], Origin(("1.2.3.4", 0), "http", "example.org")),
        # through known proxies, of which the first to see the client knows best
        (["for=1.2.3.4;proto=https, for=10.0.0.2"], Origin(("1.2.3.4", 0), "https", "example.org")),
        (["for=1.2.3.4;proto=https, for=10.0.0.2;proto=http"], Origin(("1.2.3.4", 0), "https", "example.org")),
        (["for=1.2.3.4, for=10.0.0.2;proto=https"], Origin(("1.2.3.4", 0), "https", "example.org")),
        (["for=6.6.6.6, for=unknown, for=10.0.0.2"], Origin(("10.0.0.2", 0), "http", "example.org")),
        # what a known proxy has written and cannot be read makes all of it count for nothing
        (["for=1.2.3.4, garbage"], SEEN),
        (["for=1.2.3.4;proto=ftp"], SEEN),
        (["for=1.2.3.4;host=a b"], SEEN),
        (['for=1.2.3.4;host="a/b"'], SEEN),
        (["for=1.2.3.4;for=5.6.7.8"], SEEN),
        (["for=2001:db8::1"], SEEN),  # a token has no colon
        (['for="2001:db8::1"'], SEEN),  # RFC 7239, 6: in brackets
        (["for=[2001:db8::1]"], SEEN),
        (["for=1.2.3.4:80"], SEEN),
        (['for="1.2.3.4'], SEEN),
        (['for=1.2.3.4"'], SEEN),
        (["for = 1.2.3.4"], SEEN),
        (["for"], SEEN),
        (["=1.2.3.4"], SEEN),
        (["for=example.org"], SEEN),
        (['for="1.2.3.4";"x"'], SEEN),
        (["for=1.2.3.4;proto=https, for=10.0.0.2;proto=x"], SEEN),
    ],
)
def test_forwarded(lines, expected):
    assert origin(*(f"Forwarded: {line}" for line in lines), fields=FORWARDED) == expected


# -- who is known


@pytest.mark.parametrize(
    ("trusted", "address", "known"),
    [
        ("127.0.0.1", ("127.0.0.1", 1), True),
        ("127.0.0.1", ("127.0.0.2", 1), False),
        ("10.0.0.0/8, ::1", ("10.255.0.1", 1), True),
        ("10.0.0.0/8, ::1", ("::1", 1), True),
        (["10.0.0.0/8", "fe80::/10"], ("fe80::1%eth0", 1), True),
        ("0.0.0.0/0", ("::1", 1), False),
        ("0.0.0.0/0", ("", 1), False),
        ("0.0.0.0/0", ("host", 1), False),
        ("10.0.0.0/8", "/run/x.sock", False),
        ("10.0.0.0/8", "", False),
        ("10.0.0.0/8", None, False),
        ("unix", "/run/x.sock", True),
        ("unix", "", True),
        ("unix", None, True),
        ("unix", ("127.0.0.1", 1), False),
    ],
)
def test_who_is_trusted(trusted, address, known):
    assert Proxies(trusted).trusts(address) is known


def test_a_unix_socket_speaks_for_others():
    assert origin("X-Forwarded-For: 1.2.3.4", trusted="unix", peer="").client == ("1.2.3.4", 0)


@pytest.mark.parametrize("trusted", [None, (), [], ""])
def test_nobody_is_trusted(trusted):
    if trusted == "":
        with pytest.raises(ValueError, match="''"):
            read_proxies(trusted, DEFAULT_FIELDS)
    else:
        assert read_proxies(trusted, DEFAULT_FIELDS) is None


@pytest.mark.parametrize(
    ("trusted", "fields", "error", "says"),
    [
        ("*", DEFAULT_FIELDS, ValueError, r"trusted_proxies='\*' would believe every client; name the addresses"),
        ("localhost", DEFAULT_FIELDS, ValueError, "localhost"),
        ("10.0.0.1/8", DEFAULT_FIELDS, ValueError, "host bits"),
        (5, DEFAULT_FIELDS, TypeError, "trusted_proxies is a text, or several of them, not 5"),
        ([5], DEFAULT_FIELDS, TypeError, "trusted_proxies"),
        (b"10.0.0.1", DEFAULT_FIELDS, TypeError, "trusted_proxies"),
        (True, DEFAULT_FIELDS, TypeError, "trusted_proxies"),
        ("unix", "X-Real-IP", ValueError, "X-Real-IP"),
        ("unix", None, TypeError, "proxy_fields"),
        (None, "nonsense", ValueError, "proxy_fields are some of X-Forwarded-For"),
    ],
)
def test_settings_that_mean_nothing(trusted, fields, error, says):
    with pytest.raises(error, match=says):
        read_proxies(trusted, fields)


def test_fields_in_any_case():
    assert Proxies("unix", "x-forwarded-for, X-FORWARDED-HOST").fields == {"X-Forwarded-For", "X-Forwarded-Host"}


# -- the id of a request


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ([], ""),
        (["abc-123"], "abc-123"),
        (["x" * 128], "x" * 128),
        (["x" * 129], ""),
        ([""], ""),
        (["a b"], ""),
        (["a\tb"], ""),
        (["\x1b[31m"], ""),
        (["\xe9"], ""),
        (["a", "b"], ""),
    ],
)
def test_request_id(lines, found):
    get_all = fields_of(*(f"X-Request-ID: {line}" for line in lines)).get_all
    assert Proxies("10.0.0.0/8").request_id(get_all, PEER) == found
    assert Proxies("10.0.0.0/8").request_id(get_all, ("1.2.3.4", 1)) == ""


# -- seen by a handler


BEHIND = Peer()
BEHIND.trusted_proxies = Proxies("127.0.0.1")


ALL = {"trusted_proxies": "127.0.0.1", "proxy_fields": ALL_X}
TWO = b"".join(
    b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.2.3.%d\r\nX-Forwarded-Proto: %b\r\nX-Forwarded-Host: b%d\r\n\r\n"
    % (number, scheme, number)
    for number, scheme in ((1, b"http"), (2, b"https"))
)


def test_what_wsgi_is_told():
    assert Origin(("1.2.3.4", 5), "https", "b").environ() == {
        "REMOTE_ADDR": "1.2.3.4",
        "REMOTE_PORT": "5",
        "wsgi.url_scheme": "https",
        "HTTP_HOST": "b",
    }
    assert Origin("/run/x.sock", "http", "").environ() == {"wsgi.url_scheme": "http"}


def test_wsgi_sees_the_same():
    seen = []

    def app(environ, start_response):
        seen.append([environ[key] for key in ("REMOTE_ADDR", "REMOTE_PORT", "wsgi.url_scheme", "HTTP_HOST")])
        start_response("200 OK", [("Content-Length", "0")])
        return []

    wire(http.wsgi(app, threads=0), **ALL).feed(TWO)
    assert seen == [["1.2.3.1", "0", "http", "b1"], ["1.2.3.2", "0", "https", "b2"]]


def test_asgi_sees_the_same():
    seen = []

    async def app(scope, receive, send):
        if scope["type"] == "http":
            hosts = [value for name, value in scope["headers"] if name == b"host"]
            seen.append([scope["client"], scope["scheme"], *hosts])
            await send({"type": "http.response.start", "status": 204})
            await send({"type": "http.response.body"})

    wire(http.asgi(app), **ALL).feed(TWO)
    assert seen == [[("1.2.3.1", 0), "http", b"b1"], [("1.2.3.2", 0), "https", b"b2"]]


def test_what_a_request_says():
    request = get("/", "X-Forwarded-For: 1.2.3.4", "X-Forwarded-Proto: https", "X-Request-ID: abc", peer=BEHIND)
    assert request.client == ("1.2.3.4", 0)
    assert request.scheme == "https"
    assert request.host == "example.org"
    assert request.id == "abc"
    assert request.connection.remote_address == ("127.0.0.1", 4000)


def test_nothing_is_believed_by_default():
    request = get("/", "X-Forwarded-For: 1.2.3.4", "X-Forwarded-Proto: https", "X-Request-ID: abc")
    assert request.client == ("127.0.0.1", 4000)
    assert request.scheme == "http"
    assert request.id != "abc"


def test_a_server_with_known_proxies():
    def app(request):
        return f"{request.client[0]} {request.scheme} {request.host}"

    ask = b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Host: b\r\n\r\n"
    settings = {"trusted_proxies": "127.0.0.1", "proxy_fields": ("X-Forwarded-For", "X-Forwarded-Host")}
    assert wire(app, **settings).feed(ask).sent().endswith(b"1.2.3.4 http b")
    assert wire(app, ("127.0.0.2", 1), **settings).feed(ask).sent().endswith(b"127.0.0.2 http a")
    assert wire(app).feed(ask).sent().endswith(b"127.0.0.1 http a")

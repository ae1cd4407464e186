"""Cookies: what a request brings, whatever it brings, and a Set-Cookie that says nothing that was not meant."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, timezone
from http.cookies import SimpleCookie

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trews import http
from trews.http.cookies import MAX_ATTRIBUTE, MAX_COOKIES, MAX_SIZE, parse_cookies, set_cookie
from trews.http.http1 import check_value

# -- what a request brings


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", {}),
        ("a=1", {"a": "1"}),
        ("a=1; b=2", {"a": "1", "b": "2"}),
        ("a=1;b=2", {"a": "1", "b": "2"}),
        ("a=1 ;\t b=2\t", {"a": "1", "b": "2"}),
        ("a = 1", {"a": "1"}),
        ("a=", {"a": ""}),
        ("a=b=c==", {"a": "b=c=="}),
        ('a="1"', {"a": "1"}),
        ('a="', {"a": '"'}),
        ('a=""', {"a": ""}),
        ('a="1', {"a": '"1'}),
        # the first has the longest path (RFC 6265, 5.4)
        ("a=1; a=2", {"a": "1"}),
        ("a=1; A=2", {"a": "1", "A": "2"}),
        # nothing is decoded
        ("a=%41+b", {"a": "%41+b"}),
        ('a="\\101\\""', {"a": '\\101\\"'}),
        ('a="x;b=2"', {"a": '"x', "b": '2"'}),
        ("a=1,b=2", {"a": "1,b=2"}),
        ("a=\xe9", {"a": "\xe9"}),
        # CVE-2023-23934: a cookie without a name must not pass for one that has one
        ("=1", {}),
        ("=__Host-a=1", {}),
        (" =__Host-a=1; b=2", {"b": "2"}),
        ("b", {}),
        ("; ;;", {}),
        ("$Version=1; a=1; $Path=/", {"$Version": "1", "a": "1", "$Path": "/"}),
    ],
)
def test_parse(text, found):
    assert parse_cookies(text) == found


def test_only_so_many_are_looked_at():
    text = "; ".join(f"c{number}=x" for number in range(MAX_COOKIES + 50))
    assert list(parse_cookies(text)) == [f"c{number}" for number in range(MAX_COOKIES)]


def test_parts_that_are_none_count_too():
    assert parse_cookies(";" * MAX_COOKIES + "a=1") == {}
    assert parse_cookies(";" * (MAX_COOKIES - 1) + "a=1") == {"a": "1"}


@given(st.text(max_size=200))
def test_whatever_comes_is_parsed(text):
    for name, value in parse_cookies(text).items():
        assert name
        assert ";" not in name + value
        assert name == name.strip(" \t")


def test_quotes_and_backslashes_take_no_longer_than_other_text():
    """CVE-2024-52804: unquoting took quadratic time. There is no unquoting."""
    value = "\\" * 30_000
    assert parse_cookies(f'a="{value}"') == {"a": value}


# -- what is sent


def test_safe_by_default():
    assert set_cookie("a", "1") == "a=1; Path=/; Secure; HttpOnly; SameSite=Lax"


@pytest.mark.parametrize(
    ("attributes", "shown"),
    [
        ({"max_age": 60}, "a=1; Max-Age=60; Path=/; Secure; HttpOnly; SameSite=Lax"),
        ({"max_age": 0}, "a=1; Max-Age=0; Path=/; Secure; HttpOnly; SameSite=Lax"),
        ({"max_age": -1}, "a=1; Max-Age=-1; Path=/; Secure; HttpOnly; SameSite=Lax"),
        ({"max_age": timedelta(days=1, seconds=0.5)}, "a=1; Max-Age=86400; Path=/; Secure; HttpOnly; SameSite=Lax"),
        ({"path": None}, "a=1; Secure; HttpOnly; SameSite=Lax"),
        ({"path": "/a b,c=d"}, "a=1; Path=/a b,c=d; Secure; HttpOnly; SameSite=Lax"),
        ({"domain": "example.org"}, "a=1; Path=/; Domain=example.org; Secure; HttpOnly; SameSite=Lax"),
        ({"domain": ".example.org"}, "a=1; Path=/; Domain=.example.org; Secure; HttpOnly; SameSite=Lax"),
        ({"secure": False}, "a=1; Path=/; HttpOnly; SameSite=Lax"),
        ({"http_only": False}, "a=1; Path=/; Secure; SameSite=Lax"),
        ({"same_site": "Strict"}, "a=1; Path=/; Secure; HttpOnly; SameSite=Strict"),
        ({"same_site": "None"}, "a=1; Path=/; Secure; HttpOnly; SameSite=None"),
        ({"same_site": None}, "a=1; Path=/; Secure; HttpOnly"),
        ({"partitioned": True}, "a=1; Path=/; Secure; HttpOnly; SameSite=Lax; Partitioned"),
        (
            {"expires": datetime(2026, 11, 21, 20, 0, 0, tzinfo=timezone(timedelta(hours=1)))},
            "a=1; Expires=Sat, 21 Nov 2026 19:00:00 GMT; Path=/; Secure; HttpOnly; SameSite=Lax",
        ),
        (
            {"expires": datetime(2026, 11, 21, tzinfo=UTC), "max_age": 5},
            "a=1; Max-Age=5; Expires=Sat, 21 Nov 2026 00:00:00 GMT; Path=/; Secure; HttpOnly; SameSite=Lax",
        ),
    ],
)
def test_each_attribute(attributes, shown):
    assert set_cookie("a", "1", **attributes) == shown


@pytest.mark.parametrize("name", ["__Host-a", "__Secure-a", "__Http-a", "__Host-Http-a", "!#$%&'*+-.^_`|~09AZaz"])
def test_names_that_browsers_know(name):
    assert set_cookie(name, "").startswith(f"{name}=; Path=/; Secure; HttpOnly")


# CVE-2026-35536, CVE-2026-91991, CVE-2026-123535: an attribute, in another spelling, by another argument.
INJECTIONS = ["x; Domain=evil.org", "x\r\nSet-Cookie: b=2", "x\nb", "x\0", "x\x1b[31m", "x\x7f", "\xe9", "\u2028", "x;"]


@pytest.mark.parametrize("text", INJECTIONS)
@pytest.mark.parametrize("argument", ["name", "value", "path", "domain", "same_site", "max_age", "expires"])
def test_nothing_gets_in_by_any_argument(argument, text):
    arguments = {"name": "a", "value": "1", argument: f"/{text}" if argument == "path" else text}
    with pytest.raises((ValueError, TypeError)):
        set_cookie(arguments.pop("name"), arguments.pop("value"), **arguments)


@pytest.mark.parametrize(
    ("spelling", "right"),
    [
        ("Path", "did you mean 'path'?"),
        ("PATH", "did you mean 'path'?"),
        ("Max_Age", "did you mean 'max_age'?"),
        ("Max-Age", "did you mean 'max_age'?"),
        ("maxage", "did you mean 'max_age'?"),
        ("Domain", "did you mean 'domain'?"),
        ("HttpOnly", "did you mean 'http_only'?"),
        ("httponly", "did you mean 'http_only'?"),
        ("samesite", "did you mean 'same_site'?"),
        ("x", "there are domain, expires, "),
    ],
)
def test_there_is_one_spelling_of_each(spelling, right):
    for call in (set_cookie, http.Response("").set_cookie):
        with pytest.raises(TypeError) as caught:
            call("a", "1", **{spelling: "x"})
        assert str(caught.value).startswith(f"a cookie has no attribute {spelling!r}; {right}")


@pytest.mark.parametrize("name", ["secure", "http_only", "partitioned"])
@pytest.mark.parametrize("value", ["yes", "", 1, None])
def test_what_is_yes_or_no(name, value):
    with pytest.raises(TypeError, match=f"^{name} is True or False, not {value!r}$"):
        set_cookie("a", "1", **{name: value})


class Deceitful(str):
    """Says one thing, and is another."""

    def __str__(self):
        return "x; Domain=evil.org"

    def __format__(self, spec):
        return "x; Domain=evil.org"


@pytest.mark.parametrize("argument", ["name", "value", "path", "domain", "same_site"])
def test_what_is_checked_is_what_is_sent(argument):
    honest = {"name": "a", "value": "1", "path": "/", "domain": "example.org", "same_site": "Lax"}
    arguments = {**honest, argument: Deceitful(honest[argument])}
    assert set_cookie(**arguments) == set_cookie(**honest)


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"name": ""}, ValueError, "cookie's name"),
        ({"name": "a b"}, ValueError, "cookie's name"),
        ({"name": "a=b"}, ValueError, "cookie's name"),
        ({"name": b"a"}, TypeError, "cookie's name"),
        ({"name": None}, TypeError, "cookie's name"),
        ({"value": "a b"}, ValueError, "percent-encode it"),
        ({"value": '"a"'}, ValueError, "cookie's value"),
        ({"value": "a,b"}, ValueError, "cookie's value"),
        ({"value": "a\\b"}, ValueError, "cookie's value"),
        ({"value": 1}, TypeError, "cookie's value"),
        ({"max_age": 1.5}, TypeError, "max_age"),
        ({"max_age": True}, TypeError, "max_age"),
        ({"max_age": "60"}, TypeError, "max_age"),
        ({"expires": datetime(2026, 1, 1)}, TypeError, "time zone"),
        ({"expires": date(2026, 1, 1)}, TypeError, "time zone"),
        ({"expires": 5}, TypeError, "time zone"),
        ({"expires": datetime.max.replace(tzinfo=timezone(timedelta(hours=-1)))}, ValueError, "9999"),
        ({"path": ""}, ValueError, "cookie's path"),
        ({"path": "a"}, ValueError, "cookie's path"),
        ({"path": 1}, TypeError, "cookie's path"),
        ({"domain": ""}, ValueError, "cookie's domain"),
        ({"domain": "a b"}, ValueError, "cookie's domain"),
        ({"domain": "example.org:80"}, ValueError, "cookie's domain"),
        ({"same_site": "lax"}, ValueError, "same_site"),
        ({"same_site": "None", "secure": False}, ValueError, "with Secure only"),
        ({"partitioned": True, "secure": False}, ValueError, "with Secure only"),
        ({"name": "__Secure-a", "secure": False}, ValueError, "with Secure only"),
        ({"name": "__sEcUrE-a", "secure": False}, ValueError, "with Secure only"),
        ({"name": "__Host-a", "secure": False}, ValueError, "with Secure only"),
        ({"name": "__Host-a", "path": "/a"}, ValueError, "path '/'"),
        ({"name": "__host-a", "path": None}, ValueError, "path '/'"),
        ({"name": "__HOST-a", "domain": "example.org"}, ValueError, "without a domain"),
        ({"name": "__Http-a", "http_only": False}, ValueError, "HttpOnly"),
        ({"name": "__Host-Http-a", "http_only": False}, ValueError, "HttpOnly"),
        ({"value": "x" * MAX_SIZE}, ValueError, f"over {MAX_SIZE}"),
        ({"path": "/" + "x" * MAX_ATTRIBUTE}, ValueError, f"over {MAX_ATTRIBUTE}"),
    ],
)
def test_what_no_browser_would_take(arguments, error, says):
    with pytest.raises(error, match=says):
        set_cookie(**{"name": "a", "value": "1", **arguments})


def test_the_largest_there_is():
    assert len(set_cookie("a", "x" * (MAX_SIZE - 1))) > MAX_SIZE


@given(st.text(), st.text(), st.text(), st.text())
def test_whatever_is_accepted_is_one_field_with_what_was_given(name, value, path, domain):
    try:
        text = set_cookie(name, value, path=path, domain=domain)
    except ValueError:
        return
    check_value(b"Set-Cookie", text.encode("ascii"))
    assert re.fullmatch(r"[^;]*; Path=[^;]*; Domain=[^;]*; Secure; HttpOnly; SameSite=Lax", text)


VALUE = st.text(st.characters(codec="ascii", exclude_characters='\x00\x7f",;\\ ' + "".join(map(chr, range(32)))))


@given(VALUE)
def test_what_is_set_comes_back(value):
    pair = set_cookie("a", value).partition(";")[0]
    assert parse_cookies(pair) == {"a": value}
    assert SimpleCookie(pair)["a"].value == value


def test_several_on_one_response():
    response = http.Response("")
    response.set_cookie("a", "1", path="/x")
    response.set_cookie("b", "2", secure=False)
    assert response.headers.get_all("Set-Cookie") == [
        "a=1; Path=/x; Secure; HttpOnly; SameSite=Lax",
        "b=2; Path=/; HttpOnly; SameSite=Lax",
    ]

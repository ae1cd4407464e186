"""The page about an error: everything in it is text, secrets are not in it, and there is none by default."""

from __future__ import annotations

from html import escape

import pytest

from tests.asking import get, wire
from trews import http
from trews.http.debug_page import MASK, MAX_TRACEBACK, debug_page, is_secret, masked_query

HTML = "Accept: text/html,application/xhtml+xml"


def failed(message="it is broken", kind=ValueError):
    try:
        raise kind(message)
    except kind as exc:
        return exc


def page(*fields, target="/a", exc=None):
    return debug_page(get(target, *fields), exc or failed()).body.decode()


class Unprintable(Exception):
    def __str__(self):
        raise RuntimeError("no text")


def test_html_for_who_accepts_it():
    response = debug_page(get("/a?b=1", HTML, "X-Mine: here"), failed())
    assert response.status == 500
    assert response.content_type == "text/html; charset=utf-8"
    text = response.body.decode()
    for part in (
        "<h1>ValueError: it is broken</h1>",
        "GET /a?b=1",
        "from 127.0.0.1:4000 ",
        "Traceback",
        "X-Mine",
        "here",
    ):
        assert part in text
    assert "in failed" in text


@pytest.mark.parametrize("fields", [[], ["Accept: */*"], ["Accept: application/json"]])
def test_text_for_others(fields):
    response = debug_page(get("/a?b=1", *fields), failed())
    assert response.content_type == "text/plain; charset=utf-8"
    text = response.body.decode()
    assert text.startswith("ValueError: it is broken\n\nTraceback")
    assert "GET /a?b=1\nHost: example.org\n" in text
    assert "<" not in text.replace("<module>", "")


def test_nobody_keeps_it_and_nothing_runs_in_it():
    headers = debug_page(get(), failed()).headers
    assert headers["Cache-Control"] == "no-store"
    assert headers["Content-Security-Policy"] == "default-src 'none'; style-src 'unsafe-inline'"
    assert headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("attack", ["<script>alert(1)</script>", '"><img src=x>', "{traceback}", "</pre>"])
def test_all_that_a_peer_sent_is_text(attack):
    text = page(HTML, f"X-A: {attack}", f"User-Agent: {attack}", target="/<b>?<i>=<u>", exc=failed(attack))
    assert escape(attack) in text
    for tag in ("<script", "<img", "<b>", "<i>", "<u>"):
        assert tag not in text
    assert text.count("</pre>") == 1


SECRETS = [
    "Authorization",
    "Proxy-Authorization",
    "Cookie",
    "Set-Cookie",
    "X-Api-Key",
    "X-APIKEY",
    "Api_Key",
    "X-Auth-Token",
    "X-CSRF-Token",
    "X-Amz-Security-Token",
    "X-Hub-Signature-256",
    "X-Session-Id",
    "Password",
]


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("accept", [HTML, "Accept: */*"])
def test_secrets_are_hidden(name, accept):
    text = page(accept, f"{name}: hunter2", f"{name.lower()}: hunter2")
    assert "hunter2" not in text
    assert name in text
    assert MASK in text


@pytest.mark.parametrize("name", ["Accept", "Host", "User-Agent", "Content-Type", "X-Mine", "X-Forwarded-For"])
def test_what_is_no_secret(name):
    assert not is_secret(name)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("/a", "/a"),
        ("/a?", "/a?"),
        ("/a?b=1", "/a?b=1"),
        ("/a?token=x&b=1&api_key=y", f"/a?token={MASK}&b=1&api_key={MASK}"),
        ("/a?to%6ben=x", f"/a?to%6ben={MASK}"),
        ("/a?password", "/a?password"),
        ("/a?code=x&sig=y&zip_code=z", f"/a?code={MASK}&sig={MASK}&zip_code=z"),
    ],
)
def test_secrets_of_a_query_are_hidden(url, shown):
    assert masked_query(url) == shown
    assert f"GET {shown}\n" in page(target=url)


def test_nor_are_they_in_a_referer():
    assert "hunter2" not in page("Referer: http://a/?token=hunter2")


def test_an_error_that_cannot_be_printed():
    text = page(exc=failed(kind=Unprintable))
    assert text.startswith("Unprintable\n")


def test_an_error_that_is_no_utf8():
    assert "\\udcff" in page(exc=failed("\udcff"))


def test_a_long_error_is_cut():
    text = page(exc=failed("x" * 1_000_000))
    assert len(text) < MAX_TRACEBACK + 2000


def test_errors_of_errors():
    try:
        try:
            raise ValueError("first")
        except ValueError as exc:
            raise ExceptionGroup("several", [KeyError("a"), TypeError("b")]) from exc
    except ExceptionGroup as group:
        text = page(HTML, exc=group)
    for part in ("first", "several", "KeyError", "TypeError"):
        assert part in text


# -- in a server


def failing(request):
    raise ValueError("the secret of the house")


ASK = b"GET / HTTP/1.1\r\nHost: a\r\nAccept: text/html\r\n\r\n"


def asked(app, data=ASK, **settings):
    wired = wire(app, **settings)
    with pytest.raises(ValueError, match="house"):
        wired.feed(data)
    return wired.sent()


def test_there_is_none_by_default():
    sent = asked(failing)
    assert sent.startswith(b"HTTP/1.1 500 ")
    assert b"secret" not in sent
    assert b"Traceback" not in sent
    assert sent.endswith(b"500 Internal Server Error\n")


def test_there_is_one_in_debug_mode():
    sent = asked(failing, debug=True)
    assert sent.startswith(b"HTTP/1.1 500 ")
    assert b"<h1>ValueError: the secret of the house</h1>" in sent


def test_of_an_async_handler():
    async def app(request):
        failing(request)

    assert b"<h1>ValueError: the secret of the house</h1>" in asked(app, debug=True)


def test_head_gets_its_head_only():
    sent = asked(failing, ASK.replace(b"GET", b"HEAD"), debug=True)
    assert sent.startswith(b"HTTP/1.1 500 ")
    assert sent.endswith(b"\r\n\r\n")


def test_what_was_meant_is_no_error():
    def app(request):
        raise http.Error(404)

    assert wire(app, debug=True).feed(ASK).sent().endswith(b"404 Not Found\n")


@pytest.mark.parametrize("value", [1, "yes", None])
def test_debug_is_true_or_false(value):
    with pytest.raises(TypeError, match="debug is True or False"):
        http.Server(failing, debug=value)

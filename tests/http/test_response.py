"""What a handler may return, what becomes of it, and what is said of all else."""

from __future__ import annotations

from collections import deque
from http import HTTPStatus
from io import StringIO
from pathlib import Path

import pytest

from tests.asking import wire
from trews import http
from trews.http.errors import Error
from trews.http.multi import Headers
from trews.http.response import (
    HTML,
    JSON,
    OCTETS,
    TEXT,
    Response,
    as_response,
    encode,
    encode_json,
    from_error,
    html,
    is_stream,
    status_only,
)

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


async def pieces():
    yield "a"


async def later():
    return "a"


class Sub(dict):
    pass


# -- what may be returned


@pytest.mark.parametrize(
    ("result", "status", "body", "fields"),
    [
        ("text", 200, "text", {}),
        (b"bytes", 200, b"bytes", {}),
        ({"a": 1}, 200, {"a": 1}, {}),
        ([1], 200, [1], {}),
        (404, 404, "404 Not Found\n", {}),
        (HTTPStatus.NOT_FOUND, 404, "404 Not Found\n", {}),
        (204, 204, b"", {}),
        (205, 205, b"", {}),
        (304, 304, b"", {}),
        (299, 299, "299 Unknown\n", {}),
        ((201, "made"), 201, "made", {}),
        ((201, None), 201, b"", {}),
        ((HTTPStatus.CREATED, "made"), 201, "made", {}),
        ((201, "made", {"A": "b"}), 201, "made", {"A": "b"}),
        ((201, "made", [("A", "b")]), 201, "made", {"A": "b"}),
        ((201, "made", Headers({"A": "b"})), 201, "made", {"A": "b"}),
        ((201, "made", ()), 201, "made", {}),
        (Response("x", 202, {"A": "b"}), 202, "x", {"A": "b"}),
        ((203, Response("x", 202, {"A": "b"})), 203, "x", {"A": "b"}),
        ((203, Response("x", 202, {"A": "b"}), {"C": "d"}), 203, "x", {"A": "b", "C": "d"}),
        ((200, html("x")), 200, "x", {}),
    ],
)
def test_as_response(result, status, body, fields):
    response = as_response(result)
    assert (response.status, response.body, response.headers) == (status, body, fields)


def test_a_response_is_as_it_was_made():
    response = Response("x")
    assert as_response(response) is response


def test_one_that_is_used_again_stays_as_it_is():
    response = Response("x", 202, {"A": "b"}, content_type="text/css", trailers=dict)
    for _ in range(2):
        again = as_response((203, response, {"C": "d"}))
        assert again.headers.items() == [("A", "b"), ("C", "d")]
        assert (again.content_type, again.trailers) == ("text/css", dict)
    assert (response.status, response.headers.items()) == (202, [("A", "b")])


@pytest.mark.parametrize(
    ("result", "error", "says"),
    [
        (None, TypeError, "handler returned None; for an answer without a body it returns 204"),
        (True, TypeError, "handler returned True"),
        ((), TypeError, "a tuple of 0"),
        (("a",), TypeError, "a tuple of 1; it is"),
        ((200, "a", {}, 4), TypeError, "a tuple of 4"),
        (("a", 200), TypeError, r"returned \(str, int\); the order is \(status, body\)"),
        (({"a": 1}, 200, {}), TypeError, r"returned \(dict, int, dict\); the order is \(status, body\)"),
        (("a", {"A": "b"}), TypeError, r"returned \(str, dict\); the order is \(status, body\)"),
        ((200, 5), TypeError, "http.Response takes the body first"),
        ((200, "a", ["A: b"]), TypeError, "such as .* not list with str in it"),
        ((200, "a", {"A: b"}), TypeError, "such as .* not set with str in it"),
        ((200, "a", ["AB"]), TypeError, "not list with str in it"),
        ((200, "a", [("A", "b", "c")]), TypeError, "not list with tuple of 3 in it"),
        ((200, "a", 5), TypeError, "such as .* not int"),
        ((200, "a", {5: "b"}), TypeError, "the name of a field is str or bytes, not int"),
        (Error(404), TypeError, r"returned an http.Error; raise it: `raise http.Error\(404\)`"),
        (KeyError("secret"), TypeError, "returned the exception KeyError; raise it$"),
        (encode_json, TypeError, r"returned the function encode_json itself; call it: `encode_json\(\)`"),
        (http.MultiDict().get_all, TypeError, r"the function MultiDict.get_all itself; call it: `get_all\(\)`"),
        ({1, 2}, TypeError, "cannot return set; make a list of it"),
        (frozenset(), TypeError, "cannot return frozenset; make a list of it"),
        (range(3), TypeError, "cannot return range; make a list of it"),
        ({}.keys(), TypeError, "cannot return dict_keys; make a list of it"),
        ({}.values(), TypeError, "cannot return dict_values; make a list of it"),
        ({}.items(), TypeError, "cannot return dict_items; make a list of it"),
        (http.MultiDict(), TypeError, "cannot return MultiDict; make a dict of it"),
        (5.0, TypeError, r"cannot return float; .* iterable .* \(status, body\), \(status, body, headers\) or an http"),
        ((True, "a"), TypeError, "a status"),
        ((200, "a", "text/html"), TypeError, "fields are a mapping or pairs"),
        (100, ValueError, "200 to 599, not 100"),
        (600, ValueError, "200 to 599"),
        (-1, ValueError, "200 to 599"),
        ((99, "a"), ValueError, "200 to 599"),
    ],
)
def test_what_may_not(result, error, says):
    with pytest.raises(error, match=says):
        as_response(result)


def test_a_coroutine_is_to_be_awaited():
    coroutine = later()
    with pytest.raises(TypeError, match="returned the coroutine later, which nobody has awaited; await it"):
        as_response(coroutine)
    coroutine.close()


@pytest.mark.parametrize("status", [204, 205])
@pytest.mark.parametrize("body", ["a", b"a", {}, [], iter(())])
def test_a_status_without_a_body_has_none(status, body):
    for result in ((status, body), (status, Response(body)), Response(body, status)):
        with pytest.raises(TypeError, match=f"returned {status} with a body, and {status} has none"):
            as_response(result)


@pytest.mark.parametrize("body", ["", b"", None])
def test_no_body_is_none(body):
    assert as_response((204, body)).status == as_response(Response(body, 204)).status == 204
    assert as_response((304, "that of a GET")).body == "that of a GET"  # which has its length


# -- bodies


@pytest.mark.parametrize(
    ("body", "encoded", "content_type"),
    [
        ("é", "é".encode(), TEXT),
        (b"\xff", b"\xff", OCTETS),
        (bytearray(b"a"), b"a", OCTETS),
        (memoryview(b"abc")[1:], b"bc", OCTETS),
        ({"a": [1, None, "é"]}, '{"a":[1,null,"é"]}'.encode(), JSON),
        ([], b"[]", JSON),
        (Sub(a=1), b'{"a":1}', JSON),
        (["\ud800é"], b'["\\ud800\\u00e9"]', JSON),  # a lone surrogate goes back as it came
    ],
)
def test_encode(body, encoded, content_type):
    assert encode(body) == (encoded, content_type)


@pytest.mark.parametrize(
    ("body", "error", "says"),
    [
        ([b"a"], TypeError, "a list with bytes in it"),
        (["a", bytearray(b"b")], TypeError, "a list with bytes in it"),
        ({"a": object()}, TypeError, "not JSON serializable"),
        ([float("nan")], ValueError, "Out of range"),
        ("\ud800", ValueError, "surrogates"),
        (5, TypeError, "a handler cannot return int; it returns str"),
        (Path("/a"), TypeError, "cannot return PosixPath"),
        (object(), TypeError, "cannot return object"),
        ((1, 2), TypeError, "cannot return tuple"),
    ],
)
def test_what_is_no_body(body, error, says):
    with pytest.raises(error, match=says):
        encode(body)


def test_what_refers_to_itself():
    body: list = []
    body.append(body)
    with pytest.raises(ValueError, match="Circular"):
        encode_json(body)


def test_an_error_does_not_show_what_was_returned():
    class Secret:
        def __repr__(self):
            return "hunter2"

    with pytest.raises(TypeError) as caught:
        encode(Secret())
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("body", [iter("a"), pieces(), (x for x in "a"), deque("a"), StringIO("a")])
def test_streams(body):
    assert is_stream(body)


@pytest.mark.parametrize(
    "body", ["a", b"a", bytearray(), memoryview(b""), {}, [], (), 5, None, {"a"}, range(3), {}.keys(), Headers()]
)
def test_what_is_no_stream(body):
    assert not is_stream(body)


# -- Response


def test_a_response():
    response = Response("x", 201, {"A": "b"}, content_type="text/css")
    assert (response.body, response.status, response.content_type, response.trailers) == ("x", 201, "text/css", None)
    assert isinstance(response.headers, Headers)
    assert repr(response) == "<Response 201 Created>"


def test_without_a_body():
    assert Response(None).body == b""


@pytest.mark.parametrize("body", [5, 404, True, HTTPStatus.OK])
def test_a_number_is_no_body(body):
    with pytest.raises(TypeError, match=r"takes the body first, then the status: .* http.Response\(status=404\)"):
        Response(body)


@pytest.mark.parametrize("body", [{"a"}, 5.0, Error(404), object()])
def test_a_body_is_checked_at_once(body):
    with pytest.raises(TypeError, match="a handler"):
        Response(body)


@pytest.mark.parametrize("headers", ["A", ["A"], {"A: b"}, [("A", "b", "c")], {5: "a"}])
def test_so_are_headers(headers):
    with pytest.raises(TypeError, match="field"):
        Response("", headers=headers)


def test_its_headers_are_its_own():
    given = Headers({"A": "b"})
    response = Response("", headers=given)
    response.headers["A"] = "c"
    assert given["A"] == "b"


@pytest.mark.parametrize(
    ("status", "error"), [(100, ValueError), (600, ValueError), ("200", TypeError), (True, TypeError)]
)
def test_a_status_is_checked_at_once(status, error):
    with pytest.raises(error, match="a status is"):
        Response("", status)


def test_fields_that_are_none_are_refused_at_once():
    with pytest.raises(TypeError, match="fields are a mapping or pairs"):
        Response("", 200, "text/html")


def test_html():
    response = html("<p>", 201, {"A": "b"})
    assert (response.body, response.status, response.content_type, response.headers) == ("<p>", 201, HTML, {"A": "b"})


@pytest.mark.parametrize("status", [99, 600])
def test_a_status_alone_is_checked(status):
    with pytest.raises(ValueError, match="200 to 599"):
        status_only(status)


@pytest.mark.parametrize(
    ("error", "status", "body", "fields"),
    [
        (Error(404), 404, "404 Not Found\n", {}),
        (Error(404, "no"), 404, "no", {}),
        (Error(404, ""), 404, "", {}),
        (Error(405, headers={"Allow": "GET"}), 405, "405 Method Not Allowed\n", {"Allow": "GET"}),
        (Error(304, "no"), 304, b"", {}),
        (Error(204), 204, b"", {}),
    ],
)
def test_from_error(error, status, body, fields):
    response = from_error(error)
    assert (response.status, response.body, response.headers) == (status, body, fields)


# -- what is sent


@pytest.mark.parametrize(
    ("result", "content_type"),
    [
        ("a", TEXT),
        (b"a", OCTETS),
        ({"a": 1}, JSON),
        (html("a"), HTML),
        (404, TEXT),
        (iter(["a"]), OCTETS),
        (Response("a", content_type="text/css"), "text/css"),
        (Response("a", headers={"content-type": "text/x"}, content_type="text/css"), "text/x"),
        ((200, "a", {"Content-Type": "text/x"}), "text/x"),
    ],
)
def test_content_types(result, content_type):
    sent = wire(lambda request: result).feed(GET).sent()
    head = sent.partition(b"\r\n\r\n")[0].lower()
    assert head.count(b"content-type:") == 1
    assert f"content-type: {content_type}".encode() in head


@pytest.mark.parametrize("result", [204, (200, None), ""])
def test_no_content_no_type(result):
    sent = wire(lambda request: result if result else Response(b"")).feed(GET).sent()
    assert b"content-type" not in sent.lower()


SPLITS = ["b\r\nC: d", "b\nC: d", "b\rC", "b\0", "b\x7f", "\u2028"]


@pytest.mark.parametrize("text", SPLITS)
@pytest.mark.parametrize(
    "answer",
    [
        lambda text: (200, "x", {"A": text}),
        lambda text: (200, "x", {text: "A"}),
        lambda text: Response("x", content_type=text),
        lambda text: Response("x", headers=[("Location", text)]),
        lambda text: iter_with_trailers(text),
    ],
)
def test_nothing_splits_a_response(answer, text):
    wired = wire(lambda request: answer(text))
    with pytest.raises(http.BadAnswer):
        wired.feed(GET)
    assert b"C: d" not in wired.sent()


def iter_with_trailers(text):
    return Response("x", trailers=lambda: [("A", text)])


def test_cookies_of_a_response():
    def app(request):
        response = Response("x")
        response.set_cookie("a", "1", max_age=5)
        return response

    assert b"Set-Cookie: a=1; Max-Age=5; Path=/; Secure; HttpOnly; SameSite=Lax\r\n" in wire(app).feed(GET).sent()

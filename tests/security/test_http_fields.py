"""What others made of fields, cookies and queries that they were sent (section A to C of the list of failures)."""

from __future__ import annotations

import logging

import pytest

from tests.asking import get
from tests.http.gateways import environ_of
from tests.http.gateways import get as request
from trews.http.cookies import parse_cookies
from trews.http.head import Limits, scan_request


@pytest.mark.parametrize("threads", [0, 2])
def test_cve_2016_1000111_httpoxy_no_client_sets_the_proxy_of_an_application(threads: int) -> None:
    environ = environ_of(request("/", "Proxy: http://evil", "proxy: evil", "PROXY: evil"), threads=threads)
    assert not [key for key in environ if "PROXY" in key.upper()]


def test_cve_2020_28473_bottle_a_semicolon_separates_nothing_in_a_query() -> None:
    asked = get("/?utm=1;callback=evil&b=2")
    assert list(asked.query.items()) == [("utm", "1;callback=evil"), ("b", "2")]


def test_cve_2023_23934_werkzeug_a_cookie_without_a_name_is_none() -> None:
    assert parse_cookies("=__Host-session=evil; a=1") == {"a": "1"}


def test_cve_2024_52804_tornado_cookies_with_escapes_are_read_in_one_pass() -> None:
    """Nothing is unquoted, so nothing can be unquoted again and again."""
    value = '"' + "\\" * 30_000 + '"'
    assert parse_cookies(f"a={value}") == {"a": value[1:-1]}


def test_cve_2020_5236_waitress_a_field_of_spaces_is_scanned_once() -> None:
    """An expression that tried every way to share the spaces out took minutes for this."""
    data = b"GET / HTTP/1.1\r\nHost: x\r\nA:" + b" " * 30_000 + b"\x08\r\n\r\n"
    with pytest.raises(Exception, match="control character"):
        scan_request(data, 0, Limits())


def test_aiohttp_3_13_3_cookies_that_are_none_make_no_lines_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        assert parse_cookies("; ".join(["\x01bad", "=", "no equals", "a=1"] * 1000)) == {"a": "1"}
    assert not caplog.records

"""The exceptions of trews.http, and the words of statuses."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import pytest

import trews.errors
from trews.http.errors import BadMessage, Error, HTTPError, reason


def test_one_root() -> None:
    assert issubclass(HTTPError, trews.errors.Error)
    assert {BadMessage.__base__, Error.__base__} == {HTTPError}


def test_bad_message() -> None:
    exc = BadMessage(431, "too much")
    assert (exc.status, str(exc)) == (431, "too much")


class TestError:
    def test_a_status_only(self) -> None:
        exc = Error(404)
        assert (exc.status, exc.text, tuple(exc.headers), str(exc)) == (404, None, (), "404 Not Found")

    def test_text_and_headers(self) -> None:
        exc = Error(401, "who?", {"WWW-Authenticate": "Basic"})
        assert (exc.text, exc.headers, str(exc)) == ("who?", {"WWW-Authenticate": "Basic"}, "401 who?")

    def test_a_status_of_the_standard_library(self) -> None:
        exc = Error(HTTPStatus.GONE)
        assert (exc.status, type(exc.status)) == (410, int)

    @pytest.mark.parametrize("status", [True, 0, 100, 199, 600, "404", 404.0, None])
    def test_no_status(self, status: Any) -> None:
        with pytest.raises(ValueError, match="takes a status from 200 to 599"):
            Error(status)


@pytest.mark.parametrize(
    ("status", "words"),
    [(200, "OK"), (413, "Content Too Large"), (414, "URI Too Long"), (422, "Unprocessable Content"), (599, "Unknown")],
)
def test_reasons_are_those_of_rfc_9110(status: int, words: str) -> None:
    assert reason(status) == words

import asyncio

import pytest

from trews.testing import run
from trews.testing.conformance import CHECKS, SLOW, check_all, run_check
from trews.testing.conformance.suite import check, until


@pytest.fixture
def table(monkeypatch):
    """The table, for checks of our own."""
    monkeypatch.setattr("trews.testing.conformance.suite.CHECKS", {})
    import trews.testing.conformance.suite as suite

    return suite.CHECKS


def test_all_checks_are_there_and_slow_ones_among_them():
    assert len(CHECKS) > 130
    assert set(CHECKS) > SLOW


def test_check_all_runs_all_and_names_what_failed(table):
    ran = []

    @check
    async def good(open_pair):
        ran.append(open_pair)

    @check
    async def bad(open_pair):
        raise AssertionError("because")

    with pytest.raises(ExceptionGroup, match="1 of 2") as caught:
        run(check_all("a pair"))
    assert ran == ["a pair"]
    assert caught.value.exceptions[0].__notes__ == ["conformance check: bad"]


def test_what_reaches_the_exception_handler_of_the_loop_fails_a_check(table):
    @check
    async def careless(open_pair):
        asyncio.get_running_loop().call_soon(lambda: 1 / 0)

    with pytest.raises(AssertionError, match="exception handler"):
        run(run_check("careless", None))


def test_until_gives_up():
    with pytest.raises(AssertionError, match="in vain"):
        run(until(lambda: False))

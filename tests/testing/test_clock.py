"""Whole programs on virtual time. The clock itself: tests/test_virtual.py."""

import pytest

from trews.testing import run


def test_run_returns_the_result_and_raises_the_error():
    async def good():
        return 42

    async def bad():
        raise KeyError("x")

    assert run(good()) == 42
    with pytest.raises(KeyError):
        run(bad())
    assert run(good(), debug=True) == 42

"""Does the suite bite? Each test here breaks something and names the checks that must notice."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

from trews.testing import pair, run
from trews.testing.conformance import run_check


@asynccontextmanager
async def over_pair(client, server, **settings):
    async with pair(client, server, **settings) as (one, other):
        try:
            yield one, other
        finally:
            one.abort()
            other.abort()


@pytest.fixture
def passes():
    """Whether a check passes over a pair, on virtual time."""

    def passes(name):
        try:
            run(asyncio.wait_for(run_check(name, over_pair), 200))
        except Exception:
            return False
        return True

    return passes

"""The waits between attempts: they double, have a bound, and differ from client to client."""

from __future__ import annotations

import random

import pytest

from trews.backoff import FIRST, MOST, STEADY, Backoff


@pytest.fixture
def no_jitter(monkeypatch):
    monkeypatch.setattr(random, "random", lambda: 0.0)


def waits(backoff: Backoff, count: int) -> list[float]:
    return [backoff.next_wait() for _ in range(count)]


@pytest.mark.usefixtures("no_jitter")
def test_they_double_from_half_a_second_to_a_minute():
    assert waits(Backoff(), 10) == [0.5, 1, 2, 4, 8, 16, 32, 60, 60, 60]


@pytest.mark.usefixtures("no_jitter")
def test_they_are_short_again_after_a_good_connection():
    backoff = Backoff()
    waits(backoff, 10)
    assert backoff.next_wait(STEADY) == FIRST
    assert backoff.next_wait() == 2 * FIRST


@pytest.mark.usefixtures("no_jitter")
def test_a_short_connection_is_as_good_as_none():
    backoff = Backoff()
    assert [backoff.next_wait(STEADY - 0.1) for _ in range(4)] == [0.5, 1, 2, 4]


def test_a_random_part_of_up_to_a_half_is_taken_off():
    found = {
        round(wait / whole, 6) for _ in range(50) for wait, whole in zip(waits(Backoff(), 3), (0.5, 1, 2), strict=True)
    }
    assert len(found) > 100
    assert all(0.5 <= part <= 1 for part in found)


def test_none_is_above_the_bound():
    backoff = Backoff()
    assert max(waits(backoff, 1000)) <= MOST

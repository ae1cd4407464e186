"""The fuzz targets hold on their seeds and on some more, without a fuzzer; `make long` runs them with one."""

from __future__ import annotations

import random
from typing import Any

import pytest

from fuzz.run import HERE, TARGETS, can_run, seeds_of, target_of
from tests.http import test_head, test_head_responses, test_http1
from tests.security import test_http_framing

SEEDS = [(name, seed) for name in TARGETS for seed in seeds_of(name)]


def target(name: str) -> Any:
    found = target_of(name)
    if not can_run(found):
        pytest.skip("this build of trews is pure")
    return found


def test_each_target_has_its_invariant_in_its_first_line_and_seeds() -> None:
    for name in TARGETS:
        first = (HERE / f"{name}.py").read_text("utf-8").splitlines()[0]
        assert first.startswith('"""Invariant: ')
        assert first.endswith('."""')
        assert len(seeds_of(name)) >= 5
    assert {file.stem for file in HERE.glob("*.py")} == {*TARGETS, "run"}


@pytest.mark.parametrize("name", TARGETS)
def test_the_invariant_holds_on_seeds(name: str) -> None:
    check = target(name).check
    for seed in seeds_of(name):
        check(seed)
        for known in range(len(seed)):
            check(seed[:known])


@pytest.mark.parametrize("name", TARGETS)
def test_the_invariant_holds_on_what_becomes_of_them(name: str) -> None:
    check = target(name).check
    rng = random.Random(name)
    every = [seed for _, seed in SEEDS]
    for _ in range(300):
        one, other = rng.choice(seeds_of(name)), rng.choice(every)
        at, to = rng.randrange(len(one) + 1), rng.randrange(len(other) + 1)
        check(one[:at] + other[to : to + rng.randrange(20)] + one[at + rng.randrange(3) :])


def test_compiled_and_pure_give_one_verdict_on_every_table() -> None:
    """CVE-2026-111750: a parser in Python beside one in C, and between them a request that only one saw."""
    tables: list[Any] = [
        test_head.REQUESTS,
        test_head_responses.RESPONSES,
        test_http1.CHUNKED,
        test_http1.REFUSED,
        test_http_framing.REFUSED,
    ]
    check = target("compiled").check
    for wire in [case[1] for table in tables for case in table]:
        check(wire)
        check(wire + wire)
        for known in range(0, min(len(wire), 200), 3):
            check(wire[:known])


def test_a_target_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    found = target_of("chunked")
    monkeypatch.setattr(found, "take", lambda body, pieces: (b"%d" % len(pieces), b""))
    with pytest.raises(AssertionError):
        found.check(b"\0\0" + b"3\r\nabc\r\n")

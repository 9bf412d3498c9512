"""Shadows are caches: what each holds is told by asking it."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.predict.shadow import Gdsf, Lru, S3Fifo, Shadow

BUDGET = 100
KINDS = [Lru, S3Fifo, Gdsf]
REQUESTS = st.lists(st.integers(0, 30), max_size=300)


def size_of(key: int) -> int:
    return 1 + key * 7 % 60 if key % 11 else 120


@pytest.mark.parametrize("kind", KINDS)
@given(requests=REQUESTS)
def test_none_holds_more_than_its_budget(kind: Callable[[int], Shadow], requests: list[int]) -> None:
    shadow = kind(BUDGET)
    for key in requests:
        held = shadow.holds(key)
        assert shadow.request(key, size_of(key), 0.0) == held
        assert sum(size_of(one) for one in range(31) if shadow.holds(one)) <= BUDGET


@pytest.mark.parametrize("kind", KINDS)
@given(requests=st.lists(st.integers(0, 9), max_size=100))
def test_nothing_is_missed_twice_where_all_fits(kind: Callable[[int], Shadow], requests: list[int]) -> None:
    shadow = kind(10)
    assert sum(not shadow.request(key, 1, 0.0) for key in requests) == len(set(requests))


@given(requests=REQUESTS)
def test_lru_is_what_it_says(requests: list[int]) -> None:
    shadow, naive = Lru(BUDGET), list[int]()
    for key in requests:
        shadow.request(key, size_of(key), 0.0)
        if size_of(key) > BUDGET:
            continue
        naive = [one for one in naive if one != key] + [key]
        while sum(map(size_of, naive)) > BUDGET:
            naive.pop(0)
    assert [key for key in range(31) if shadow.holds(key)] == sorted(naive)


def test_s3fifo_keeps_what_is_asked_for_through_a_scan() -> None:
    shadow = S3Fifo(BUDGET)
    for _ in range(3):
        for key in range(5):
            shadow.request(key, 10, 0.0)
    for key in range(1000, 1200):
        shadow.request(key, 10, 0.0)
    assert all(shadow.holds(key) for key in range(5))


def test_gdsf_keeps_the_small_ones() -> None:
    shadow = Gdsf(BUDGET)
    for key in range(10):
        shadow.request(key, 5, 0.0)
    for key in range(1000, 1010):
        shadow.request(key, 60, 0.0)
    assert all(shadow.holds(key) for key in range(1, 10))


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(1, 4)), max_size=300))
def test_gdsf_is_what_it_says(requests: list[tuple[int, int]]) -> None:
    """Uses per byte, and what the last to leave had: the lowest goes, of equals the one with the lowest key."""
    shadow, sizes = Gdsf(BUDGET), dict[int, int]()
    held, uses, floor = dict[int, float](), dict[int, int](), 0.0
    for key, size in requests:
        size = sizes.setdefault(key, size * BUDGET // 10)
        assert shadow.request(key, size, 0.0) == (key in held)
        uses[key] = uses[key] + 1 if key in held else 1
        held[key] = floor + uses[key] / size
        while sum(sizes[each] for each in held) > BUDGET:
            lowest = min(held, key=lambda each: (held[each], each))
            floor = held.pop(lowest)
        assert {each for each, _ in shadow.kept()} == set(held)

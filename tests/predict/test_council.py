"""Shadows that are thinned say the same as whole ones, and what governs is followed for all keys."""

import random

import pytest

from edgeproxy.predict.council import Council
from edgeproxy.predict.panel import Kind
from edgeproxy.predict.shadow import Gdsf, Lru, S3Fifo

KINDS: dict[str, Kind] = {"lru": Lru, "s3fifo": S3Fifo, "gdsf": Gdsf}
BUDGET = 2_000_000
COUNT = 60_000


def requests() -> list[tuple[int, int]]:
    """Keys by popularity, each with a size of its own."""
    chance = random.Random(5)
    keys = [chance.getrandbits(60) for _ in range(20_000)]
    shares = [1 / (place + 1) ** 0.8 for place in range(len(keys))]
    return [(key, 200 + key % 1600) for key in chance.choices(keys, shares, k=COUNT)]


def told(most: int) -> Council:
    council = Council(KINDS, BUDGET, most)
    for second, (key, size) in enumerate(requests()):
        council.request(key, size, float(second))
    return council


def test_thinned_shadows_miss_about_as_much() -> None:
    whole, thin = told(10**9), told(500)
    assert thin.misses() == pytest.approx(whole.misses(), abs=0.05)
    assert thin.governs == whole.governs


def test_what_governs_is_followed_whole() -> None:
    whole, thin = told(10**9), told(500)
    followed, exact = (council.governing(lambda: [], 0.0) for council in (thin, whole))
    keys = {key for key, _ in requests()}
    assert sum(followed.holds(key) != exact.holds(key) for key in keys) < 0.05 * len(keys)


def test_another_that_governs_begins_with_what_is_there() -> None:
    council = Council(KINDS, BUDGET, 100)
    for number in range(10_000):
        council.request(number, 1000, float(number))
    council.dismiss()
    council.admit(Lru)
    held = [(number, 1000) for number in range(3000)]
    governing = council.governing(lambda: held, 0.0)
    assert [key for key, _ in held if governing.holds(key)] == list(range(1000, 3000))
    council.request(5000, 1000, 0.0)
    assert governing.holds(5000)
    assert not governing.holds(1000)


class Empty:
    """Of a shadow, what says that it holds nothing."""

    def holds(self, key: int) -> bool:
        return False

    def kept(self) -> list[tuple[int, int]]:
        return []

    def __len__(self) -> int:
        return 0


class Missing(Empty):
    """It misses what it is told to."""

    def __init__(self, *remainders: int) -> None:
        self._remainders = remainders

    def request(self, key: int, size: int, now: float) -> bool:
        return key % 100 not in self._remainders


def governing_after(sizes: dict[int, int], count: int, model: Missing, lru: Missing) -> str:
    """A hundred keys in a mixed order, again and again, of so many bytes, or of a thousand."""
    council = Council({"lru": lambda _: lru, "s3fifo": lambda _: Missing(*range(100))}, BUDGET)
    council.admit(lambda _: model)
    for number in range(count):
        key = 37 * number % 100
        council.request(key, sizes.get(key, 1000), float(number))
    return council.governs


def test_the_model_is_replaced_by_what_is_surely_better() -> None:
    assert governing_after({}, 3200, Missing(1, 2, 3, 4), Missing(1, 2, 3)) == "lru"


def test_the_model_is_not_replaced_for_one_large_blob() -> None:
    assert governing_after({4: 100_000}, 192, Missing(1, 2, 4), Missing(1, 2)) == "model"
    assert governing_after({4: 100_000}, 3200, Missing(1, 2, 4), Missing(1, 2)) == "lru", "it happens again and again"


def test_the_model_is_not_replaced_where_each_misses_what_the_other_does_not() -> None:
    assert governing_after({}, 3200, Missing(*range(30)), Missing(*range(31, 60))) == "model"
    assert governing_after({}, 3200, Missing(*range(40)), Missing(*range(39))) == "model", "too little less"

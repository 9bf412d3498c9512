"""Shadows side by side: what they have missed, and how they are thinned."""

import pytest

from edgeproxy.predict.panel import Panel
from edgeproxy.predict.shadow import Lru


def panel(budget: int = 4000, mask: int = 0) -> Panel:
    return Panel({"one": Lru, "other": lambda _: Lru(0)}, budget, 100, "one", mask)


def test_a_sample_of_all_keys_has_as_much_of_the_budget() -> None:
    quarter = panel(mask=3)
    seen = [key for key in range(40) if quarter.sees(key)]
    for key in seen:
        quarter.request(key, 100, 100, 0.0)
    assert seen == list(range(0, 40, 4))
    assert [key for key in seen if quarter.shadows["one"].holds(key)] == seen
    quarter.request(40, 100, 100, 0.0)
    assert len(quarter.shadows["one"]) == 10, "a thousand bytes"


def test_what_is_missed_counts_what_it_costs() -> None:
    both = panel()
    for key in (1, 2, 1, 2):
        both.request(key, 100, 300, 0.0)
    assert both.misses() == {"one": pytest.approx(0.5, abs=0.001), "other": pytest.approx(1.0)}


def test_one_that_comes_later_begins_where_another_is() -> None:
    both = panel()
    both.request(1, 100, 100, 0.0)
    both.put("late", Lru, like="one")
    assert both.misses()["late"] == both.misses()["one"]
    assert both.remove("late")
    assert not both.remove("late")
    assert "late" not in both.misses()


def test_what_is_surely_better_missed_less_again_and_again() -> None:
    both = panel()
    both.put("one", lambda _: Lru(0), like="one")
    both.put("other", Lru, like="other")
    for key in range(20):
        both.request(key % 4, 100, 100, 0.0)
    assert both.surely_better("other", 3.0)
    assert not both.surely_better("other", 5.0), "16 times of 100 bytes are four times the root of 16 squares"

"""A model that is wrong about what is small, or large, is put right by what it cost."""

from collections.abc import Iterator
from itertools import count, cycle

import pytest

from edgeproxy.interfaces import Access
from edgeproxy.predict.fixed import FixedPolicy
from edgeproxy.predict.learned import LearnedPolicy
from tests.predict.test_learned import asked, model_of

SMALL, LARGE, SEVERAL = 1_000, 100_000, 80
BUDGET = (SEVERAL + 8) * LARGE


def exponent_after(large: float, *, recur: int, pass_by: int) -> float:
    """Of a policy that expects large things with these log-odds, and small ones with about 1 in 200.

    Asked for in turn: some things of the size `recur` again and again, and others of the size `pass_by`, each once.
    """
    policy = LearnedPolicy(FixedPolicy(), model_of("size", 13.0, -5.3, large), BUDGET)
    again, once = cycle(range(SEVERAL)), count(SEVERAL)

    def requests() -> Iterator[Access]:
        for turn in range(20_000):
            number, size = (next(again), recur) if turn % 2 else (next(once), pass_by)
            yield from (each._replace(time=each.time + turn) for each in asked([number], size))

    for access in requests():
        policy.observe(access)
    return policy.standing().exponent


def test_large_things_that_are_worth_more_than_was_expected() -> None:
    assert exponent_after(-1.6, recur=LARGE, pass_by=SMALL) < 1.0


def test_small_things_that_are_worth_more_than_was_expected() -> None:
    assert exponent_after(4.0, recur=SMALL, pass_by=LARGE) > 1.0


@pytest.mark.parametrize("large", [-10.0, 4.0])
def test_where_the_model_is_right_nothing_is_changed(large: float) -> None:
    recur, pass_by = (LARGE, SMALL) if large > 0 else (SMALL, LARGE)
    assert exponent_after(large, recur=recur, pass_by=pass_by) == 1.0


def test_what_counts_is_what_misses_cost_not_only_their_bytes() -> None:
    """As many bytes of large things as of small ones: each is asked for more often, but only a tenth are there."""
    policy = LearnedPolicy(FixedPolicy(), model_of("size", 15.0, -5.3, -2.4), 3 * SEVERAL * LARGE // 2)
    large, small = cycle(range(SEVERAL)), cycle(range(SEVERAL, 11 * SEVERAL))
    for turn in range(40_000):
        number, size = (next(small), LARGE // 10) if turn % 8 else (next(large), LARGE)
        for access in asked([number], size):
            policy.observe(access._replace(time=access.time + turn))
    assert policy.standing().exponent > 1.0

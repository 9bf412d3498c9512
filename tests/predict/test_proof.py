"""A day decides: the model is suspended after a bad one, and comes back after a good one."""

import numpy as np
import pytest

from edgeproxy.interfaces import Access
from edgeproxy.predict.council import MODEL, Council
from edgeproxy.predict.fixed import FixedPolicy
from edgeproxy.predict.learned import LearnedPolicy
from tests.predict.test_council import Empty
from tests.predict.test_learned import BUDGET, NOW, WRONG, Cache, asked, model_of

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0


class Lucky(Empty):
    """A shadow that has this share of what it is asked for."""

    def __init__(self, share: float) -> None:
        self.share = share
        self._due = 0.0

    def request(self, key: int, size: int, now: float) -> bool:
        self._due += self.share
        had = self._due >= 1.0
        self._due -= had
        return had


class Bench:
    """A council of LRU, which has half, and S3-FIFO, which has less, and a model."""

    def __init__(self, share: float, step: float = MINUTE) -> None:
        self.model = Lucky(share)
        self.council = Council({"lru": lambda _: Lucky(0.5), "s3fifo": lambda _: Lucky(0.4)}, BUDGET)
        self.council.admit(lambda _: self.model)
        self.now = NOW
        self._step = step

    def run(self, seconds: float) -> list[bool]:
        """Whether the model was suspended, after each request."""
        found = []
        for _ in range(int(seconds / self._step)):
            self.council.request(0, 1000, self.now)
            found.append(self.council.proof.suspended)
            self.now += self._step
        return found


def test_a_model_that_is_worse_over_a_day_is_suspended() -> None:
    bench = Bench(0.3)
    assert not any(bench.run(DAY))
    assert all(bench.run(HOUR))
    assert bench.council.governs == "lru"
    assert bench.council.proof.suspended_at == NOW + DAY


def test_worse_than_the_second_best_is_not_worse_than_the_best() -> None:
    assert Bench(0.45).run(2 * DAY)[-1]
    assert not any(Bench(0.5).run(2 * DAY)), "as good as the best is good enough"


@pytest.mark.parametrize("share", [0.6, 0.5], ids=["better on the whole", "worse on the whole"])
def test_a_bad_hour_is_no_bad_day(share: float) -> None:
    bench = Bench(share)
    bench.run(DAY)
    bench.model.share = 0.0
    bench.run(HOUR)
    bench.model.share = share
    assert not any(bench.run(2 * DAY))


def test_it_does_not_govern_before_a_good_day() -> None:
    bench = Bench(0.3)
    bench.run(DAY + 2 * MINUTE)
    bench.model.share = 0.9
    for _ in range(23):
        assert all(bench.run(HOUR))
        assert bench.council.governs == "lru"
    bench.run(2 * HOUR)
    assert (bench.council.proof.suspended, bench.council.governs) == (False, MODEL)


def test_what_was_bad_in_the_meantime_is_made_up_for_by_a_day() -> None:
    bench = Bench(0.3)
    bench.run(3 * DAY)
    bench.model.share = 0.9
    recovered = bench.run(DAY).index(False) * MINUTE
    assert 6 * HOUR < recovered <= DAY
    assert bench.council.governs == MODEL


def test_a_model_in_the_place_of_a_suspended_one_needs_its_own_day() -> None:
    policy = LearnedPolicy(FixedPolicy(), WRONG, BUDGET)
    cache, numbers = Cache(policy), [number % 80 for number in range(3000)]
    mixed = [number for place, again in enumerate(numbers) for number in (again, 10_000 + place)]
    cache.run(asked(mixed, step=30.0))
    assert policy.standing().suspended
    before = policy.standing().suspended_at
    policy.adopt(model_of("uses", 0.9, -5.0, 5.0))
    standing = policy.standing()
    assert (standing.suspended, standing.suspended_at, standing.governs == MODEL) == (True, before, False)


def test_without_a_model_none_is_suspended() -> None:
    council = Council({"lru": lambda _: Lucky(0.5), "s3fifo": lambda _: Lucky(0.4)}, BUDGET)
    for minute in range(2000):
        council.request(0, 1000, NOW + minute * MINUTE)
    assert not council.proof.suspended
    council.admit(lambda _: Lucky(0.1))
    for minute in range(2000, 4000):
        council.request(0, 1000, NOW + minute * MINUTE)
    assert council.proof.suspended
    council.dismiss()
    assert not council.proof.suspended


@pytest.mark.parametrize("step", [200.0, 1000.0])
def test_few_requests_say_nothing(step: float) -> None:
    assert not any(Bench(0.1, step).run(5 * DAY))


def test_a_silence_is_no_day() -> None:
    bench = Bench(0.3)
    bench.run(12 * HOUR)
    bench.now += 3 * DAY
    assert not any(bench.run(HOUR)), "of the last day too little is known"


def test_it_recovers_within_a_day_of_a_popularity_flip() -> None:
    """Large blobs come again, small ones do not; from one moment to the next other large ones do."""

    def phase(first: int, start: float) -> list[Access]:
        return [
            access._replace(time=access.time + start + offset)
            for again, one in zip(
                asked([first + n % 90 for n in range(600)], size=1000, step=DAY / 600),
                asked(range(10_000 * first, 10_000 * first + 600), size=900, step=DAY / 600),
                strict=True,
            )
            for access, offset in ((again, 0.0), (one, 10.0))
        ]

    policy = LearnedPolicy(FixedPolicy(), model_of("size", np.log2(950), -5.0, 5.0), BUDGET, request=0)
    cache = Cache(policy)
    cache.run(phase(1000, 0.0))
    usual = cache.run(phase(1000, DAY))
    cache.run(phase(2000, 2 * DAY))
    assert cache.run(phase(2000, 3 * DAY)) <= usual
    assert (policy.standing().governs, policy.standing().suspended) == (MODEL, False)

"""The learned policy drives a cache of its own here, as the daemon's room does: the lowest worth leaves."""

from collections.abc import Iterable, Iterator

import numpy as np
import pytest

from edgeproxy.foreseen import Wish
from edgeproxy.interfaces import Access, Happening, Held
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.manifest import Descriptor
from edgeproxy.oci.reference import Pinned, Repository, Tag
from edgeproxy.predict.features import NAMES
from edgeproxy.predict.fixed import FixedPolicy
from edgeproxy.predict.forest import Trees
from edgeproxy.predict.learned import LearnedPolicy
from edgeproxy.predict.model import Model
from edgeproxy.predict.shadow import Lru

REPOSITORY = Repository("docker.io", "shop/app")
NOW = 1_700_000_000.0
BUDGET = 100_000


def model_of(feature: str, threshold: float, low: float, high: float) -> Model:
    """One tree: these log-odds where the feature is at most the threshold, those where it is above."""
    place = NAMES.index(feature)
    trees = Trees(
        np.array([0]), np.array([3]), np.array([place, -1, -1]), np.array([threshold, 0, 0]), np.array([1, 0, 0]),
        np.array([2, 0, 0]), np.array([0, low, high]),
    )  # fmt: skip
    return Model((3600.0,), np.zeros(1), trees, {})


WRONG = model_of("age", 10.0, -5.0, 5.0)
"""It keeps what was not asked for lately, and lets go of what was."""


def blob(number: int) -> Digest:
    return Digest.of(str(number).encode())


def asked(numbers: Iterable[int], size: int = 1000, step: float = 10.0) -> Iterator[Access]:
    for index, number in enumerate(numbers):
        digest = blob(number)
        yield Access(NOW + index * step, 0, "GET", "blobs", Pinned(REPOSITORY, digest), digest, size, "hit", size, 0.0)


class Cache:
    """What the daemon does with a policy."""

    def __init__(self, policy: LearnedPolicy) -> None:
        self.policy = policy
        self.held: dict[Digest, Held] = {}
        self.missed = 0

    def run(self, happenings: Iterable[Access]) -> int:
        """Bytes missed."""
        before = self.missed
        for access in happenings:
            assert access.digest is not None
            if access.digest not in self.held:
                self.missed += access.size
                self.held[access.digest] = Held(access.digest, access.size, access.time, access.time)
                self._fit(access.time)
            self.policy.observe(access)
        return self.missed - before

    def _fit(self, now: float) -> None:
        total = sum(held.size for held in self.held.values())
        if total <= BUDGET:
            return
        held = list(self.held.values())
        for place in np.argsort(self.policy.worths(held, now), kind="stable").tolist():
            if total <= BUDGET:
                break
            total -= held[place].size
            del self.held[held[place].digest]


def lru(happenings: Iterable[Access]) -> int:
    shadow = Lru(BUDGET)
    return sum(access.size for access in happenings if not shadow.request(hash(access.digest), access.size, 0.0))


def trace(kind: str) -> list[int]:
    chance = np.random.default_rng(3)
    popular: list[int] = (chance.zipf(1.3, 4000) % 2000).tolist()
    traces: dict[str, list[int]] = {
        "scan": [number for place, one in enumerate(popular) for number in (one, 10_000 + place)],
        "loop": list(range(150)) * 30,
        "random": chance.integers(0, 400, 6000).tolist(),
        "flip": [*popular, *(5000 + one for one in popular)],
    }
    return traces[kind]


@pytest.mark.parametrize("kind", ["scan", "loop", "random", "flip"])
@pytest.mark.parametrize("model", [None, WRONG], ids=["none", "wrong"])
def test_it_is_not_worse_than_lru(kind: str, model: Model | None) -> None:
    cache = Cache(LearnedPolicy(FixedPolicy(), model, BUDGET))
    numbers = trace(kind)
    assert cache.run(asked(numbers)) <= 1.02 * lru(asked(numbers))


def test_a_wrong_model_is_switched_off() -> None:
    cache = Cache(LearnedPolicy(FixedPolicy(), WRONG, BUDGET))
    assert cache.policy.standing().governs == "fixed"
    cache.run(asked([1]))
    assert cache.policy.standing().governs == "model"
    cache.run(asked(trace("scan")))
    standing = cache.policy.standing()
    assert standing.governs != "model"
    assert standing.misses["model"] > standing.misses[standing.governs]


def test_what_gets_known_after_a_verdict_makes_it_old() -> None:
    """The daemon tells of answers some seconds after they were given; it may have judged meanwhile."""
    policy = LearnedPolicy(FixedPolicy(), model_of("uses", 1.2, -5.0, 5.0), BUDGET)
    first, second = asked([1, 2], step=1.0)
    again = first._replace(time=NOW + 50.0)
    held = [Held(blob(number), 1000, NOW, NOW) for number in (1, 2)]
    policy.observe(first)
    policy.observe(second)
    before = policy.worths(held, NOW + 100.0)
    policy.observe(again)
    after = policy.worths(held, NOW + 101.0)
    assert after[0] > 10 * before[0]
    assert after[1] == before[1]


def test_a_model_that_is_right_governs_and_is_better_than_the_others() -> None:
    """Two kinds of blobs in turn: large ones that come again, and one-offs that are smaller. Only the model knows."""

    def mixed() -> Iterator[Access]:
        once = asked(range(10_000, 14_000), size=900)
        for again, one in zip(asked([n % 90 for n in range(4000)], size=1000), once, strict=True):
            yield again
            yield one

    policy = LearnedPolicy(FixedPolicy(), model_of("size", np.log2(950), -5.0, 5.0), BUDGET, request=0)
    cache = Cache(policy)
    missed = cache.run(mixed())
    assert policy.standing().governs == "model"
    assert missed < 0.6 * lru(mixed())


def test_what_was_stored_after_all_that_was_observed_stays() -> None:
    policy = LearnedPolicy(FixedPolicy(), WRONG, BUDGET)
    for access in asked(range(10)):
        policy.observe(access)
    held = [Held(blob(1), 1000, NOW, NOW), Held(blob(99), 1000, NOW + 1000, NOW + 1000)]
    assert policy.worths(held, NOW + 1000)[1] == np.inf


def test_before_anything_was_observed_the_fixed_policy_judges() -> None:
    held = Held(blob(1), 1000, NOW, NOW, 3)
    policy = LearnedPolicy(FixedPolicy(), WRONG, BUDGET)
    assert policy.worths([held], NOW + 5000) == [FixedPolicy().worth(held, NOW + 5000)]
    assert policy.ttl(Tag(REPOSITORY, "1.0"), NOW) == FixedPolicy().ttl(Tag(REPOSITORY, "1.0"), NOW)


def test_it_explains_by_what_made_the_difference() -> None:
    policy = LearnedPolicy(FixedPolicy(), model_of("age", 5.0, 2.0, -2.0), BUDGET)
    observed: list[Happening] = list(asked([1, 2, 3]))
    for happening in observed:
        policy.observe(happening)
    assert policy.explain(blob(77), NOW) is None
    explanation = policy.explain(blob(1), NOW + 5000)
    assert explanation is not None
    assert [one.feature for one in explanation.contributions] == ["age"]
    assert explanation.contributions[0].weight == -4.0
    assert explanation.chances[3600.0] == pytest.approx(1 / (1 + np.exp(2)))
    assert explanation.governs == "model"


def test_a_model_comes_and_goes() -> None:
    policy = LearnedPolicy(FixedPolicy(), None, BUDGET)
    for access in asked(range(10)):
        policy.observe(access)
    assert policy.standing().governs == "s3fifo"
    policy.adopt(WRONG)
    assert (policy.model, "model" in policy.standing().misses) == (WRONG, True)
    policy.adopt(None)
    assert policy.model is None
    assert policy.standing().governs in ("lru", "s3fifo", "gdsf")


def test_what_is_awaited_stays_until_it_is_no_longer_likely() -> None:
    policy = LearnedPolicy(FixedPolicy(), None, BUDGET)
    for access in asked(range(20)):
        policy.observe(access)
    new = Descriptor("", blob(100), 1000)
    policy.brought(new, Wish(Tag(REPOSITORY, "1.0"), 0.9, 3600.0), NOW)
    held = [Held(blob(number), 1000, NOW, NOW) for number in (0, 1, 100)]
    soon, late = policy.worths(held, NOW + 200.0), policy.worths(held, NOW + 7200.0)
    assert soon[2] > late[2]
    assert late[2] == min(late)


def test_what_is_awaited_is_worth_its_bytes_and_a_request() -> None:
    policy = LearnedPolicy(FixedPolicy(), model_of("size", 13.0, -20.0, -20.0), BUDGET, request=4000)
    policy.observe(next(asked([1])))
    wish = Wish(Tag(REPOSITORY, "1.0"), 0.9, 3600.0)
    for number, size in ((100, 1000), (101, 4000)):
        policy.brought(Descriptor("", blob(number), size), wish, NOW)
    small, large = policy.worths([Held(blob(number), 1000, NOW, NOW) for number in (100, 101)], NOW + 200.0)
    assert small / large == pytest.approx((1 + 4000 / 1000) / (1 + 4000 / 4000))

"""What nothing can be learned from costs no more than LRU: shadows take over where the model is worse, or missing."""

import random
import zlib
from collections.abc import Callable, Iterator

import pytest

from edgeproxy.interfaces import Access
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.reference import Pinned, Repository
from edgeproxy.predict.model import Model
from edgeproxy.predict.shipped import shipped
from edgeproxy.replay.requests import trace
from edgeproxy.replay.simulate import missed

REPOSITORY = Repository("docker.io", "shop/app")
NOW = 1_700_000_000.0
COUNT, OBJECTS, STEP = 12_000, 800, 40.0
DAY = 86400.0


def size_of(key: str) -> int:
    """A kilobyte to ten megabytes."""
    return int(10 ** (3 + 4 * (zlib.crc32(key.encode()) % 1000) / 1000))


def asked(keys: Iterator[str]) -> Iterator[Access]:
    for place, key in enumerate(keys):
        digest, size = Digest.of(key.encode()), size_of(key)
        reference = Pinned(REPOSITORY, digest)
        yield Access(NOW + place * STEP, 0, "GET", "blobs", reference, digest, size, "hit", size, 0.0)


def looped() -> Iterator[str]:
    return (str(place % OBJECTS) for place in range(COUNT))


def scanned() -> Iterator[str]:
    return (str(place) for place in range(COUNT))


def uniform() -> Iterator[str]:
    chance = random.Random(1)
    return (str(chance.randrange(OBJECTS)) for _ in range(COUNT))


def popular() -> list[int]:
    shares = [1 / (place + 1) ** 0.9 for place in range(OBJECTS)]
    return random.Random(2).choices(range(OBJECTS), shares, k=COUNT)


def popular_beside_scans() -> Iterator[str]:
    chance = random.Random(3)
    for place, key in enumerate(popular()):
        if place // 1500 % 2 and chance.random() < 0.5:
            yield f"scan {place}"
        yield str(key)


def flipped() -> Iterator[str]:
    """What was popular is not any more, from one moment to the next."""
    others = list(range(OBJECTS))
    random.Random(4).shuffle(others)
    return (str(key if place < COUNT // 2 else others[key]) for place, key in enumerate(popular()))


@pytest.mark.parametrize("model", [shipped(), None], ids=["shipped model", "no model"])
@pytest.mark.parametrize("keys", [looped, scanned, uniform, popular_beside_scans, flipped])
def test_it_misses_no_more_than_lru(keys: Callable[[], Iterator[str]], model: Model | None) -> None:
    replayed = trace(asked(keys()), DAY)
    budget = replayed.footprint // 10
    assert missed(replayed, "learned", budget, model).bytes <= 1.01 * missed(replayed, "lru", budget).bytes


def test_a_day_after_popularity_has_flipped_all_is_as_good_as_ever() -> None:
    happenings = list(asked(flipped()))
    again = trace(happenings, COUNT // 2 * STEP + DAY)
    budget = again.footprint // 10
    learned, lru = (missed(again, policy, budget, shipped()).bytes for policy in ("learned", "lru"))
    assert learned <= lru

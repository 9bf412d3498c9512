from collections.abc import Iterator

import numpy as np
import pytest

from edgeproxy.interfaces import Access, Happening
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.reference import Pinned, Repository
from edgeproxy.predict.features import NAMES
from edgeproxy.predict.shipped import shipped
from edgeproxy.predict.train import HORIZONS, Harvest, Lesson, TooLittle, fit, harvested, learn

REPOSITORY = Repository("docker.io", "shop/app")
NOW = 1_700_000_000.0
DAY = 86400.0


def record(days: float, hourly: int = 40, daily: int = 40) -> Iterator[Happening]:
    """Some blobs are asked for every hour, others every day."""
    hour = 0
    while hour < days * 24:
        for number in range(hourly + daily):
            if number < hourly or hour % 24 == number % 24:
                digest = Digest.of(str(number).encode())
                reference = Pinned(REPOSITORY, digest)
                at = NOW + hour * 3600.0 + number
                yield Access(at, 1, "GET", "blobs", reference, digest, 10**6, "hit", 10**6, 0.0)
        hour += 1


def harvest_of(days: float) -> Harvest:
    return harvested(Lesson("here", lambda: record(days)))


def test_rows_are_labelled_by_what_came_after_them() -> None:
    table, after, times = harvest_of(6.0).matured(3 * DAY)
    slow = table[:, NAMES.index("slow")]
    assert len(table) == len(after) == len(times) > 500
    assert after[slow > 5].max() <= 3600.0
    assert 3600.0 < np.median(after[slow < 2]) <= DAY


def test_what_is_not_known_yet_is_no_row() -> None:
    _, _, times = harvest_of(6.0).matured(3 * DAY)
    assert times.max() <= NOW + 3.0 * DAY
    assert len(harvest_of(1.0).matured(3 * DAY)[0]) == 0


def test_a_short_record_tells_nothing_of_what_takes_long() -> None:
    assert learn([harvest_of(8.0)]).horizons == HORIZONS[:-1]


def test_a_model_learns_what_comes_again_and_how_well_it_does() -> None:
    model = learn([harvest_of(10.0)])
    table, after, _ = harvest_of(6.0).matured(3 * DAY)
    chances = model.chances(table)
    assert chances[after < 3600, 0].mean() > 0.9
    assert chances[after > 7200, 0].mean() < 0.1
    assert model.about["gain"][0] > 0.8
    assert model.about["sites"] == ["here"]
    assert len(model.about["ordinary"]) == len(NAMES)
    assert learn([harvest_of(10.0)]).dump() == model.dump()


def test_too_little_is_not_learned_from() -> None:
    with pytest.raises(TooLittle, match="3 days"):
        learn([harvest_of(2.0)])


def test_what_always_or_never_happens_needs_no_trees() -> None:
    table = np.zeros((600, len(NAMES)), np.float32)
    model = fit(table, np.full(600, 100.0), {}, (50.0, 200.0))
    low, high = model.chances(table)[0]
    assert low < 0.01 < 0.99 < high


def test_the_shipped_model_is_of_this_release_and_knows_something() -> None:
    model = shipped()
    assert model.horizons == HORIZONS
    assert min(model.about["gain"]) > 0.3

"""What was held likely, and what came of it."""

import numpy as np
import pytest

from edgeproxy.interfaces import Access
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.reference import Pinned, Repository
from edgeproxy.predict.calibration import Calibration
from edgeproxy.predict.features import NAMES
from edgeproxy.predict.forest import Trees
from edgeproxy.predict.ledger import Ledger
from edgeproxy.predict.model import Model

REPOSITORY = Repository("docker.io", "shop/app")
NOW = 1_700_000_000.0
HOUR = 3600.0


def by_size(small: float, large: float, horizon: float = 6 * HOUR) -> Model:
    """These chances, by whether an object has more than a mebibyte."""
    low, high = (float(np.log(share / (1 - share))) for share in (small, large))
    trees = Trees(
        np.array([0]), np.array([3]), np.array([NAMES.index("size"), -1, -1]), np.array([20.0, 0, 0]),
        np.array([1, 0, 0]), np.array([2, 0, 0]), np.array([0, low, high]),
    )  # fmt: skip
    return Model((horizon,), np.zeros(1), trees, {})


def test_what_is_right_lies_on_the_diagonal() -> None:
    """Small blobs are asked for every hour, large ones once and never again."""
    ledger = Ledger()
    calibration, model = Calibration(ledger), by_size(0.95, 0.35)
    assert calibration.points() == []
    for minute in range(0, 5 * 24 * 60, 5):
        now = NOW + minute * 60.0
        numbers = [minute % 60 // 5] if minute >= 5 else []
        for number, size in [*((each, 1000) for each in numbers), (10_000 + minute, 10**7)]:
            digest = Digest.of(str(number).encode())
            ledger.observe(Access(now, 1, "GET", "blobs", Pinned(REPOSITORY, digest), digest, size, "hit", size, 0.0))
            calibration.observe(model, now)
    large, small = calibration.points()
    assert [small.expected, large.expected] == pytest.approx([0.95, 0.35], abs=0.01)
    assert [small.came, large.came] == [1.0, 0.0]
    assert large.looks > small.looks >= 20


def test_what_nobody_looked_at_in_time_does_not_count() -> None:
    ledger = Ledger()
    calibration, model = Calibration(ledger), by_size(0.9, 0.1)
    digest = Digest.of(b"blob")
    for place in range(100):
        now = NOW + place * 24 * HOUR  # nothing is heard for a day: when it was asked for is not known
        ledger.observe(Access(now, 1, "GET", "blobs", Pinned(REPOSITORY, digest), digest, 10, "hit", 10, 0.0))
        calibration.observe(model, now)
    assert calibration.points() == []

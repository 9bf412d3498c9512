"""Which of two models would have done better, on what neither has seen."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from edgeproxy.interfaces import Happening
from edgeproxy.predict.model import Model
from edgeproxy.predict.shipped import shipped
from edgeproxy.predict.trial import trial
from edgeproxy.replay.site import Site
from tests.predict.test_learned import WRONG

FOUND = list(Site(5, days=6.0, services=30, nodes=20).happenings())
BUDGET = 2 * 10**9


class Fitted:
    """Gives this model, and keeps what it was to be fitted to."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.happenings: Sequence[Happening] = []

    def __call__(self, happenings: Sequence[Happening]) -> Model:
        self.happenings = happenings
        return self.model


def test_a_worse_model_misses_more() -> None:
    fitted = Fitted(WRONG)
    own, other = trial(FOUND, fitted, shipped(), BUDGET)
    assert own > other
    assert len(fitted.happenings) == int(len(FOUND) * 2 / 3)


def test_what_the_other_has_seen_does_not_count() -> None:
    until = FOUND[0].time + 5 * 86400.0
    fitted = Fitted(shipped())
    own, other = trial(FOUND, fitted, replace(shipped(), about={"until": until}), BUDGET)
    assert own == other
    assert max(each.time for each in fitted.happenings) < until


def test_too_little_since_then_tells_nothing() -> None:
    with pytest.raises(ValueError, match="too few to judge by"):
        trial(FOUND, Fitted(WRONG), replace(shipped(), about={"until": FOUND[-100].time}), BUDGET)

"""Which of two models would have done better, on what neither has seen."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from edgeproxy.interfaces import Access, Happening
from edgeproxy.predict.model import Model
from edgeproxy.predict.shipped import shipped
from edgeproxy.predict.train import Early, Harvest, Lesson, TooLittle, harvested, learn
from edgeproxy.predict.trial import trial
from edgeproxy.replay.site import Site
from tests.predict.test_learned import WRONG

FOUND = list(Site(5, days=10.0, services=30, nodes=20).happenings())
BUDGET = 2 * 10**9


def bytes_of(found: Sequence[Happening]) -> dict[str, int]:
    """Of each blob and manifest that is asked for."""
    return {each.digest: each.size for each in found if isinstance(each, Access) and each.digest is not None}


def lesson(found: Sequence[Happening] = FOUND) -> Lesson:
    return Lesson("here", lambda: found)


class Fitted:
    """Gives this model, and keeps how much it was to be fitted to."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.happenings = 0
        self.until = 0.0

    def __call__(self, harvest: Harvest) -> Early:
        self.happenings, self.until = harvest.happenings, harvest.until
        return Early(self.model, 0)


def test_a_worse_model_misses_more() -> None:
    fitted = Fitted(WRONG)
    tried = trial(lesson(), shipped(), BUDGET, fitted)
    assert tried.own > tried.other
    assert fitted.happenings == int(len(FOUND) * 2 / 3)
    assert tried.harvest.happenings == len(FOUND)


def test_what_the_other_has_seen_does_not_count() -> None:
    until = FOUND[0].time + 8 * 86400.0
    fitted = Fitted(shipped())
    tried = trial(lesson(), replace(shipped(), about={"until": until}), BUDGET, fitted)
    assert tried.own == tried.other
    late = [each for each in FOUND if each.time >= until]
    assert fitted.happenings == len(FOUND) - len(late)
    assert fitted.until < until
    assert 0 < tried.own < sum(each.size for each in late if isinstance(each, Access))


def test_both_begin_with_what_was_there() -> None:
    """Where all fits, only what was never asked for before is missed."""
    tried = trial(lesson(), shipped(), 10**15, Fitted(WRONG))
    cut = int(len(FOUND) * 2 / 3)
    before, later = bytes_of(FOUND[:cut]), bytes_of(FOUND[cut:])
    assert tried.own == tried.other == sum(size for digest, size in later.items() if digest not in before)


def test_too_little_since_then_tells_nothing() -> None:
    with pytest.raises(ValueError, match="too few to judge by"):
        trial(lesson(), replace(shipped(), about={"until": FOUND[-100].time}), BUDGET, Fitted(WRONG))


def test_too_little_before_then_makes_no_model() -> None:
    with pytest.raises(TooLittle, match="3 days"):
        trial(lesson(FOUND[: len(FOUND) // 3]), shipped(), BUDGET)


def test_what_was_tried_says_how_well_the_model_of_all_does() -> None:
    tried = trial(lesson(), shipped(), BUDGET)
    model, other = learn([tried.harvest], tried.begun), learn([harvested(lesson())])
    assert all((one == its).all() for one, its in zip(model.trees, other.trees, strict=True))
    assert model.about["rows"] == other.about["rows"] > tried.begun.rows
    assert model.about["gain"] != other.about["gain"]
    nearly_all = tried.begun._replace(rows=model.about["rows"] - 100)
    assert learn([tried.harvest], nearly_all).about == other.about, "the rest is too little to say anything"
    assert all(0.1 < gain < 1.0 for gain in model.about["gain"])

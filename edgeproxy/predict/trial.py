"""Whether a model that is fitted to a record would have done better than the one in use, on what neither has seen."""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import NamedTuple

from edgeproxy.interfaces import Access, Happening
from edgeproxy.predict.learned import REQUEST
from edgeproxy.predict.ledger import Ledger, key_of
from edgeproxy.predict.model import Model
from edgeproxy.predict.panel import refill
from edgeproxy.predict.shadow import Listed, Lru
from edgeproxy.predict.shelf import Shelf
from edgeproxy.predict.train import Early, Harvest, Lesson, early
from edgeproxy.predict.verdicts import Verdicts

_FITTED = 2 / 3
_FEWEST = 500
"""Answers that say something about a model."""


class Trial(NamedTuple):
    own: int
    """Bytes that a cache would have missed which it alone decides about."""
    other: int
    harvest: Harvest
    """Of all that there is, to fit a model to."""
    begun: Early
    """The model that was tried."""


def trial(lesson: Lesson, other: Model, budget: int, fit: Callable[[Harvest], Early] = early) -> Trial:
    """On what came after the other was fitted, where it is of this record; else on its last third.

    `fit` makes a model of all before that; `budget`: bytes of the cache. Raises ValueError where too little has come
    since, and what `fit` raises. All is gone through once.
    """
    found = list(lesson.happenings())
    cut = bisect_left(found, float(other.about.get("until", 0.0)), key=lambda each: each.time)
    if not 0 < cut < len(found):
        cut = int(len(found) * _FITTED)
    if len(found) - cut < _FEWEST:
        raise ValueError(f"{len(found) - cut} answers since the last fit are too few to judge by")
    ledger, before = Ledger(), Lru(budget)
    harvest = Harvest(ledger, lesson.name)
    _missed(harvest, found[:cut], [before])
    begun = fit(harvest)
    shelves = [Shelf(budget, ledger, Verdicts(ledger, model, REQUEST)) for model in (begun.model, other)]
    for shelf in shelves:
        refill(shelf, before.kept(), found[cut].time)
    own, its = _missed(harvest, found[cut:], shelves)
    return Trial(own, its, harvest, begun)


def _missed(harvest: Harvest, happenings: Sequence[Happening], caches: Sequence[Listed]) -> list[int]:
    """Bytes, by cache."""
    missed = [0] * len(caches)
    for each in happenings:
        harvest.observe(each)
        if isinstance(each, Access) and each.method == "GET" and each.digest is not None:
            key = key_of(each.digest)
            for place, cache in enumerate(caches):
                missed[place] += 0 if cache.request(key, each.size, each.time) else each.size
    return missed

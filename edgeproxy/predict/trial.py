"""Whether a model that is fitted to a record would have done better than the one in use, on what neither has seen."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from edgeproxy.interfaces import Access, Happening
from edgeproxy.predict.learned import REQUEST
from edgeproxy.predict.ledger import Ledger, key_of
from edgeproxy.predict.model import Model
from edgeproxy.predict.shelf import Shelf
from edgeproxy.predict.verdicts import Verdicts

_FITTED = 2 / 3
_MOST = 400_000
"""Happenings that are gone through: the latest."""
_FEWEST = 500
"""That say something about a model."""


class Trial(NamedTuple):
    """Bytes that a cache would have missed which either alone decides about."""

    own: int
    other: int


def trial(found: Sequence[Happening], fit: Callable[[Sequence[Happening]], Model], other: Model, budget: int) -> Trial:
    """On what came after the other was fitted, where it is of this record; else on its last third.

    `fit` makes a model of all before that; `budget`: bytes of the cache. Raises ValueError where too little has come
    since, and what `fit` raises.
    """
    cut = bisect_left(found, float(other.about.get("until", 0.0)), key=lambda each: each.time)
    if not 0 < cut < len(found):
        cut = int(len(found) * _FITTED)
    if len(found) - cut < _FEWEST:
        raise ValueError(f"{len(found) - cut} answers since the last fit are too few to judge by")
    own = fit(found[:cut])
    return Trial(*_missed(found[-_MOST:], found[cut].time, (own, other), budget))


def _missed(happenings: Iterable[Happening], since: float, models: Sequence[Model], budget: int) -> list[int]:
    ledger, missed = Ledger(), [0] * len(models)
    shelves = [Shelf(budget, ledger, Verdicts(ledger, model, REQUEST)) for model in models]
    for each in happenings:
        ledger.observe(each)
        if isinstance(each, Access) and each.method == "GET" and each.digest is not None:
            for place, shelf in enumerate(shelves):
                had = shelf.request(key_of(each.digest), each.size, each.time)
                missed[place] += 0 if had or each.time < since else each.size
    return missed

"""Whether a model that is fitted to a record would have done better than the one in use, on what neither has seen."""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import NamedTuple

from edgeproxy.interfaces import Happening
from edgeproxy.predict.model import Model
from edgeproxy.replay.requests import trace
from edgeproxy.replay.simulate import missed

_FITTED = 2 / 3
_MOST = 400_000
"""Happenings that are gone through: the latest."""
_FEWEST = 500
"""That say something about a model."""


class Trial(NamedTuple):
    """Shares of the bytes asked for that each would have missed."""

    own: float
    other: float


def trial(found: Sequence[Happening], fit: Callable[[Sequence[Happening]], Model], other: Model, budget: int) -> Trial:
    """On what came after the other was fitted, where it is of this record; else on its last third.

    `fit` makes a model of all before that. Raises ValueError where too little has come since, and what `fit` raises.
    """
    since = float(other.about.get("until", 0.0))
    cut = bisect_left(found, since, key=lambda each: each.time)
    if not 0 < cut < len(found):
        cut = int(len(found) * _FITTED)
    if len(found) - cut < _FEWEST:
        raise ValueError(f"{len(found) - cut} answers since the last fit are too few to judge by")
    own, seen = fit(found[:cut]), found[-_MOST:]
    replayed = trace(seen, max(0.0, found[cut].time - seen[0].time))
    shares = [missed(replayed, "learned", budget, model).bytes for model in (own, other)]
    return Trial(*shares)

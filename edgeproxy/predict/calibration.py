"""Whether what the model holds likely does happen: some objects now and then, looked at again when the time is over."""

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from edgeproxy.predict.features import rows
from edgeproxy.predict.ledger import Ledger
from edgeproxy.predict.model import Model
from edgeproxy.predict.table import stamp

_EVERY = 300.0
"""Seconds between two times that those are judged whose time is over."""
_LOOKED, _EACH = 6, 64
"""Of these times one in six is for new ones, so many: a few at a time take as long to work out."""
_RECENT = 3 * 86400.0
"""Objects that were asked for within so many seconds are looked at."""
_HORIZON = 6 * 3600.0
"""Seconds within which an object is asked for again, or not; of the model's horizons the nearest counts."""
_BINS = 10
_FEWEST = 20
"""Looks that make a point."""
_MOST = 20_000
_MEMORY = 5_000.0
"""Looks after which one counts half."""


class Point(NamedTuple):
    """Shares of 1: of objects that were held about as likely."""

    expected: float
    came: float
    looks: int


class _Look(NamedTuple):
    until: float
    began: int
    """A stamp."""
    slot: int
    first: int
    """When what is in the slot was heard of first: it may be given to something else."""
    likely: float


class Calibration:
    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._chance = np.random.default_rng(0)
        self._next = float("-inf")
        self._times = 0
        self._open = deque[_Look]()
        self._counts = np.zeros(_BINS)
        self._expected = np.zeros(_BINS)
        self._came = np.zeros(_BINS)

    def observe(self, model: Model, now: float) -> None:
        """In the order of time, after the ledger was told."""
        if now >= self._next:
            self._next = now + _EVERY
            self._judge(now)
            if self._times % _LOOKED == 0:
                self._look(model, now)
            self._times += 1

    def points(self) -> Sequence[Point]:
        """The least likely first."""
        enough = np.flatnonzero(self._counts >= _FEWEST)
        expected, came = self._expected[enough] / self._counts[enough], self._came[enough] / self._counts[enough]
        return [
            Point(*point)
            for point in zip(expected.tolist(), came.tolist(), self._counts[enough].astype(int).tolist(), strict=True)
        ]

    def _look(self, model: Model, now: float) -> None:
        objects = self._ledger.objects
        if not len(objects) or len(self._open) >= _MOST:
            return
        recent = np.flatnonzero(objects.whole("last") > stamp(now - _RECENT))
        if not len(recent):
            return
        slots = self._chance.choice(recent, min(_EACH, len(recent)), replace=False)
        place = int(np.argmin(np.abs(np.array(model.horizons) - _HORIZON)))
        until, first = now + model.horizons[place], objects.columns["first"]
        for slot, likely in zip(
            slots.tolist(), model.chances(rows(self._ledger, slots, now))[:, place].tolist(), strict=True
        ):
            self._open.append(_Look(until, stamp(now), slot, first[slot], likely))

    def _judge(self, now: float) -> None:
        """Those whose time has just ended: later than a little after it nobody knows when it was asked for."""
        columns = self._ledger.objects.columns
        while self._open and self._open[0].until <= now:
            look = self._open.popleft()
            if columns["first"][look.slot] != look.first or now > look.until + 2 * _EVERY:
                continue
            keep = 2.0 ** (-1.0 / _MEMORY)
            self._counts *= keep
            self._expected *= keep
            self._came *= keep
            place = min(_BINS - 1, int(look.likely * _BINS))
            self._counts[place] += 1.0
            self._expected[place] += look.likely
            self._came[place] += columns["last"][look.slot] > look.began

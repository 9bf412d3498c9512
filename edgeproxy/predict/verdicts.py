"""How much each known object is worth keeping: looked up, and worked out again for many at once."""

from math import inf

import numpy as np
from numpy.typing import NDArray

from edgeproxy.predict.features import rows
from edgeproxy.predict.ledger import Ledger
from edgeproxy.predict.model import Model
from edgeproxy.predict.table import ORIGIN, Slots, stamp

_STALE = 900.0
"""Seconds after which a low verdict is worked out again before it counts."""
_REFRESHED = 256
"""Verdicts that are the next to count: the lowest."""
_ALL_STALE, _SMALL_STALE = 3600.0, 12 * 3600.0
"""Seconds after which any verdict is worked out again: what was wanted once does not stay for ever. What is small takes
no room worth the work."""
_CHUNK = 2048
"""Verdicts that are worked out at once: the rows of all that is held would take more room than all else."""
Numbers = NDArray[np.float64]


class Verdicts:
    """A verdict is what the model expects a kept byte to save: chances of a request per second of keeping it.

    What it is worth is that times what a hit saves per byte.
    """

    def __init__(self, ledger: Ledger, model: Model, request: float) -> None:
        """A request upstream costs as much as `request` bytes."""
        self._ledger = ledger
        self.model = model
        self.request = request
        self.exponent = 1.0
        """1 is right where all that the model expects is."""
        self._chance = np.zeros(0, np.float32)
        self._judged = np.zeros(0, np.uint32)
        """Stamps."""
        self.spent = 0
        """Verdicts worked out so far."""
        self.asked = 0
        """Requests so far: whoever observes them counts them."""

    def adopt(self, model: Model) -> None:
        """Judge by this model from now on."""
        self.model = model
        self._judged[:] = 0

    def worths(self, slots: Slots, now: float, until: float = inf) -> Numbers:
        """For each slot, what its verdict makes it worth per byte; where verdicts are old and low, they are renewed.

        `until`: when the last happening was that is known of, where that is before now: what happened since makes a
        verdict old when it gets known.
        """
        weight = self._weigh(slots, self.exponent, now, until)
        worth: Numbers = self._chance[slots] * weight
        low = np.argpartition(worth, _REFRESHED)[:_REFRESHED] if len(slots) > _REFRESHED else np.arange(len(slots))
        low = low[self._judged[slots[low]] < now + ORIGIN - _STALE]
        self._judge(slots[low], now, until)
        worth[low] = self._chance[slots[low]] * weight[low]
        return worth

    def worths_by(self, exponent: float, slots: Slots, now: float) -> Numbers:
        """The same by another exponent, for comparison: low ones are taken as they are."""
        weight = self._weigh(slots, exponent, now, inf)
        worth: Numbers = self._chance[slots] * weight
        return worth

    def _weigh(self, slots: Slots, exponent: float, now: float, until: float) -> Numbers:
        """What a hit saves per byte of each; verdicts that nobody may go by any more are renewed."""
        self._grow()
        last = self._ledger.objects.get("last", slots)
        size = self._ledger.objects.get("size", slots)
        patience = np.where(size * 16 < self.request, _SMALL_STALE, _ALL_STALE)
        judged = self._judged[slots]
        self._judge(slots[(judged <= last) | (judged < now + ORIGIN - patience)], now, until)
        return saved_per_byte(size, self.request, exponent)

    def index(self, slots: Slots, now: float) -> Numbers:
        """The verdicts themselves, worked out now."""
        return hit_density(self.model.chances(rows(self._ledger, slots, now)), self.model.horizons)

    def _judge(self, slots: Slots, now: float, until: float) -> None:
        for at in range(0, len(slots), _CHUNK):
            some = slots[at : at + _CHUNK]
            self._chance[some] = self.index(some, now)
        self._judged[slots] = stamp(min(now, until))
        self.spent += len(slots)

    def _grow(self) -> None:
        more = len(self._ledger.objects.seen) - len(self._chance)
        if more > 0:
            self._chance = np.concatenate([self._chance, np.zeros(more, np.float32)])
            self._judged = np.concatenate([self._judged, np.zeros(more, np.uint32)])


def saved_per_byte(sizes: Numbers, request: float, exponent: float) -> Numbers:
    """By a hit: its bytes and a request that costs as many as `request`, to a power by which small things count more,
    or less, than that."""
    saved: Numbers = (1.0 + request / np.maximum(1.0, sizes)) ** exponent
    return saved


def hit_density(chances: Numbers, horizons: tuple[float, ...]) -> Numbers:
    """The best there is of chance to be asked for within a time, over the time it is likely kept until then.

    Between two horizons the chance is taken to rise evenly.
    """
    rising = np.maximum.accumulate(chances, axis=1)
    before = np.concatenate([np.zeros((len(rising), 1)), rising[:, :-1]], axis=1)
    spans = np.diff(np.array((0.0, *horizons)))
    kept = np.cumsum(spans * (1.0 - (before + rising) / 2.0), axis=1)
    best: Numbers = (rising / kept).max(axis=1)
    return best

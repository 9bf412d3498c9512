"""The model's own shadow: what the cache would hold if the model alone decided."""

from collections.abc import Iterator, Sequence

import numpy as np

from edgeproxy.predict.ledger import Ledger
from edgeproxy.predict.table import Slots
from edgeproxy.predict.verdicts import Numbers, Verdicts

_LOW, _LOWER = 0.985, 0.93
"""Shares of the budget that are kept when something has to leave: many leave at once, judged at once."""
_ROWS = 2.0
"""Verdicts worked out per request, on average, above which more leaves at once: the work is bounded, come what may."""

_FEW = 512
"""As many as leave at once, seldom more."""


class Shelf:
    """Implements `Listed`."""

    def __init__(self, budget: int, ledger: Ledger, verdicts: Verdicts, exponent: float | None = None) -> None:
        """`exponent`: one of its own, for comparison; no more work is done for it than that takes."""
        self._budget = budget
        self._ledger = ledger
        self._verdicts = verdicts
        self._exponent = exponent
        self._held: dict[int, int] = {}
        self._total = 0

    def request(self, key: int, size: int, now: float) -> bool:
        if key in self._held:
            return True
        if size <= self._budget:
            self._held[key] = size
            self._total += size
            if self._total > self._budget:
                self._trim(now)
        return False

    def holds(self, key: int) -> bool:
        return key in self._held

    def kept(self) -> Sequence[tuple[int, int]]:
        return list(self._held.items())

    def __len__(self) -> int:
        return len(self._held)

    def _trim(self, now: float) -> None:
        keys = np.fromiter(self._held, np.int64, len(self._held))
        slots = self._ledger.objects.find_all(keys)
        worth = np.full(len(keys), -1.0)
        known = slots >= 0
        worth[known] = self._worths(slots[known], now)
        busy = self._exponent is not None or self._verdicts.spent > _ROWS * self._verdicts.asked
        low = _LOWER if busy else _LOW
        for place in _rising(worth):
            if self._total <= self._budget * low:
                break
            self._total -= self._held.pop(int(keys[place]))

    def _worths(self, slots: Slots, now: float) -> Numbers:
        if self._exponent is None:
            return self._verdicts.worths(slots, now)
        return self._verdicts.worths_by(self._exponent, slots, now)


def _rising(worth: Numbers) -> Iterator[int]:
    """The places of the lowest first, of equals the first one: sorted only as far as they are asked for, about."""
    bar = np.partition(worth, _FEW)[_FEW] if len(worth) > _FEW else np.inf
    for places in (np.flatnonzero(worth < bar), np.flatnonzero(worth >= bar)):
        yield from places[np.argsort(worth[places], kind="stable")].tolist()

"""What was brought ahead: how likely something must be wanted to be brought, and what became of it.

A byte that is here when it is asked for has cost nobody a wait; one that is brought in vain has cost the link, and
either takes the room of one that may have been asked for again. What the link is worth follows from the share of all
incoming bytes that came in vain, so that this stays below what it may be.
"""

from collections import OrderedDict
from math import exp, log
from typing import NamedTuple

from edgeproxy.foreseen import Wish

BUDGET = 0.05
"""The share of incoming bytes that may be brought in vain."""
_KEEPS = 0.5 ** (1 / 2000)
"""What an arrival counts against the next one."""
_STEP = 0.02
_LEAST, _MOST = 1.0, 64.0
_AWAITED = 65536
_LOOKED = 60.0


class Brought(NamedTuple):
    """In bytes, since the start."""

    brought: int
    used: int
    wasted: int
    """Nobody asked while it was likely, or before they had to leave; the rest may still be asked for."""


class Ahead:
    """Keys are the ledger's; times rise."""

    def __init__(self, budget: float = BUDGET) -> None:
        """`budget`: the share of incoming bytes that may be brought in vain; 0 is nothing."""
        self._budget = budget
        self.awaited: OrderedDict[int, tuple[int, float, float, float]] = OrderedDict()
        """Size, chance, and from when on it may be asked for within how many seconds."""
        self._looked = float("-inf")
        self._price = 1.0
        self._came = 1.0
        self._again = 0.0
        """Of these bytes, lately, what had been here before."""
        self._wasted_lately = 0.0
        self._all = self._used = self._wasted = 0

    @property
    def bar(self) -> float:
        """The least chance with which something is worth to be brought; above 1 nothing is."""
        if not self._budget:
            return 2.0
        pressure = self._again / self._came
        return (self._price + pressure) / (1.0 + self._price)

    def brought(self, key: int, size: int, wish: Wish, now: float) -> None:
        self._expire(now)
        if key in self.awaited:
            self._waste(self.awaited.pop(key)[0])
        self._came_in(size, again=False)
        self._all += size
        if len(self.awaited) >= _AWAITED:
            self._waste(self.awaited.popitem(last=False)[1][0])
        self.awaited[key] = size, wish.chance, now, wish.within

    def asked(self, key: int) -> None:
        if key in self.awaited:
            self._used += self.awaited.pop(key)[0]

    def missed(self, size: int, *, again: bool) -> None:
        """A client had to wait for it; `again` where it had been here."""
        self._came_in(size, again=again)

    def chance(self, key: int, now: float) -> float:
        """That what was brought is still asked for, less and less; 0 where it was, or was not brought."""
        _, chance, since, within = self.awaited.get(key, (0, 0.0, 0.0, 1.0))
        return chance * max(0.0, 1.0 - (now - since) / within)

    def figures(self) -> Brought:
        return Brought(self._all, self._used, self._wasted)

    def _expire(self, now: float) -> None:
        if now >= self._looked + _LOOKED:
            self._looked = now
            for key in [key for key, (_, _, since, within) in self.awaited.items() if now - since >= within]:
                self._waste(self.awaited.pop(key)[0])

    def _waste(self, size: int) -> None:
        self._wasted += size
        self._wasted_lately += size

    def _came_in(self, size: int, *, again: bool) -> None:
        self._came = self._came * _KEEPS + size
        self._again = self._again * _KEEPS + (size if again else 0)
        self._wasted_lately *= _KEEPS
        if self._budget:
            share = self._wasted_lately / self._came
            towards = log(max(share, self._budget / 100) / self._budget)
            self._price = min(_MOST, max(_LEAST, self._price * exp(_STEP * towards)))

"""Shadow caches side by side: told of the same requests, and what each has missed lately."""

from collections.abc import Callable, Iterable, Mapping
from math import sqrt

from edgeproxy.predict.shadow import Listed

Kind = Callable[[int], Listed]
"""Makes a shadow of so many bytes."""
_MEMORY = 4000.0
"""Requests after which what was missed counts about a third."""
_GAIN = 1.0 / (1.0 - 1.0 / _MEMORY)


class Panel:
    """Where there is much, its shadows are thinned: each sees a half of all keys, a quarter and so on, with as much of
    the budget, which tells as well who is better (SHARDS: Waldspurger et al., FAST 2015)."""

    def __init__(self, kinds: Mapping[str, Kind], budget: int, most: int, against: str, mask: int = 0) -> None:
        """`most`: things that a shadow holds at most before all are thinned; `mask` says how much they are at first.
        `against`: whom `surely_better` compares with; it may come later."""
        self._kinds = dict(kinds)
        self._budget = budget
        self._most = most
        self._against = against
        self.mask = mask
        """Keys that have one of these bits are not seen."""
        self.shadows = {name: kind(budget // (mask + 1)) for name, kind in kinds.items()}
        self.missed = dict.fromkeys(kinds, 0.0)
        """By shadow, in bytes of which each counts more than one before; see `misses`."""
        self._apart = dict.fromkeys(kinds, 0.0)
        """By shadow, the sum of the squares of what either it missed or the one that it is compared with."""
        self._asked = 0.0
        self._weight = 1.0
        """What a byte counts: more and more, so that what was missed before counts less."""

    def put(self, name: str, kind: Kind, like: str) -> None:
        """A shadow in the place of any of that name, as if it had missed lately what that other one did."""
        self._kinds[name] = kind
        self.shadows[name] = kind(self._budget // (self.mask + 1))
        self.missed[name] = self.missed[like]

    def remove(self, name: str) -> bool:
        """Whether it was there."""
        self.missed.pop(name, None)
        return self.shadows.pop(name, None) is not None

    def whole(self, name: str) -> Listed:
        """An empty one of that name, for all keys."""
        return self._kinds[name](self._budget)

    def sees(self, key: int) -> bool:
        return not key & self.mask

    def request(self, key: int, size: int, cost: float, now: float) -> set[str]:
        """Which have missed it, where a miss costs so much. Of keys that are seen only."""
        self._weight *= _GAIN
        weighted = self._weight * cost
        self._asked += weighted
        missed = {name for name, shadow in self.shadows.items() if not shadow.request(key, size, now)}
        for name in missed:
            self.missed[name] += weighted
        for name in self._apart:
            if (name in missed) != (self._against in missed):
                self._apart[name] += weighted * weighted
        return missed

    def surely_better(self, name: str, errors: float) -> bool:
        """Whether it missed less than the one that all are compared with by so many standard errors: a few large blobs
        that it happened to have say little."""
        return self.missed[self._against] - self.missed[name] > errors * sqrt(self._apart[name])

    def misses(self) -> Mapping[str, float]:
        """By shadow, the share of what was asked for lately that it missed."""
        return {name: missed / max(1.0, self._asked) for name, missed in self.missed.items()}

    def tidy(self, now: float) -> bool:
        """Now and then: keep numbers small and shadows few. Whether these were thinned."""
        if self._weight > 1e6:
            self._asked /= self._weight
            self.missed = {name: missed / self._weight for name, missed in self.missed.items()}
            self._apart = {name: apart / self._weight**2 for name, apart in self._apart.items()}
            self._weight = 1.0
        if max(map(len, self.shadows.values())) <= self._most:
            return False
        self.mask = 2 * self.mask + 1
        for name, shadow in list(self.shadows.items()):
            smaller = self.shadows[name] = self._kinds[name](self._budget // (self.mask + 1))
            refill(smaller, ((key, size) for key, size in shadow.kept() if not key & self.mask), now)
        return True


def refill(shadow: Listed, held: Iterable[tuple[int, int]], now: float) -> None:
    """Begin with what is in another: keys and sizes, the first to leave first."""
    for key, size in held:
        shadow.request(key, size, now)

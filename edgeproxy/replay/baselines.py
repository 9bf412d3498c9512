"""Policies that others have published, to be compared with; each implements `predict.shadow.Shadow`.

LRU, S3-FIFO and GDSF are those that run in the learned policy's shadow.
"""

from bisect import insort
from collections import OrderedDict
from collections.abc import Sequence


class Fifo:
    """First in, first out."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._held: OrderedDict[int, int] = OrderedDict()
        self._total = 0

    def request(self, key: int, size: int, now: float) -> bool:
        if key in self._held:
            return True
        if size > self._budget:
            return False
        self._held[key] = size
        self._total += size
        while self._total > self._budget:
            self._total -= self._held.popitem(last=False)[1]
        return False

    def holds(self, key: int) -> bool:
        return key in self._held


class Sieve:
    """A queue with a hand that passes over what was asked for since it came by (Zhang et al., NSDI 2024)."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._sizes: dict[int, int] = {}
        self._visited: dict[int, bool] = {}
        self._older: dict[int, int | None] = {}
        self._newer: dict[int, int | None] = {}
        self._newest: int | None = None
        self._oldest: int | None = None
        self._hand: int | None = None
        self._total = 0

    def request(self, key: int, size: int, now: float) -> bool:
        if key in self._sizes:
            self._visited[key] = True
            return True
        if size > self._budget:
            return False
        while self._total + size > self._budget:
            self._evict()
        self._sizes[key], self._visited[key] = size, False
        self._total += size
        self._older[key], self._newer[key] = self._newest, None
        if self._newest is not None:
            self._newer[self._newest] = key
        else:
            self._oldest = key
        self._newest = key
        return False

    def holds(self, key: int) -> bool:
        return key in self._sizes

    def _evict(self) -> None:
        place = self._oldest if self._hand is None else self._hand
        while place is not None and self._visited[place]:
            self._visited[place] = False
            newer = self._newer[place]
            place = self._oldest if newer is None else newer
        assert place is not None
        self._hand = self._newer[place]
        older, newer = self._older.pop(place), self._newer.pop(place)
        if older is None:
            self._oldest = newer
        else:
            self._newer[older] = newer
        if newer is None:
            self._newest = older
        else:
            self._older[newer] = older
        self._total -= self._sizes.pop(place)
        del self._visited[place]


class Belady:
    """What is asked for latest leaves first: it knows the future, and is nobody's policy."""

    def __init__(self, budget: int, following: Sequence[int]) -> None:
        """`following`: for each request, when its key is asked for next, as a number of a request."""
        self._budget = budget
        self._following = following
        self._asked = 0
        self._held: dict[int, tuple[int, int]] = {}
        self._order: list[tuple[int, int]] = []
        self._total = 0

    def request(self, key: int, size: int, now: float) -> bool:
        after = self._following[self._asked]
        self._asked += 1
        had = key in self._held
        if had:
            self._total -= self._held.pop(key)[1]
        if size <= self._budget:
            self._held[key] = (after, size)
            insort(self._order, (after, key))
            self._total += size
        while self._total > self._budget:
            latest, place = self._order.pop()
            if self._held.get(place, (None,))[0] == latest:
                self._total -= self._held.pop(place)[1]
        return had

    def holds(self, key: int) -> bool:
        return key in self._held


def following(keys: Sequence[int]) -> list[int]:
    """For each request the number of the next for the same key; one that never comes is after all that do."""
    found, coming = [0] * len(keys), dict[int, int]()
    for place in range(len(keys) - 1, -1, -1):
        found[place] = coming.get(keys[place], 2 * len(keys) + place)
        coming[keys[place]] = place
    return found

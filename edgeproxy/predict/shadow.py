"""Shadow caches: what other policies would hold with the same budget, without the bytes.

Each is told every request and answers whether it had it. What they miss says which policy suits the site; what the best
of them holds is what the real cache can keep in its place.
"""

from collections import OrderedDict
from collections.abc import Sequence
from heapq import heappop, heappush, heapreplace
from typing import Protocol


class Shadow(Protocol):
    """A cache of a byte budget; keys and sizes only."""

    def request(self, key: int, size: int, now: float) -> bool:
        """Whether it was there; afterwards it is, if the policy wants it."""
        ...

    def holds(self, key: int) -> bool: ...


class Listed(Shadow, Protocol):
    """A shadow that another one can begin with what is in."""

    def kept(self) -> Sequence[tuple[int, int]]:
        """Keys and sizes, about in the order that they would leave in."""
        ...

    def __len__(self) -> int: ...


class Lru:
    """Least recently used goes first."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._held: OrderedDict[int, int] = OrderedDict()
        self._total = 0

    def request(self, key: int, size: int, now: float) -> bool:
        held = self._held
        if key in held:
            held.move_to_end(key)
            return True
        if size > self._budget:
            return False
        held[key] = size
        self._total += size
        while self._total > self._budget:
            self._total -= held.popitem(last=False)[1]
        return False

    def holds(self, key: int) -> bool:
        return key in self._held

    def kept(self) -> Sequence[tuple[int, int]]:
        return list(self._held.items())

    def __len__(self) -> int:
        return len(self._held)


class S3Fifo:
    """Three queues (Yang et al., SOSP 2023): a small one that newcomers must be asked for in, a main one, and a
    memory of those that were not. What is larger than the small queue goes through it alone."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._small: OrderedDict[int, int] = OrderedDict()
        self._main: OrderedDict[int, int] = OrderedDict()
        self._ghost: OrderedDict[int, int] = OrderedDict()
        self._hits: dict[int, int] = {}
        self._in_small = self._in_main = self._in_ghost = 0

    def request(self, key: int, size: int, now: float) -> bool:
        hits = self._hits.get(key)
        if hits is not None:
            if hits < 3:
                self._hits[key] = hits + 1
            return True
        if size > self._budget:
            return False
        while self._in_small + self._in_main + size > self._budget:
            self._evict()
        self._hits[key] = 0
        if key in self._ghost:
            self._in_ghost -= self._ghost.pop(key)
            self._main[key] = size
            self._in_main += size
        else:
            self._small[key] = size
            self._in_small += size
        return False

    def holds(self, key: int) -> bool:
        return key in self._hits

    def kept(self) -> Sequence[tuple[int, int]]:
        return [*self._small.items(), *self._main.items()]

    def __len__(self) -> int:
        return len(self._hits)

    def _evict(self) -> None:
        if self._small and (self._in_small > self._budget // 10 or not self._main):
            key, size = self._small.popitem(last=False)
            self._in_small -= size
            if self._hits[key] > 1:
                self._hits[key] = 0
                self._main[key] = size
                self._in_main += size
            else:
                del self._hits[key]
                self._remember(key, size)
            return
        key, size = self._main.popitem(last=False)
        if self._hits[key] > 0:
            self._hits[key] -= 1
            self._main[key] = size
        else:
            del self._hits[key]
            self._in_main -= size

    def _remember(self, key: int, size: int) -> None:
        self._ghost[key] = size
        self._in_ghost += size
        while self._in_ghost > self._budget * 9 // 10 and len(self._ghost) > 1:
            self._in_ghost -= self._ghost.popitem(last=False)[1]


class Gdsf:
    """Greedy-Dual-Size-Frequency (Cherkasova, 1998): requests per byte, above what went last."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._held: dict[int, tuple[float, int, int, int]] = {}
        """Priority, key, requests, size."""
        self._order: list[tuple[float, int, int, int]] = []
        """A heap: of each what it was when it was put there. It only rises, and rises here when it is the lowest."""
        self._total = 0
        self._floor = 0.0

    def request(self, key: int, size: int, now: float) -> bool:
        known = self._held.get(key)
        if known is not None:
            _, _, uses, known_size = known
            self._held[key] = self._entry(key, uses + 1, known_size)
            return True
        if size > self._budget:
            return False
        entry = self._held[key] = self._entry(key, 1, size)
        heappush(self._order, entry)
        self._total += size
        while self._total > self._budget:
            self._evict()
        return False

    def holds(self, key: int) -> bool:
        return key in self._held

    def kept(self) -> Sequence[tuple[int, int]]:
        return [(key, size) for _, key, _, size in sorted(self._held.values())]

    def __len__(self) -> int:
        return len(self._held)

    def _entry(self, key: int, uses: int, size: int) -> tuple[float, int, int, int]:
        return self._floor + uses / (size or 1), key, uses, size

    def _evict(self) -> None:
        """The lowest, if it has not risen since it was put in order."""
        lowest = self._order[0]
        current = self._held[lowest[1]]
        if current is not lowest:
            heapreplace(self._order, current)
            return
        heappop(self._order)
        del self._held[lowest[1]]
        self._total -= lowest[3]
        self._floor = lowest[0]

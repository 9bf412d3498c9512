"""Columns of numbers, and slots in them: what is known of many things takes some bytes each, and no objects."""

from array import array
from collections.abc import Mapping, Sequence
from random import getrandbits
from typing import Any

import numpy as np
from numpy.typing import NDArray

Slots = NDArray[np.intp]
Keys = NDArray[np.int64]
ORIGIN = 2.0**29
"""Seconds before 1970 that stamps count from."""
_LAST = 0xFFFFFFFF
_SHIFT = 24


def stamp(now: float) -> int:
    """A time in whole seconds, for a column of 32 bits: 0 there is so long ago that it is never."""
    whole = int(now + ORIGIN)
    return whole if 0 < whole <= _LAST else (_LAST if whole > 0 else 1)


class Table:
    """One slot for each key, with a number in each column; `columns` names them with `array`'s type codes.

    Slots of what has not been seen for longest are given to others when there are `limit` of them. Keys have 64 bits.
    """

    def __init__(self, columns: Mapping[str, str], limit: int) -> None:
        self.limit = limit
        self.columns: dict[str, array[Any]] = {name: array(code) for name, code in columns.items()}
        self.seen = array("I")
        """By slot, the stamp of when it was last asked for; 0 where nothing is in it."""
        self.keys = array("q")
        """By slot."""
        self._salt = getrandbits(61) | 1
        """Nobody can choose keys that get in each other's way."""
        self._index = array("i", [-1]) * 1024
        """By a hash of the key, its slot; where another's is, the next place that is free."""
        self._free = array("i")
        self._begun = self._known = 0
        """Slots that were ever in use, and that are."""

    def __len__(self) -> int:
        return self._known

    def find(self, key: int) -> int:
        """The slot of `key`, or -1."""
        index, keys = self._index, self.keys
        mask = len(index) - 1
        place = (key * self._salt >> _SHIFT) & mask
        while (slot := index[place]) >= 0:
            if keys[slot] == key:
                return slot
            place = (place + 1) & mask
        return -1

    def find_all(self, keys: Keys) -> Slots:
        """For each key its slot, or -1."""
        index, known = np.frombuffer(self._index, np.int32), np.frombuffer(self.keys, np.int64)
        places = _home(keys, len(index), self._salt)
        slots = index[places].astype(np.intp)
        others = np.flatnonzero(slots >= 0)
        while len(others := others[known[slots[others]] != keys[others]]):
            places[others] = (places[others] + 1) & (len(index) - 1)
            slots[others] = index[places[others]]
            others = others[slots[others] >= 0]
        return slots

    def take(self, key: int, now: int) -> int:
        """A slot for a `key` that has none, seen at the stamp `now`; all its columns are 0."""
        if self._free:
            slot = self._free.pop()
        else:
            slot = self._begun
            self._begun += 1
            if slot == len(self.seen):
                self._grow()
        self.keys[slot] = key
        self.seen[slot] = now
        self._known += 1
        if 2 * self._known > len(self._index):
            self._index_anew(2 * len(self._index))
        else:
            self._enter(slot)
        return slot

    def used(self) -> Slots:
        """The slots that are in use."""
        return np.flatnonzero(np.frombuffer(self.seen, np.uint32))

    @property
    def full(self) -> bool:
        return self._known >= self.limit

    def drop_oldest(self) -> Slots:
        """Free the sixteenth of all slots that was seen least lately: these."""
        used = self.used()
        seen = np.frombuffer(self.seen, np.uint32)[used]
        oldest = used[np.argsort(seen, kind="stable")[: max(1, self.limit // 16)]]
        for column in (self.seen, *self.columns.values()):
            np.frombuffer(column, column.typecode)[oldest] = 0
        self._free.extend(oldest.tolist())
        self._known -= len(oldest)
        self._index_anew(len(self._index))
        return oldest

    def get(self, column: str, slots: Slots | Sequence[int]) -> NDArray[np.float64]:
        """A copy of these slots' numbers."""
        return self.whole(column)[slots].astype(np.float64)

    def bits(self, column: str, slots: Slots) -> NDArray[np.uint64]:
        """A copy of these slots' numbers in a column of 64 bits."""
        return np.frombuffer(self.columns[column], np.uint64)[slots]

    def whole(self, column: str) -> NDArray[Any]:
        """The column itself: not to be kept."""
        values = self.columns[column]
        return np.frombuffer(values, values.typecode)

    def forget(self, column: str, gone: Slots) -> None:
        """The column's numbers are slots, of this table or another: those in `gone` become -1."""
        values = self.whole(column)
        values[np.isin(values, gone)] = -1

    def _grow(self) -> None:
        more = max(64, min(self.limit - len(self.seen), len(self.seen) // 2))
        for column in (self.seen, self.keys, *self.columns.values()):
            column.frombytes(bytes(more * column.itemsize))

    def _enter(self, slot: int) -> None:
        index = self._index
        mask = len(index) - 1
        place = (self.keys[slot] * self._salt >> _SHIFT) & mask
        while index[place] >= 0:
            place = (place + 1) & mask
        index[place] = slot

    def _index_anew(self, size: int) -> None:
        """All at once: in the order of their hashes each is where its hash says, or just after the one before it."""
        used = self.used()
        home = _home(np.frombuffer(self.keys, np.int64)[used], size, self._salt).astype(np.int32)
        order = np.argsort(home, kind="stable")
        ranks = np.arange(len(used), dtype=np.int32)
        places = np.maximum.accumulate(home[order] - ranks) + ranks
        index = np.full(size, -1, np.int32)
        inside = places < size
        index[places[inside]] = used[order][inside]
        self._index = array("i", index.tobytes())
        for slot in used[order][~inside].tolist():
            self._enter(slot)


def _home(keys: Keys, size: int, salt: int) -> Slots:
    """Where in an index of that size each key is looked for first."""
    mixed = keys.astype(np.uint64) * np.uint64(salt) >> np.uint64(_SHIFT)
    return (mixed & np.uint64(size - 1)).astype(np.intp)

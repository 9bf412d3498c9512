"""Columns of numbers, and slots in them: what is known of many things takes some bytes each, and no objects."""

from array import array
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Slots = NDArray[np.intp]


class Table:
    """One slot for each key, with a number in each column; `columns` names them with `array`'s type codes.

    Slots of what has not been seen for longest are given to others when there are `limit` of them.
    """

    def __init__(self, columns: Mapping[str, str], limit: int) -> None:
        self.limit = limit
        self.slots: dict[int, int] = {}
        self.columns: dict[str, array[Any]] = {name: array(code) for name, code in columns.items()}
        self.seen = array("d")
        """When each slot was last asked for by `slot`."""
        self._keys = array("q")
        self._free: list[int] = []

    def __len__(self) -> int:
        return len(self.slots)

    def find(self, key: int) -> int:
        """The slot of `key`, or -1."""
        return self.slots.get(key, -1)

    def take(self, key: int, now: float) -> int:
        """A slot for a `key` that has none; all its columns are 0."""
        if self._free:
            slot = self._free.pop()
            self._keys[slot] = key
            self.seen[slot] = now
            for column in self.columns.values():
                column[slot] = 0
        else:
            slot = len(self._keys)
            self._keys.append(key)
            self.seen.append(now)
            for column in self.columns.values():
                column.append(0)
        self.slots[key] = slot
        return slot

    @property
    def full(self) -> bool:
        return len(self.slots) >= self.limit

    def drop_oldest(self) -> Slots:
        """Free the sixteenth of all slots that was seen least lately: these."""
        seen = np.frombuffer(self.seen)
        count = max(1, self.limit // 16)
        used = np.fromiter(self.slots.values(), np.intp, len(self.slots))
        oldest = used[np.argsort(seen[used], kind="stable")[:count]]
        for slot in oldest.tolist():
            del self.slots[self._keys[slot]]
            self._free.append(slot)
        return oldest

    def get(self, column: str, slots: Slots | Sequence[int]) -> NDArray[np.float64]:
        """A copy of these slots' numbers."""
        values = self.columns[column]
        return np.frombuffer(values, values.typecode)[slots].astype(np.float64)

    def bits(self, column: str, slots: Slots) -> NDArray[np.uint64]:
        """A copy of these slots' numbers in a column of 64 bits."""
        return np.frombuffer(self.columns[column], np.uint64)[slots]

"""What manifests name: by slot, slots; all of them in one row of numbers."""

from array import array

import numpy as np

from edgeproxy.predict.table import Slots, Table

_NOTHING = array("i")


class Parts:
    """Of the objects of a table, whose column `parts_at` says where in the row the parts of each are."""

    def __init__(self, objects: Table) -> None:
        self._objects = objects
        self._at = objects.columns["parts_at"]
        self._row = array("i", [0])
        """For each manifest, how many parts it has, and these."""

    def known(self, slot: int) -> bool:
        return bool(self._at[slot])

    def of(self, slot: int) -> "array[int]":
        """Nothing where it is not known."""
        at = self._at[slot]
        return self._row[at + 1 : at + 1 + self._row[at]] if at else _NOTHING

    def put(self, slot: int, parts: "array[int]") -> None:
        self._at[slot] = len(self._row)
        self._row.append(len(parts))
        self._row.extend(parts)

    def forget(self, gone: Slots) -> None:
        """These slots are others' now: what names one of them is not known any more."""
        at = self._objects.whole("parts_at")
        row = np.frombuffer(self._row, np.int32)
        manifests = np.flatnonzero(at)
        starts, counts = at[manifests].astype(np.intp), row[at[manifests]]
        owners = np.repeat(np.arange(len(manifests)), counts + 1)
        whole = np.arange(len(owners)) + np.repeat(starts - (np.cumsum(counts + 1) - counts - 1), counts + 1)
        named = whole != starts[owners]
        lost = np.bincount(owners[named], np.isin(row[whole[named]], gone), len(manifests)) > 0
        lost |= np.isin(manifests, gone)
        at[manifests] = 0
        kept = counts[~lost] + 1
        at[manifests[~lost]] = 1 + np.cumsum(kept) - kept
        self._row = array("i", [0]) + array("i", row[whole[~lost[owners]]].tobytes())

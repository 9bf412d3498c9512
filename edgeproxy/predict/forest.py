"""Boosted trees evaluated for many rows at once, without a step from node to node.

Each node that sends a row to the right rules out the leaves on its left. For each feature, what all nodes that test it
rule out is tabled by the value's rank among their thresholds; the tables' rows for a row's ranks, and-ed, leave of
every tree the leaf reached as the lowest bit. (The idea is QuickScorer's: Lucchese et al., SIGIR 2015.)
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

LEAVES = 32
"""Of a tree, at most: the bits of a word."""
HEAVIEST = 1e6
"""What a leaf may add at most, in log-odds."""
_BIAS = 127
"""What the exponent of a number of 32 bits is more than its binary logarithm."""
_CHUNK = 256
"""Rows at a time: what they need stays in the processor's cache."""
Sums = NDArray[np.float64]


class Trees(NamedTuple):
    """All nodes of all trees, in columns. A node's children come after it; a row goes left where value <= threshold."""

    outputs: NDArray[Any]
    """By tree: which output it adds to; rising."""
    counts: NDArray[Any]
    """By tree: how many nodes it has."""
    feature: NDArray[Any]
    """By node; -1 for a leaf."""
    threshold: NDArray[Any]
    left: NDArray[Any]
    """Counted from the tree's first node; 0 for a leaf."""
    right: NDArray[Any]
    value: NDArray[Any]

    def check(self, width: int, outputs: int) -> None:
        """Raise ValueError unless these are trees for rows of `width` numbers."""
        if int(self.counts.astype(np.int64).sum()) != len(self.feature) or (self.counts < 1).any():
            raise ValueError("the model's trees do not have the nodes they should")
        if (self.outputs >= outputs).any() or (np.diff(self.outputs.astype(np.int64)) < 0).any():
            raise ValueError("the model's trees are not in order")
        if not (np.isfinite(self.threshold).all() and (np.abs(self.value) <= HEAVIEST).all()):
            raise ValueError("a number in the model's trees is out of range")
        if (self.feature < -1).any() or (self.feature >= width).any():
            raise ValueError("a node of the model tests a feature that there is not")
        start = 0
        for count in self.counts.tolist():
            self._check_tree(slice(start, start + count))
            start += count

    def _check_tree(self, nodes: slice) -> None:
        inner = self.feature[nodes] >= 0
        count = len(inner)
        places = np.flatnonzero(inner)
        children = np.concatenate([self.left[nodes][inner], self.right[nodes][inner]]).astype(np.int64)
        after = children > np.concatenate([places, places])
        if not after.all() or not np.array_equal(np.sort(children), np.arange(1, count)):
            raise ValueError("a tree of the model is none")
        if (count + 1) // 2 > LEAVES:
            raise ValueError(f"a tree of the model has more than {LEAVES} leaves")


class Forest:
    """`Trees` that have been checked, ready to be evaluated."""

    def __init__(self, trees: Trees, width: int, outputs: int) -> None:
        count = len(trees.counts)
        self._starts = np.searchsorted(trees.outputs, np.arange(outputs + 1))
        self._values = np.zeros((count, LEAVES))
        tests: list[list[tuple[float, int, int]]] = [[] for _ in range(width)]
        start = 0
        for tree, nodes in enumerate(trees.counts.tolist()):
            self._plant(trees, tree, start, start + nodes, tests)
            start += nodes
        self._tested = np.array([feature for feature, found in enumerate(tests) if found], np.intp)
        thresholds, self._tables = [], list[NDArray[np.uint32]]()
        for feature in self._tested.tolist():
            found, table = _table(tests[feature], count)
            thresholds.append(found)
            self._tables.append(table)
        self._thresholds = _padded(thresholds)
        self._offsets = np.arange(count) * LEAVES - _BIAS

    def sums(self, rows: NDArray[np.float32]) -> Sums:
        """For each row and output, the sum of the leaves reached."""
        if not len(rows):
            return np.zeros((0, len(self._starts) - 1))
        return np.concatenate([self._chunk(rows[at : at + _CHUNK]) for at in range(0, len(rows), _CHUNK)])

    def _chunk(self, rows: NDArray[np.float32]) -> Sums:
        left = np.full((len(rows), len(self._offsets)), 0xFFFFFFFF, np.uint32)
        for table, ranks in zip(self._tables, self._ranks(rows), strict=True):
            left &= table.take(ranks, axis=0)
        lowest = (left & (~left + np.uint32(1))).astype(np.float32)
        reached = self._values.take((lowest.view(np.int32) >> 23) + self._offsets)
        spans = zip(self._starts[:-1], self._starts[1:], strict=True)
        return np.stack([reached[:, start:stop].sum(axis=1) for start, stop in spans], axis=1)

    def _ranks(self, rows: NDArray[np.float32]) -> NDArray[np.intp]:
        """For each feature tested and each row, how many thresholds are below its value.

        All are searched for at once, each in halves: one after the other they take twice as long.
        """
        values = rows.T[self._tested].astype(np.float64)
        count, width = self._thresholds.shape
        first: NDArray[np.intp] = np.arange(count)[:, None] * width
        ranks = np.repeat(first, len(rows), axis=1)
        while width > 1:
            width //= 2
            ranks += width * (self._thresholds.take(ranks + (width - 1)) < values)
        ranks -= first
        return ranks

    def _plant(self, trees: Trees, tree: int, start: int, stop: int, tests: list[list[tuple[float, int, int]]]) -> None:
        """Number the leaves from the left, and note for each test which it rules out where a row goes right."""
        feature, threshold = trees.feature[start:stop].tolist(), trees.threshold[start:stop].tolist()
        left, right, value = trees.left[start:stop].tolist(), trees.right[start:stop].tolist(), trees.value[start:stop]
        below = [1] * len(feature)
        for node in reversed(range(len(feature))):
            if feature[node] >= 0:
                below[node] = below[left[node]] + below[right[node]]
        first = [0] * len(feature)
        for node in range(len(feature)):
            if feature[node] < 0:
                self._values[tree, first[node]] = value[node]
                continue
            lefts = below[left[node]]
            first[left[node]], first[right[node]] = first[node], first[node] + lefts
            tests[feature[node]].append((threshold[node], tree, ((1 << lefts) - 1) << first[node]))


def _padded(thresholds: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """One row each, with what no value is above in the places left: as long as a power of two, and one at least."""
    width = 1 << max(map(len, thresholds), default=0).bit_length()
    rows = np.full((len(thresholds), width), np.inf)
    for row, found in zip(rows, thresholds, strict=True):
        row[: len(found)] = found
    return rows


def _table(tests: list[tuple[float, int, int]], trees: int) -> tuple[NDArray[np.float64], NDArray[np.uint32]]:
    """The thresholds of one feature, rising, and for each rank among them what is left of each tree."""
    thresholds = np.unique([threshold for threshold, _, _ in tests])
    table = np.full((len(thresholds) + 1, trees), 0xFFFFFFFF, np.uint32)
    for threshold, tree, out in tests:
        table[int(np.searchsorted(thresholds, threshold)) + 1, tree] &= np.uint32(0xFFFFFFFF ^ out)
    return thresholds, np.bitwise_and.accumulate(table, axis=0)

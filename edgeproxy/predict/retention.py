"""How long an image is worth its room after it was last asked for, where there is room.

Of each class of references is counted after how long they were asked for again. What comes after longer than that once
in so many requests may go: the quantile that holds the share of requests that find it gone. What was away for longer
before, a weekly job's image, stays for twice as long as that.
"""

from bisect import bisect_right
from dataclasses import dataclass
from math import exp2, inf

from edgeproxy.interfaces import Access, Happening
from edgeproxy.oci.reference import Reference, Repository, Tag
from edgeproxy.oci.releases import numbers_of, shape_of
from edgeproxy.predict.freshness import kind_of

SHORTEST = 3 * 86400.0
"""Seconds that anything stays: a weekend."""
EDGES = tuple(3600.0 * exp2(step / 2) for step in range(27))
"""Seconds between two requests, from an hour to a year: what is counted together lies between two of them."""
_CLASSES = 7
_DIGEST, _NO_ROW = 6, (Repository("", ""), "")
"""The class of what is asked for by digest; those of tags are `kind_of`, and whether there is a newer release."""
_FEWEST = 300.0
"""Requests of a class that say something of it."""
_LATE_ONES = 5.0
"""Of them that may come too late, at least: fewer do not say how long is long enough."""
_WATCHED = 3.0
"""Times as long as it would stay, its class has to have been watched."""
_AGAIN = 2.0
"""Times as long as it was away before."""
_REMEMBERED = 500_000.0
"""Requests after which all counts are halved."""
_KNOWN = 50_000


@dataclass(slots=True)
class _Known:
    """Of one reference."""

    kind: int
    row: tuple[Repository, str]
    last: float = 0.0
    """When it was asked for; 0 where that is just now."""
    longest: float = 0.0
    """Seconds that it was away, at most, and was asked for again."""


class Retention:
    """Told of what happens and asked in one thread."""

    def __init__(self, budget: float) -> None:
        """`budget`: the share of requests for manifests that may come after what they ask for was let go; 0 lets
        nothing go."""
        self._budget = budget
        self._known: dict[Reference, _Known] = {}
        self._newest: dict[tuple[Repository, str], str] = {}
        self._away = [[0.0] * (len(EDGES) + 1) for _ in range(_CLASSES)]
        """By class and how long it was away: requests."""
        self._first = self._now = 0.0
        self._asked = self._late = 0.0

    @property
    def late(self) -> float:
        """The share of requests that came after longer than what they asked for stays."""
        return self._late / self._asked if self._asked else 0.0

    def ttl(self, reference: Reference) -> float:
        """Seconds after the last request; without bound where that cannot be told."""
        if not self._budget:
            return inf
        return self._stays(reference, self._known.get(reference) or _unheard_of(reference))

    def observe(self, happening: Happening) -> None:
        """In the order of time."""
        if self._budget and isinstance(happening, Access) and happening.kind == "manifests" and happening.digest:
            self._first = self._first or happening.time
            self._now = happening.time
            self._count(happening.reference, happening.time)

    def _count(self, reference: Reference, now: float) -> None:
        known = self._known.pop(reference, None) or self._meet(reference)
        self._known[reference] = known  # the one asked for last is the last
        if not known.last:
            known.last = now
            return
        since = max(0.0, now - known.last)
        self._late += since > SHORTEST and since > self._stays(reference, known)
        self._asked += 1.0
        self._away[self._class(reference, known)][bisect_right(EDGES, since)] += 1.0
        known.last, known.longest = now, max(known.longest, since)
        if self._asked >= _REMEMBERED:
            self._halve()

    def _meet(self, reference: Reference) -> _Known:
        if len(self._known) >= _KNOWN:
            gone = self._known.pop(next(iter(self._known)))
            self._newest.pop(gone.row, None)
        known = _unheard_of(reference)
        if isinstance(reference, Tag):
            _, shape = known.row
            newest = self._newest.get(known.row, "")
            if shape == "#" or numbers_of(reference.name) >= numbers_of(newest):
                self._newest[known.row] = reference.name
        return known

    def _class(self, reference: Reference, known: _Known) -> int:
        if not isinstance(reference, Tag):
            return _DIGEST
        return 2 * known.kind + (self._newest.get(known.row, reference.name) != reference.name)

    def _stays(self, reference: Reference, known: _Known) -> float:
        return max(_AGAIN * known.longest, self._quantile(self._class(reference, known)))

    def _quantile(self, among: int) -> float:
        away = self._away[among]
        late, allowed = 0.0, self._budget * sum(away)
        if allowed < max(_LATE_ONES, self._budget * _FEWEST):
            return inf
        edge = len(EDGES)
        while edge and late + away[edge] <= allowed:
            late += away[edge]
            edge -= 1
        stays = max(SHORTEST, EDGES[min(edge, len(EDGES) - 1)])
        return stays if self._now - self._first >= _WATCHED * stays else inf

    def _halve(self) -> None:
        self._asked, self._late = self._asked / 2, self._late / 2
        self._away = [[count / 2 for count in away] for away in self._away]


def _unheard_of(reference: Reference) -> _Known:
    if not isinstance(reference, Tag):
        return _Known(_DIGEST, _NO_ROW)
    return _Known(kind_of(reference.name), (reference.repository, shape_of(reference.name)))

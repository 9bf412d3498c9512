"""How likely a client that asked for a manifest asks for what it names, and has not at once."""

from collections import OrderedDict
from typing import NamedTuple

from edgeproxy.oci.reference import Pinned

AT_ONCE, SOON = 2.0, 600.0
"""Seconds in which a client asks for what it asks for first, and for all it lacks."""
_PENDING = 8192
_BELIEF = 4.0
_KEEPS = 0.995
Sign = tuple[bool, bool]
"""What tells cases apart."""


class _Named(NamedTuple):
    sign: Sign
    since: float
    image: Pinned
    place: int
    """In what the image's manifest names."""


class Companions:
    """Counts, by what is known when the manifest is asked for; slots are the ledger's, times rise."""

    def __init__(self) -> None:
        self._young = OrderedDict[int, _Named]()
        """What may still be asked for at once."""
        self._pending = OrderedDict[int, _Named]()
        self._counts: dict[Sign, list[float]] = {}

    def named(self, slot: int, sign: Sign, image: Pinned, place: int, now: float) -> None:
        """A manifest that names it was asked for."""
        if slot not in self._young and slot not in self._pending and len(self._young) < _PENDING:
            self._young[slot] = _Named(sign, now, image, place)

    def asked(self, slot: int) -> None:
        if self._young.pop(slot, None) is None and slot in self._pending:
            self._settle(self._pending.pop(slot), came=True)

    def left(self, now: float) -> list[tuple[Pinned, int, float]]:
        """What was not asked for at once: of which image, at which place, and how likely it still is."""
        found = []
        for slot, named in _older(self._young, now - AT_ONCE):
            if len(self._pending) >= _PENDING:
                self._settle(self._pending.popitem(last=False)[1], came=False)
            self._pending[slot] = named
            found.append((named.image, named.place, self._chance(named.sign)))
        for _, named in _older(self._pending, now - SOON):
            self._settle(named, came=False)
        return found

    def _chance(self, sign: Sign) -> float:
        seen, came = self._counts.get(sign, (0.0, 0.0))
        return (came + 1.0) / (seen + _BELIEF)

    def _settle(self, named: _Named, *, came: bool) -> None:
        counts = self._counts.setdefault(named.sign, [0.0, 0.0])
        counts[0], counts[1] = counts[0] * _KEEPS + 1.0, counts[1] * _KEEPS + came


def _older(named: OrderedDict[int, _Named], until: float) -> list[tuple[int, _Named]]:
    """Taken out."""
    found = []
    while named and next(iter(named.values())).since <= until:
        found.append(named.popitem(last=False))
    return found

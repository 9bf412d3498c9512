"""How likely is asked for what an image names: the rest of it, when some was asked for, and all of a new one."""

from collections import OrderedDict
from typing import NamedTuple

from edgeproxy.oci.reference import Pinned

AT_ONCE, SOON = 2.0, 600.0
"""Seconds in which a client asks for what it asks for first, and for all it lacks."""
_PENDING = 8192
_BELIEF = 4.0
_KEEPS = 0.995
_USUAL = 0.25
"""Before anything was seen."""
Sign = tuple[str, bool, bool]
"""What tells cases apart."""


class _Named(NamedTuple):
    sign: Sign
    since: float
    image: Pinned
    key: int


class Companions:
    """Counts, by what is known at the time; keys are the ledger's, times rise."""

    def __init__(self) -> None:
        self._young = OrderedDict[int, _Named]()
        """What may still be asked for at once."""
        self._pending = OrderedDict[int, tuple[Sign, float]]()
        """With until when it is waited for."""
        self._counts: dict[Sign, list[float]] = {}

    def named(self, key: int, sign: Sign, image: Pinned, now: float) -> None:
        """A manifest that names it was asked for."""
        if key not in self._young and key not in self._pending and len(self._young) < _PENDING:
            self._young[key] = _Named(sign, now, image, key)

    def asked(self, key: int) -> None:
        if self._young.pop(key, None) is None and key in self._pending:
            self._settle(self._pending.pop(key)[0], came=True)

    def left(self, now: float) -> list[tuple[Pinned, int, float]]:
        """What was not asked for at once: of which image, its key, and how likely it still is."""
        found = []
        while self._young and next(iter(self._young.values())).since <= now - AT_ONCE:
            named = self._young.popitem(last=False)[1]
            found.append((named.image, named.key, self.awaited(named.key, named.sign, SOON, now)))
        return found

    def awaited(self, key: int, sign: Sign, within: float, now: float, usual: float = _USUAL) -> float:
        """From now on it may be asked for; how likely it is. `usual` counts as much as four that were seen."""
        self._expire(now)
        if key not in self._pending and len(self._pending) < _PENDING:
            self._pending[key] = sign, now + within
        seen, came = self._counts.get(sign, (0.0, 0.0))
        return (came + _BELIEF * usual) / (seen + _BELIEF)

    def _expire(self, now: float) -> None:
        """Those that came first, as far as they are over."""
        while self._pending and next(iter(self._pending.values()))[1] <= now:
            self._settle(self._pending.popitem(last=False)[1][0], came=False)

    def _settle(self, sign: Sign, *, came: bool) -> None:
        counts = self._counts.setdefault(sign, [0.0, 0.0])
        counts[0], counts[1] = counts[0] * _KEEPS + 1.0, counts[1] * _KEEPS + came

"""The policy that needs no model."""

import math
from collections.abc import Sequence

from edgeproxy.interfaces import Happening, Held
from edgeproxy.oci.reference import Tag

_FRESH = 300.0
_HALF_LIFE = 7 * 86400.0
_SIZE_WEIGHT = 0.25
"""0 judges by requests alone, as LFU does, and 1 by requests per byte, as GDSF does. On registry traffic 0.25 misses
nearly as few bytes as the one and nearly as few objects as the other."""
_IN_USE = 600.0


class FixedPolicy:
    """Implements `interfaces.Policy` from size, frequency and age, in the manner of Greedy-Dual-Size-Frequency."""

    singly = False

    def observe(self, happening: Happening) -> None:
        pass

    def ttl(self, tag: Tag, now: float) -> float:
        return _FRESH

    def worths(self, held: Sequence[Held], now: float) -> Sequence[float]:
        return [self.worth(each, now) for each in held]

    def worth(self, held: Held, now: float) -> float:
        """Uses, halved for every week without one, per byte to the power of `_SIZE_WEIGHT`.

        What was used in the last ten minutes is likely being pulled, and goes after everything else.
        """
        age = max(0.0, now - held.used)
        value: float = held.uses * math.exp2(-age / _HALF_LIFE) / math.pow(max(1, held.size), _SIZE_WEIGHT)
        return value + (1e9 if age < _IN_USE else 0.0)

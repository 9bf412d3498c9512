"""Which upstream is asked first: decided from measurements alone, without a network or a clock."""

import math
from collections.abc import Sequence
from typing import NamedTuple

TYPICAL = 8 * 1024 * 1024
"""Bytes of the transfer that upstreams are compared by."""
_SMOOTH = 0.5
"""Weight of the newest measurement: a change is seen within a few answers."""
_BELIEVED = 30.0
"""Seconds after which a throughput is taken for forgotten: who was slow gets a chance to show otherwise."""
_STAYS = 0.75
"""What the leader's cost is multiplied with: another has to be clearly better to take its place."""
_BAND = 1.25
"""Costs within this factor of each other count as equal, and the configured priority decides."""
_FIRST_REST, _LONGEST_REST, _SHAME = 1.0, 60.0, 600.0
"""Seconds for which an upstream rests after a failure, doubled with each in a row; and after wrong content."""
_PROVEN = 1024 * 1024
"""Bytes of right content after which an upstream's bytes are passed on before the digest is known."""
_REMEMBERED = 50
"""Latencies that are kept for the percentile."""


class Estimate(NamedTuple):
    """What is known of one upstream; times in seconds, rates in bytes per second."""

    latency: float | None = None
    rate: float | None = None
    rated: float = 0.0
    """When the rate was last measured."""
    has: float = 1.0
    """Of what was asked of a peer, how much it had."""
    failures: int = 0
    """In a row."""
    rests_until: float = 0.0
    shamed_until: float = 0.0
    proven: int = 0
    """Bytes of right content since the last wrong one."""
    latencies: tuple[float, ...] = ()

    def answered(self, seconds: float) -> "Estimate":
        """It took so long to an answer, whatever the answer was."""
        latencies = (*self.latencies, seconds)[-_REMEMBERED:]
        latency = _smooth(self.latency, seconds)
        return self._replace(latency=latency, latencies=latencies, failures=0, rests_until=0.0)

    def delivered(self, size: int, seconds: float, now: float) -> "Estimate":
        """A body came at this pace."""
        return self._replace(rate=_smooth(self.rate, size / max(seconds, 1e-6)), rated=now)

    def had(self, found: bool) -> "Estimate":
        return self._replace(has=self.has * 0.8 + 0.2 * found)

    def failed(self, now: float) -> "Estimate":
        """It could not be reached, broke off, or answered that it is in trouble: the circuit is open for a while."""
        rest = min(_LONGEST_REST, _FIRST_REST * 2**self.failures)
        return self._replace(failures=self.failures + 1, rests_until=max(self.rests_until, now + rest))

    def verified(self, size: int) -> "Estimate":
        return self._replace(proven=self.proven + size, shamed_until=0.0)

    def lied(self, now: float) -> "Estimate":
        return self._replace(proven=0, shamed_until=now + _SHAME)

    def waits_until(self, then: float) -> "Estimate":
        """It said when it wants to be asked again."""
        return self._replace(rests_until=max(self.rests_until, then))

    def rests(self, now: float) -> bool:
        return now < max(self.rests_until, self.shamed_until)

    @property
    def trusted(self) -> bool:
        return self.proven >= _PROVEN

    @property
    def unusual(self) -> float | None:
        """Seconds that 95 of 100 answers have come within; `None` where too few have come."""
        if len(self.latencies) < 10:
            return None
        return sorted(self.latencies)[math.ceil(0.95 * len(self.latencies)) - 1]


class Candidate(NamedTuple):
    """An upstream as it is compared; the lower `priority` wins where the costs are alike."""

    estimate: Estimate
    priority: int = 0


def rank(candidates: Sequence[Candidate], leader: int | None, now: float) -> list[int]:
    """The indexes of the candidates, the one to be asked first in front; `leader` was in front the last time.

    Who rests comes last, and is asked again where all others fail, or first when its rest is over and it is the best.
    """
    rates = [each.estimate.rate for each in candidates if each.estimate.rate and _is_rated(each.estimate, now)]
    best_rate = max(rates, default=None)

    def key(index: int) -> tuple[bool, int, int, int]:
        estimate, priority = candidates[index]
        seconds = cost(estimate, best_rate, now) * (_STAYS if index == leader else 1.0)
        band = round(math.log(max(seconds, 1e-4), _BAND))
        return estimate.rests(now), band, priority, index

    return sorted(range(len(candidates)), key=key)


def cost(estimate: Estimate, best_rate: float | None, now: float) -> float:
    """Seconds that a typical transfer would take there; what is not known is taken for as good as the best."""
    rate = estimate.rate if estimate.rate and _is_rated(estimate, now) else best_rate
    transfer = TYPICAL / rate if rate else 0.0
    return ((estimate.latency or 0.0) + transfer) / max(estimate.has, 0.05)


def _is_rated(estimate: Estimate, now: float) -> bool:
    return now - estimate.rated < _BELIEVED


def _smooth(before: float | None, value: float) -> float:
    return value if before is None else before + _SMOOTH * (value - before)

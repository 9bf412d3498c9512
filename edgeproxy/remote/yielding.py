"""How much background traffic the clients leave room for: decided from measurements alone, with the time given.

In the manner of LEDBAT (RFC 6817): background traffic has a rate of its own, which falls by half whenever clients are
served more slowly than is usual without it, and rises steadily while they are not, or not there. Whoever is slow
although background traffic is at its least is slow for reasons of its own: that is then what is usual.
"""

from dataclasses import dataclass
from math import inf

_FALL, _SPACING = 0.5, 0.25
"""What the rate is multiplied with, and the seconds between two times."""
_ARRIVAL = 0.0625
"""What is left of it when clients come back: they have the link within a second, and the rate rises from there."""
_IDLE = 2.0
"""Seconds without a client's bytes after which none is there."""
_RISE, _IDLE_RISE = 0.03, 0.25
"""Of the most the link was seen to carry, what the rate rises by in a second."""
_LEAST, _LEAST_SHARE = 16 * 1024, 0.02
"""Bytes per second that background traffic always has, and its share of the most the link was seen to carry."""
_FORGET = 0.99
_WINDOW, _SHORTEST = 1.0, 0.25
"""Seconds over which bytes are counted, and of which a pace says something."""
_LEARN = 0.25
"""Weight of the newest measurement in what is usual."""


@dataclass(slots=True)
class Usual:
    """What a measurement is without background traffic; the lower, the better."""

    factor: float
    slack: float
    value: float | None = None

    def exceeded(self, measured: float, *, alone: bool) -> bool:
        """Whether this is clearly more; `alone` is a measurement that background traffic had no part in."""
        if self.value is None:
            self.value = measured
            return not alone  # there is nothing to compare with: yield, and see
        exceeded = measured > self.value * self.factor + self.slack
        if alone or measured < self.value:
            self.value += _LEARN * (measured - self.value)
        return exceeded and not alone


class Pace:
    """What clients get of one upstream, in seconds to the first byte and seconds per byte."""

    __slots__ = ("began", "first_byte", "last", "per_byte", "size")

    def __init__(self) -> None:
        self.first_byte = Usual(factor=1.5, slack=0.05)
        self.per_byte = Usual(factor=1.08, slack=0.0)
        self.restart()

    def restart(self) -> None:
        self.began, self.last, self.size = inf, inf, 0

    def count(self, size: int, now: float) -> None:
        """The bytes that end a stretch are part of it; those that begin it came before."""
        if self.began == inf:
            self.began = now
        else:
            self.size += size
        self.last = now

    def measured(self) -> float | None:
        """Seconds per byte since `restart`, while bytes came."""
        seconds = self.last - self.began
        return seconds / self.size if self.size and seconds >= _SHORTEST else None


class Yielding:
    """Told of all bytes; `limit` is what background traffic may take, in bytes per second."""

    def __init__(self, now: float) -> None:
        self.limit = inf
        self._due = now + _WINDOW
        self._peak = 0.0
        """Bytes per second that the link was seen to carry, slowly forgotten."""
        self._paces: dict[str, Pace] = {}
        self._looked = self._fell = now
        self._client_seen = self._background_seen = -inf
        self._background = self._clients = 0
        """Bytes since `_looked`."""
        self._rate = 0.0
        """Of background traffic, in bytes per second, before `_looked`."""

    def began(self, upstream: str, seconds: float, now: float) -> None:
        """A client's miss took so long to its first byte."""
        self._attend(now)
        alone = now - self._background_seen > max(_WINDOW, seconds) or self._is_least
        if self._pace(upstream).first_byte.exceeded(seconds, alone=alone):
            self._fall(now, _FALL)

    def to_client(self, upstream: str, size: int, now: float) -> None:
        if now - self._client_seen >= _IDLE or self.is_due(now):
            self._attend(now)
        self._client_seen = now
        self._clients += size
        self._pace(upstream).count(size, now)

    def to_background(self, size: int, now: float) -> None:
        self._background_seen = now
        self._background += size

    def is_due(self, now: float) -> bool:
        """Whether it is time to `look`; a clock that was set back counts as well."""
        return not 0 < self._due - now <= _WINDOW

    def look(self, now: float) -> None:
        """Compare what was measured with what is usual, and let the rate fall or rise."""
        seconds = now - self._looked
        if seconds <= 0:  # the clock was set back
            self._looked, self._due = now, now + _WINDOW
            return
        alone = not self._background or self._is_least
        self._rate = self._background / seconds
        self._peak = max(self._peak * _FORGET, self._rate + self._clients / seconds)
        slow = [pace for pace in self._paces.values() if _is_slow(pace, alone=alone)]
        self._background = self._clients = 0
        self._looked, self._due = now, now + _WINDOW
        if slow:
            self._fall(now, _FALL)
        else:
            self._rise(now, seconds)

    @property
    def _is_least(self) -> bool:
        return self.limit <= self._floor

    @property
    def _floor(self) -> float:
        return max(_LEAST, _LEAST_SHARE * self._peak)

    def _pace(self, upstream: str) -> Pace:
        pace = self._paces.get(upstream)
        if pace is None:
            pace = self._paces[upstream] = Pace()
        return pace

    def _attend(self, now: float) -> None:
        """A client is there: yield at once if there was none before."""
        if self.is_due(now):
            self.look(now)
        if now - self._client_seen >= _IDLE:
            self._fell = -inf
            self._fall(now, _ARRIVAL)
        self._client_seen = now

    def _fall(self, now: float, factor: float) -> None:
        if 0 <= now - self._fell < _SPACING:
            return
        self._fell = now
        recent = now - self._looked
        rate = self._background / recent if recent >= _SHORTEST else self._rate
        self.limit = max(self._floor, factor * min(self.limit, rate or self._peak))

    def _rise(self, now: float, seconds: float) -> None:
        """A rate that is not used while clients are there is not raised: nothing shows that there is room for it."""
        idle = now - self._client_seen >= _IDLE
        if idle or self._rate >= self.limit / 2:
            self.limit += max(self._peak, 16 * _LEAST) * (_IDLE_RISE if idle else _RISE) * seconds
        if idle and self.limit >= 2 * self._peak:
            self.limit = inf


def _is_slow(pace: Pace, *, alone: bool) -> bool:
    measured = pace.measured()
    pace.restart()
    return measured is not None and pace.per_byte.exceeded(measured, alone=alone)

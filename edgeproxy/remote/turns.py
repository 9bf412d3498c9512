"""Whose bytes are next on a link that carries less than is wanted: decided in plain functions, with the time given.

A line is a token bucket. Bytes pass when every line on their way has tokens for them: the more urgent first, and of one
urgency whoever came first. Less urgent bytes that are overtaken are owed a small part of what overtakes them, so that
they never starve; when as much as they want is owed they are next.
"""

from collections import deque
from collections.abc import Callable
from itertools import count

from edgeproxy.interfaces import Urgency
from edgeproxy.remote.windows import LEAST_BURST, Terms

_FLOOR = 0.02
"""What is owed of a byte that overtakes."""
_MOST_OWED = 1024 * 1024
_PRESSED = 0.1
"""Seconds for which the less urgent are held after more urgent bytes had to wait: those are about to come again."""
_SOONEST, _LATEST = 0.001, 0.02
"""Seconds between two looks at those who wait: with the second, whoever comes meanwhile never waits for long."""
_LOOKS = 1.0
"""Seconds between two looks at the time of day."""


class Line:
    """A token bucket. Its level falls below zero only by a chunk that is larger than all it ever holds."""

    def __init__(self, terms: Terms, now: float, local: Callable[[float], int]) -> None:
        """`local` is the second of the local day at a time in seconds since the epoch."""
        self._terms = terms
        self._local = local
        self._at = self._looked = now
        self.rate: float | None = None
        """Bytes per second now; `None` is no bound."""
        self.burst = self.level = float("inf")
        self.waiting = [0] * len(Urgency)
        self.owed = [0.0] * len(Urgency)
        self._pressed = [float("-inf")] * len(Urgency)
        """Until when those below an urgency are held."""
        self.bind(terms.in_force(local(now)), terms.burst)

    def bind(self, rate: float | None, burst: float | None = None) -> None:
        """Carry so much from now on."""
        self.rate = rate
        if rate is not None:
            self.burst = max(rate, LEAST_BURST) if burst is None else burst
            self.level = min(self.level, self.burst)

    def advance(self, now: float) -> None:
        """Bring the level up to date. A clock that was set back costs no more than the time it was set back by."""
        seconds = now - self._at
        self._at = now
        if self.rate is not None and seconds > 0:
            self.level = min(self.burst, self.level + seconds * self.rate)
        if self._terms.windows and not 0 <= now - self._looked < _LOOKS:
            self._looked = now
            self.bind(self._terms.in_force(self._local(now)), self._terms.burst)

    def has(self, size: int) -> bool:
        return self.rate is None or self.level >= size or self.level >= self.burst

    def take(self, size: int) -> None:
        if self.rate is not None:
            self.level -= size

    def lacks_for(self, size: int) -> float:
        """Seconds until it has."""
        return max(0.0, min(size, self.burst) - self.level) / self.rate if self.rate else 0.0

    def press(self, urgency: Urgency, now: float) -> None:
        self._pressed[urgency] = now + _PRESSED

    def holds(self, urgency: Urgency, now: float) -> bool:
        """Whether more urgent bytes want all of it."""
        return any(0 < until - now <= _PRESSED for until in self._pressed[:urgency])

    def owes(self, urgency: Urgency, size: int) -> bool:
        return self.owed[urgency] >= min(size, _MOST_OWED)

    def overtaken(self, urgency: Urgency, size: int) -> None:
        """So many bytes of this urgency have passed those who wait and are less urgent."""
        for lower in range(urgency + 1, len(Urgency)):
            if self.waiting[lower]:
                self.owed[lower] = min(_MOST_OWED, self.owed[lower] + size * _FLOOR)


class Waiter:
    """Bytes that wait for their turn on all of `lines`."""

    __slots__ = ("admitted", "lines", "order", "size", "urgency", "wake")

    def __init__(self, lines: tuple[Line, ...], size: int, urgency: Urgency, wake: Callable[[], None]) -> None:
        self.lines = lines
        self.size = size
        self.urgency = urgency
        self.wake = wake
        self.order = 0
        self.admitted = False

    def may_pass(self, now: float) -> bool:
        """Nobody more urgent wants its lines, or its turn is owed to it."""
        urgency, size = self.urgency, self.size
        return all(not line.holds(urgency, now) or line.owes(urgency, size) for line in self.lines)

    def goes_first(self, now: float) -> bool:
        """It has been overtaken for so long that it is next."""
        urgency, size = self.urgency, self.size
        owing = [line.owes(urgency, size) for line in self.lines]
        rest = (line for line, owes in zip(self.lines, owing, strict=True) if not owes)
        return any(owing) and all(line.has(size) and not line.holds(urgency, now) for line in rest)


class Turns:
    """Those who wait, in their order."""

    def __init__(self) -> None:
        self._queues: dict[tuple[Urgency, tuple[Line, ...]], deque[Waiter]] = {}
        self._count = count()
        self._wanted: set[Line] = set()
        """The lines that somebody was found to wait for."""

    def __bool__(self) -> bool:
        return bool(self._queues)

    def any(self) -> Waiter | None:
        """The one who has waited the longest of some kind."""
        return next((queue[0] for queue in self._queues.values()), None)

    def add(self, waiter: Waiter) -> None:
        waiter.order = next(self._count)
        self._queues.setdefault((waiter.urgency, waiter.lines), deque()).append(waiter)
        for line in waiter.lines:
            line.waiting[waiter.urgency] += 1

    def remove(self, waiter: Waiter) -> None:
        key = waiter.urgency, waiter.lines
        queue = self._queues[key]
        queue.remove(waiter)
        if not queue:
            del self._queues[key]
        for line in waiter.lines:
            line.waiting[waiter.urgency] -= 1
            if not line.waiting[waiter.urgency]:
                line.owed[waiter.urgency] = 0.0
        if not self._queues:
            self._wanted = set()

    def passes(self, lines: tuple[Line, ...], size: int, urgency: Urgency, now: float) -> bool:
        """Take the tokens for these bytes at once, if every line has them and nobody waits for it."""
        if self._wanted and not self._wanted.isdisjoint(lines):
            return False
        for line in lines:
            line.advance(now)
            if not line.has(size) or (urgency and line.holds(urgency, now)):
                return False
        for line in lines:
            line.take(size)
            if self._queues:
                line.overtaken(urgency, size)
        return True

    def serve(self, now: float) -> float:
        """Admit all who may pass now; the seconds after which to look again."""
        for line in {line for _, lines in self._queues for line in lines}:
            line.advance(now)
        while isinstance(found := self._next(now), Waiter):
            self._admit(found)
        return min(max(found, _SOONEST), _LATEST)

    def _next(self, now: float) -> Waiter | float:
        """Whose turn it is, or the seconds until it may be somebody's."""
        wanted = self._wanted = set()
        seconds = _LATEST
        heads = [queue[0] for queue in self._queues.values()]
        for waiter in sorted(heads, key=lambda each: (not each.goes_first(now), each.urgency, each.order)):
            if not waiter.may_pass(now):
                continue
            lacking = [line for line in waiter.lines if line in wanted or not line.has(waiter.size)]
            if not lacking:
                return waiter
            for line in lacking:
                line.press(waiter.urgency, now)
            if not wanted.isdisjoint(lacking):
                continue
            wanted.update(lacking)
            seconds = min(seconds, max(line.lacks_for(waiter.size) for line in lacking))
        return seconds

    def _admit(self, waiter: Waiter) -> None:
        urgency, size = waiter.urgency, waiter.size
        for line in waiter.lines:
            line.take(size)
            line.owed[urgency] = max(0.0, line.owed[urgency] - size)
            line.overtaken(urgency, size)
        self.remove(waiter)
        waiter.admitted = True
        waiter.wake()

"""How many connections a transfer takes: found by trying, kept only where it measurably helps."""

from collections import defaultdict
from typing import NamedTuple

_SHORTEST, _LONGEST = 0.2, 1.0
"""Seconds over which a throughput is measured: as long as an answer takes, within these bounds."""
_PATIENCE = 2.0
"""Seconds for which new connections are waited for before it is measured what they bring."""
_HELPS = 1.2
"""What twice the connections have to bring, at the least, to stay; where each is limited they bring nearly 2."""
_FELL = 0.5
"""Below this part of what was measured, what was learned holds no longer."""
_WORTH = 1.0
"""Seconds that a transfer has still to take for another connection to be tried."""
MOST = 8
"""Connections of one transfer to one upstream."""
_REMEMBERED = 60.0


class Lesson(NamedTuple):
    """How many connections were best at an upstream, whether more were tried in vain, what all of them brought together
    in bytes per second, and when that was found out."""

    width: int
    settled: bool
    rate: float
    learned: float


class Lessons:
    """What transfers have learned, for those that follow: of an upstream beside the one that answered first."""

    def __init__(self) -> None:
        self._known: dict[str, dict[str, Lesson]] = defaultdict(dict)

    def of(self, leader: str, now: float) -> dict[str, Lesson]:
        """By upstream, the leader included."""
        known = self._known[leader]
        return {upstream: lesson for upstream, lesson in known.items() if now - lesson.learned < _REMEMBERED}

    def learn(self, leader: str, upstream: str, lesson: Lesson) -> None:
        self._known[leader][upstream] = lesson


class Pilot:
    """Climbs: doubles the connections to an upstream, and goes back where that did not help.

    Told of every byte; asks for nothing but the time. After an upstream has shown all it has, the next one is tried
    beside it.
    """

    def __init__(self, lessons: Lessons) -> None:
        self._lessons = lessons
        self.wanted: dict[str, int] = {}
        """Connections by upstream."""
        self._settled: set[str] = set()
        """The upstreams of which no more connections would help."""
        self._trial: tuple[str, int] | None = None
        """The upstream that is being tried with more connections, and how many it had."""
        self._base = 0.0
        self._leader = ""
        """The upstream that answered first."""
        self._began = 0.0
        self._window = _SHORTEST
        self._gathers_until: float | None = None
        """Until new connections have answered, but no longer than this, nothing is measured."""
        self._received = 0
        self.rate = 0.0
        """Bytes per second of all connections, in the last window."""

    @property
    def width(self) -> int:
        """Connections in all."""
        return sum(self.wanted.values())

    def begin(self, upstream: str, now: float, waited: float = 0.0) -> None:
        """It has answered after so many seconds, and honours ranges."""
        self._window = min(_LONGEST, max(self._window, waited))
        if not self._leader:
            self._restart(now)
            self._leader = upstream
            for name, lesson in self._lessons.of(upstream, now).items():
                self.wanted[name] = lesson.width
                self.rate += lesson.rate
                if lesson.settled:
                    self._settled.add(name)
            self._base = self.rate
        self.wanted.setdefault(upstream, 1)

    def received(self, size: int) -> None:
        self._received += size

    def due(self, now: float, answered: int) -> bool:
        """Whether there is something to `decide` on: a window in which so many connections as wanted were at work."""
        if self._gathers_until is not None:
            if answered < self.width and now < self._gathers_until:
                return False
            self._gathers_until = None
            self._restart(now)
        return now - self._began >= self._window

    def decide(self, now: float, order: list[str], left: int) -> bool:
        """Whether more connections are to be opened: `wanted` then says where. `left` bytes are still to come."""
        self.rate = self._received / (now - self._began)
        self._restart(now)
        if self._trial is not None:
            self._judge(self._trial, now)
        elif self.rate < _FELL * self._base:
            self._settled.clear()
        return left > self.rate * _WORTH and self._try_more(order, now)

    def _judge(self, trial: tuple[str, int], now: float) -> None:
        upstream, before = trial
        self._trial = None
        if self.rate < _HELPS * self._base:
            self.wanted[upstream] = before
            self._settled.add(upstream)
        rate = max(self.rate, self._base) * self.wanted[upstream] / max(1, self.width)
        self._lessons.learn(self._leader, upstream, Lesson(self.wanted[upstream], upstream in self._settled, rate, now))

    def _try_more(self, order: list[str], now: float) -> bool:
        self._base = self.rate
        for upstream in order:
            before = self.wanted.get(upstream, 0)
            if upstream not in self._settled and before < MOST:
                self._trial = upstream, before
                self.wanted[upstream] = max(1, 2 * before)
                self._gathers_until = now + _PATIENCE
                return True
        return False

    def drop(self, upstream: str) -> None:
        """It knows no ranges: a second connection would bring the same bytes."""
        self.wanted[upstream] = 0
        self._settled.add(upstream)
        if self._trial and self._trial[0] == upstream:
            self._trial = None

    def _restart(self, now: float) -> None:
        self._began, self._received = now, 0

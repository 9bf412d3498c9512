"""How long a tag stays fresh: until another check is worth the stale answers that it saves.

How likely a tag has moved is known from how long ago it was seen to, against how long it usually takes; before that
from how often it moved, and before that from what its name says. For one share of stale answers, the fewest checks are
made where each saves as many stale answers as any other: that many are the price of a check. It follows from the share
of answers that were stale, so that this stays at what it may be.
"""

import re
from dataclasses import dataclass
from math import exp, exp2, inf, log, sqrt

from edgeproxy.interfaces import Access, Checked, Happening
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.reference import Tag

BUDGET = 0.01
"""The share of answers that may be stale: of those that name a tag."""
SHORTEST, LONGEST = 60.0, (30 * 86400.0, 6 * 3600.0, 6 * 3600.0)
"""Seconds that a tag stays fresh; the longest by its class."""
FIRST = 300.0
"""Of a tag that nothing is known of."""
_DAY, _BURST = 86400.0, 600.0
_EXACT, _PARTIAL, _NAME = range(3)
_CLASSES = ((_EXACT, re.compile(r"v?\d+\.\d+\.\d+.*|.*[0-9a-f]{7,}.*|.*\d{8}.*")), (_PARTIAL, re.compile(r"v?\d+.*")))
_USUAL = (1 / (300 * _DAY), 1 / (30 * _DAY), 1 / (7 * _DAY))
"""Moves a second, of tags of each class, before any was seen."""
_WEIGHT = 30 * _DAY
"""Seconds of one tag's life that what is usual counts as much as."""
_PHASES = (0.0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0, 1.25, 1.5, 2.0, 3.0)
"""Shares of the usual interval between two moves, from which on another chance holds."""
_DOUBT = 3.0
"""Intervals that the belief counts as much as that it moves at any time alike."""
_KNOWN = 50_000
_HARDLY = 1e-12
"""Moves a second that are as good as none."""
_ROUNDS = 8
_STEP = 2.5
"""How fast the price follows, for each time the remembered answers that pass."""
_LEAST, _MOST = 1e-4, 1e4
_REMEMBERED = 20_000.0
"""Answers after which an answer counts half in the share that is stale."""


@dataclass(slots=True)
class _Known:
    """Of one tag. Times in seconds since the epoch."""

    kind: int
    digest: Digest
    since: float
    """When it was heard of first."""
    checked: float
    answers: int = 0
    """Since it was checked."""
    ages: float = 0.0
    """Of these answers, in sum: seconds since it was checked."""
    asked: float = 0.0
    """Requests, halved every day."""
    lately: float = 0.0
    """Halved every ten minutes: a roll-out shows here."""
    last: float = 0.0
    """When it was asked for."""
    moves: int = 0
    moved: float = 0.0
    """When it was seen to have moved."""
    interval: float = 0.0
    """Seconds between two moves, as was usual lately; 0 before there were two."""


def kind_of(name: str) -> int:
    """What a tag's name says of how it moves: 0 a full version, a date or a hash; 1 a part of a version; 2 a name."""
    return next((kind for kind, pattern in _CLASSES if pattern.fullmatch(name)), _NAME)


class Rhythm:
    """How likely what moves at intervals moves now, by how much of the usual interval has passed since it did."""

    def __init__(self) -> None:
        self._moves = [0.0] * len(_PHASES)
        self._spans = [0.0] * len(_PHASES)
        """In intervals."""

    def learn(self, start: float, stop: float, *, moved: bool) -> None:
        """Between these phases nobody looked; and then it had moved, or not."""
        spans = _overlaps(start, stop)
        if not moved:
            self._spans = [had + span for had, span in zip(self._spans, spans, strict=True)]
            return
        likely = [span * self._hazard(place) for place, span in enumerate(spans)]
        whole, still = sum(likely) or 1.0, 1.0
        for place, span in enumerate(spans):
            share = likely[place] / whole
            self._moves[place] += share
            self._spans[place] += span * (still - share / 2)
            still -= share

    def moves(self, start: float, stop: float) -> float:
        """Expected between these phases."""
        shares = _overlaps(start, stop)
        return sum(share * self._hazard(place) for place, share in enumerate(shares))

    def _hazard(self, place: int) -> float:
        return (self._moves[place] + _DOUBT) / (self._spans[place] + _DOUBT)


def _overlaps(start: float, stop: float) -> list[float]:
    ends = (*_PHASES[1:], inf)
    return [max(0.0, min(stop, end) - max(start, begin)) for begin, end in zip(_PHASES, ends, strict=True)]


class Freshness:
    """Told of what happens in one thread; `ttl` may be asked in any."""

    def __init__(self, budget: float = BUDGET) -> None:
        """`budget`: the share of answers that may be stale."""
        self._budget = budget
        self._known: dict[Tag, _Known] = {}
        self._fresh: dict[Tag, float] = {}
        self._moves = [rate * _WEIGHT for rate in _USUAL]
        self._spans = [_WEIGHT] * len(_USUAL)
        self._rhythm = Rhythm()
        self.price = 0.01
        self.stale = budget
        """The share of late answers that was stale, as far as that is known."""

    def ttl(self, tag: Tag) -> float:
        """Its freshness lifetime (RFC 9111, section 4.2.1): seconds, from when it was checked."""
        return self._fresh.get(tag, FIRST)

    def observe(self, happening: Happening) -> None:
        """In the order of time."""
        if isinstance(happening, Checked):
            self._checked(happening)
        elif isinstance(happening, Access) and isinstance(happening.reference, Tag):
            self._asked(happening.reference, happening.time)

    def _asked(self, tag: Tag, now: float) -> None:
        known = self._known.get(tag)
        if known is not None:
            known.answers += 1
            known.ages += now - known.checked
            since = now - known.last
            known.asked = known.asked * _halved(since, _DAY) + 1.0
            known.lately = known.lately * _halved(since, _BURST) + 1.0
            known.last = now
            if known.answers & (known.answers - 1) == 0:  # twice as many as when it was judged last
                self._fresh[tag] = self._span(known, now)

    def _checked(self, checked: Checked) -> None:
        tag, now = checked.tag, checked.time
        if checked.descriptor is None:
            self._known.pop(tag, None)
            self._fresh.pop(tag, None)
            return
        known = self._known.pop(tag, None)
        if known is None:
            known = _Known(kind_of(tag.name), checked.descriptor.digest, now, now, last=now)
            if len(self._known) >= _KNOWN:
                oldest = next(iter(self._known))
                del self._known[oldest]
                self._fresh.pop(oldest, None)
        self._known[tag] = known  # the one checked last is the last
        self._judge(known, checked.descriptor.digest, now)
        self._fresh[tag] = self._span(known, now)

    def _judge(self, known: _Known, digest: Digest, now: float) -> None:
        moved = digest != known.digest
        self._spans[known.kind] += max(0.0, now - known.checked)
        self._moves[known.kind] += moved
        if known.interval:
            start, stop = ((at - known.moved) / known.interval for at in (known.checked, now))
            self._rhythm.learn(start, stop, moved=moved)
        # It may have moved at any time in between.
        self._learn(known.ages / max(1.0, now - known.checked) if moved else 0.0, known.answers)
        if moved:
            at = (known.checked + now) / 2
            if known.moves:
                since = max(0.0, at - known.moved)  # clocks are set back, too
                known.interval += (since - known.interval) / min(known.moves, 8)
            known.moves, known.moved = known.moves + 1, at
        known.digest, known.checked, known.answers, known.ages = digest, now, 0, 0.0

    def _learn(self, stale: float, answers: int) -> None:
        if not answers:
            return
        keep = _halved(answers, _REMEMBERED)
        self.stale = self.stale * keep + (stale / answers) * (1.0 - keep)
        towards = log(max(self._budget, 1e-9) / max(self.stale, self._budget / 100))
        self.price = min(_MOST, max(_LEAST, self.price * exp(_STEP * (1.0 - keep) * towards)))

    def _rate(self, known: _Known) -> float:
        usual = self._moves[known.kind] / self._spans[known.kind]
        return (known.moves + 1.0) / (max(0.0, known.checked - known.since) + 1.0 / usual)

    def _span(self, known: _Known, now: float) -> float:
        since = now - known.last
        asked = max((known.asked * _halved(since, _DAY) + 0.5) / _DAY, known.lately * _halved(since, _BURST) / _BURST)
        if not known.interval:
            return min(LONGEST[known.kind], max(SHORTEST, self._worth(asked, self._rate(known))))
        shortest, longest = SHORTEST, LONGEST[known.kind]
        for _ in range(_ROUNDS):
            span = sqrt(shortest * longest)
            if self._worth(asked, self._rate_within(known, span)) >= span:
                shortest = span
            else:
                longest = span
        return shortest

    def _worth(self, asked: float, moves: float) -> float:
        """Seconds without a check that save more answers of upstream than they make stale, at the price."""
        return (sqrt(1.0 + 2.0 * asked * self.price / max(moves, _HARDLY)) - 1.0) / asked

    def _rate_within(self, known: _Known, span: float) -> float:
        """Moves a second, from when it was checked on."""
        start = (known.checked - known.moved) / known.interval
        return self._rhythm.moves(start, start + span / known.interval) / span


def _halved(span: float, half_life: float) -> float:
    return exp2(-max(0.0, span) / half_life)

"""Which rows of releases a site follows, how likely it takes the next one over, and when upstream is worth a look.

A line is a row of releases as in `ledger`: tags of one repository that differ in digits only, or one tag that moves.
A look costs a request; to come late costs the roll-out that was missed meanwhile. What is looked at more often than
that is worth costs more than it saves, and less often saves less than it costs: the square root of both is between.
"""

from collections import OrderedDict
from dataclasses import dataclass
from math import exp2, sqrt

from edgeproxy.foreseen import Look, Wish
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.reference import Repository, Tag
from edgeproxy.oci.releases import numbers_of, shape_of
from edgeproxy.predict.freshness import Rhythm

_DAY = 86400.0
_LINES = 4096
"""Lines that are known at most: those asked for last."""
_FADES = 7 * _DAY
"""Half-life of what a line that nobody asks for any more is still likely to be wanted."""
_KEEPS = 0.8
"""What an older release counts against the next one, in how likely it is taken over."""
_SITE_KEEPS = 0.999
"""The same, of all lines together."""
_BELIEF = 2.0
"""Releases that what is usual at the site counts as much as."""
_USUAL = 1.0 / (7 * _DAY)
"""Releases a second, of a line of which only one was seen."""
_LOOK = 1e3
"""Bytes that a look costs; that of a list of tags costs as much as `_LIST` looks."""
_LIST = 2.0
_ROLL_OUT, _LATEST = 900.0, 86400.0
"""Seconds from a release to its roll-out, before one was seen; and at the most."""
_GAIN = 2e7
"""Bytes of a roll-out that nobody has to wait for, about."""
_OFTEN, _SHORT, _SELDOM = 30.0, 600.0, 6 * 3600.0
"""Seconds between two looks at one line, at the least and at the most."""


@dataclass(slots=True)
class _Line:
    """Times in seconds since the epoch."""

    tag: Tag
    digest: Digest
    last: float
    """When a client that is no scanner asked for any release of it."""
    released: float
    """When the newest was first heard of."""
    known: float
    """When upstream had nothing newer."""
    looked: float
    span: float = _OFTEN
    """From that on, seconds until the next look is worth what it costs."""
    interval: float = 0.0
    """Seconds between two releases, as was usual lately; 0 before there were two."""
    seen: float = 0.0
    """Releases after the first, the latest counting most."""
    taken: float = 0.0
    """Those of them that clients asked for."""
    waits: bool = False
    """Whether nobody has asked for the newest yet."""


class Releases:
    """Times are handed in, as they rise."""

    def __init__(self) -> None:
        self._lines: OrderedDict[tuple[Repository, str], _Line] = OrderedDict()
        self._seen, self._taken = _BELIEF, _BELIEF / 2
        self._rhythm = Rhythm()
        self._delay = _ROLL_OUT
        """Seconds until a release is asked for, about; four times as many later it is no longer likely."""

    def asked(self, tag: Tag, digest: Digest, now: float) -> None:
        """By a client that is no scanner."""
        key = _key(tag)
        line = self._lines.get(key)
        if line is None:
            if len(self._lines) >= _LINES:
                self._lines.popitem(last=False)
            self._lines[key] = _Line(tag, digest, now, now, now, now)
            return
        self._lines.move_to_end(key)
        line.last = now
        if digest == line.digest:
            self._take(line, now)
        elif _follows(tag, line.tag):
            self._release(line, tag, digest, now)
            self._take(line, now)

    def looked(self, tag: Tag, digest: Digest, now: float) -> Wish | None:
        """Upstream was asked, and has this; where it is a new release, with how likely it is asked for."""
        line = self._lines.get(_key(tag))
        if line is None:
            return None
        before, line.known = line.known, now
        news = digest != line.digest and _follows(tag, line.tag)
        if line.interval:
            start, stop = ((at - line.released) / line.interval for at in (max(before, line.released), now))
            self._rhythm.learn(start, stop, moved=news)
        if not news:
            return None
        wish = Wish(tag, self._chance(line, now), min(_LATEST, 4.0 * self._delay), like=line.digest)
        self._release(line, tag, digest, now)
        return wish

    def due(self, now: float, most: int) -> list[Look]:
        """The lines that are most worth a look now; what is found is told by `looked`."""
        late = [line for line in self._lines.values() if now - line.looked >= line.span]
        late.sort(key=lambda line: (line.looked - now) / line.span)
        for line in late[:most]:
            line.looked, line.span = now, self._span(line, now)
        return [Look(line.tag, by_name=_has_names(line.tag)) for line in late[:most]]

    def _release(self, line: _Line, tag: Tag, digest: Digest, now: float) -> None:
        if line.seen:
            line.interval += (max(0.0, now - line.released) - line.interval) / min(line.seen + 1.0, 4.0)
        elif now > line.released:
            line.interval = now - line.released
        line.seen, line.taken = line.seen * _KEEPS + 1.0, line.taken * _KEEPS
        self._seen, self._taken = self._seen * _SITE_KEEPS + 1.0, self._taken * _SITE_KEEPS
        line.tag, line.digest, line.released, line.waits = tag, digest, now, True

    def _take(self, line: _Line, now: float) -> None:
        if not line.waits:
            return
        line.waits = False
        line.taken += 1.0
        self._taken += 1.0
        if now > line.released:
            self._delay += (min(now - line.released, _LATEST) - self._delay) / 50.0

    def _chance(self, line: _Line, now: float) -> float:
        """That the next release is asked for."""
        usual = _BELIEF * self._taken / self._seen
        return (line.taken + usual) / (line.seen + _BELIEF) * exp2(-max(0.0, now - line.last) / _FADES)

    def _span(self, line: _Line, now: float) -> float:
        rate = _USUAL
        if line.interval:
            start, span = (now - line.released) / line.interval, max(line.span, _SHORT)
            rate = self._rhythm.moves(start, start + span / line.interval) / span
        cost = _LOOK * _LIST if _has_names(line.tag) else _LOOK
        lost = rate * self._chance(line, now) * _GAIN / self._delay
        return min(_SELDOM, max(_OFTEN, sqrt(2.0 * cost / max(lost, 1e-9))))


def _key(tag: Tag) -> tuple[Repository, str]:
    return tag.repository, shape_of(tag.name)


def _has_names(tag: Tag) -> bool:
    """Whether each release has a name of its own; else the same name is given to another one."""
    return len(numbers_of(tag.name)) > 1


def _follows(tag: Tag, other: Tag) -> bool:
    """Whether a release by this tag is later than one by the other, or may be."""
    return numbers_of(tag.name) >= numbers_of(other.name)

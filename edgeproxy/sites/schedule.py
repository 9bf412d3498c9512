"""When a policy is due by the clock: cron's five fields, as Debian's cron reads them."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from itertools import dropwhile
from math import inf
from typing import Self

from cronsim import CronSim, CronSimError

_FIELDS = {
    "minute": "0-59",
    "hour": "0-23",
    "day-of-month": "1-31 or L for the last",
    "month": "1-12 or JAN-DEC",
    "day-of-week": "0-7 (0 and 7 are Sunday) or SUN-SAT",
}
_BEGINNING = datetime(2000, 1, 1, tzinfo=UTC)


class CronInvalid(ValueError):
    """The message names the field and what can be written there."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """A schedule as it was written: `30 2 * * MON-FRI`."""

    text: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises `CronInvalid`."""
        words = text.split()
        if len(words) != len(_FIELDS):
            raise CronInvalid(f"{text!r} has {len(words)} fields: write five, {' '.join(_FIELDS)}, as in '30 2 * * *'")
        for word, (name, range_) in zip(words, _FIELDS.items(), strict=True):
            if not _is_field(name, word):
                raise CronInvalid(f"{text!r}: {word!r} is no {name}: write {range_}, with * , - / as in cron")
        if next(_moments(text, _BEGINNING), None) is None:
            raise CronInvalid(f"{text!r}: no day-of-month of these months is ever due: write a day that they have")
        return cls(text)

    def following(self, after: float, zone: tzinfo | None = None) -> float:
        """The first time later than `after` that is due by the clocks of `zone`, else of the site; epoch seconds.

        A time that the clocks leave out in spring is due when they go on; one that they show twice in autumn is due
        once, unless hours or minutes are `*` and the zone is given. Infinite where nothing is due within 50 years.
        """
        moments = _moments(self.text, datetime.fromtimestamp(after, zone))
        return next(dropwhile(lambda moment: moment <= after, map(datetime.timestamp, moments)), inf)

    def due(self, last: float, now: float, zone: tzinfo | None = None) -> bool:
        """Whether it has become due since `last`: once, however often that was."""
        return self.following(last, zone) <= now

    def __str__(self) -> str:
        return self.text


def _is_field(name: str, word: str) -> bool:
    """Whether this is right in its place, all others being `*`."""
    try:
        CronSim(" ".join(word if name == each else "*" for each in _FIELDS), _BEGINNING)
    except (CronSimError, ValueError, AssertionError):  # the latter for `L-3`, say, which only looks like a range
        return False
    return True


def _moments(text: str, after: datetime) -> Iterator[datetime]:
    try:
        return CronSim(text, after)
    except CronSimError:
        return iter(())

"""What did not have to cross the link: bytes served less bytes fetched, day by day, kept across restarts.

saved/<day> -> [requests, hits, bytes served, bytes fetched]        the day as the site's clocks show it: 2026-11-27
"""

import json
import logging
from collections import deque
from datetime import datetime, timedelta
from typing import NamedTuple

from edgeproxy.interfaces import Clock, StoreFull
from edgeproxy.metrics import Traffic
from edgeproxy.store.catalog import Catalog
from edgeproxy.store.rows import Rows

log = logging.getLogger(__name__)
_AT_ONCE = ("hit", "stale")
"""Outcomes that waited for nobody."""
_MINUTE = 60.0
_MINUTES = 120
_DAYS_KEPT = 400


class Figures(NamedTuple):
    """Of some time. Without a name for saved bytes, since they follow: `served` less `fetched`."""

    requests: int = 0
    hits: int = 0
    served: int = 0
    """Bytes of bodies to clients."""
    fetched: int = 0
    """Bytes of bodies from upstream, whoever they were fetched for."""

    def plus(self, other: "Figures") -> "Figures":
        return Figures(*(mine + its for mine, its in zip(self, other, strict=True)))

    def less(self, other: "Figures") -> "Figures":
        return Figures(*(mine - its for mine, its in zip(self, other, strict=True)))


class Savings:
    """Reads what the hot path counts anyway; nothing is added to it."""

    def __init__(self, catalog: Catalog, traffic: Traffic, clock: Clock) -> None:
        self._catalog = catalog
        self._traffic = traffic
        self._clock = clock
        self._carried = self._counted = _sum(traffic)
        """Of the catalogue, and of the last of `minutes`."""
        self._minutes = deque[tuple[float, Figures]](maxlen=_MINUTES)

    def look(self) -> None:
        """Add what came since the last look to this minute's figures."""
        now, figures = self._clock.now(), _sum(self._traffic)
        began = now - now % _MINUTE
        new, self._counted = figures.less(self._counted), figures
        if self._minutes and self._minutes[-1][0] == began:
            self._minutes[-1] = (began, self._minutes[-1][1].plus(new))
        else:
            self._minutes.append((began, new))

    async def carry_over(self) -> None:
        """Add what came since the last call to the day's row; a full disk is no reason to lose it."""
        self.look()
        figures, day = _sum(self._traffic), _day(self._clock.now())
        new = figures.less(self._carried)
        if not any(new):
            return

        def add(rows: Rows) -> None:
            value = rows.get(_key(day))
            rows.put(_key(day), json.dumps(new if value is None else _read(value).plus(new)))

        try:
            await self._catalog.change(add)
            self._carried = self._carried.plus(new)
        except StoreFull as error:
            log.warning("the disk is full, and what was saved is noted later: %s", error)

    async def forget_old(self) -> None:
        oldest = _day(self._clock.now() - _DAYS_KEPT * 86400.0)

        def act(rows: Rows) -> None:
            for key, _ in list(rows.all("saved/")):
                if key < _key(oldest):
                    rows.delete(key)

        await self._catalog.change(act)

    def minutes(self) -> list[tuple[float, Figures]]:
        """When each of the last minutes began, the oldest first, without gaps from the first on; none is empty."""
        self.look()
        known = dict(self._minutes)
        last = self._minutes[-1][0]
        first = max(self._minutes[0][0], last - (_MINUTES - 1) * _MINUTE)
        count = round((last - first) / _MINUTE) + 1
        return [(first + place * _MINUTE, known.get(first + place * _MINUTE, Figures())) for place in range(count)]

    def days(self, count: int = 31) -> list[tuple[str, Figures]]:
        """The last days up to today, the oldest first; those before the first that is known are left out."""
        today = datetime.fromtimestamp(self._clock.now()).astimezone().date()
        names = [(today - timedelta(days=back)).isoformat() for back in reversed(range(count))]
        found = [(name, self._row(name)) for name in names]
        found[-1] = (names[-1], (found[-1][1] or Figures()).plus(_sum(self._traffic).less(self._carried)))
        return [(name, figures or Figures()) for name, figures in _from_first_known(found)]

    def _row(self, day: str) -> Figures | None:
        value = self._catalog.row(_key(day))
        return None if value is None else _read(value)


def _from_first_known(days: list[tuple[str, Figures | None]]) -> list[tuple[str, Figures | None]]:
    first = next(place for place, (_, figures) in enumerate(days) if figures is not None)
    return days[first:]


def _sum(traffic: Traffic) -> Figures:
    return Figures(
        sum(traffic.requests.values()),
        sum(count for (_, _, outcome), count in traffic.requests.items() if outcome in _AT_ONCE),
        sum(traffic.sent.values()),
        sum(traffic.fetched.values()),
    )


def _day(now: float) -> str:
    return datetime.fromtimestamp(now).astimezone().date().isoformat()


def _key(day: str) -> str:
    return f"saved/{day}"


def _read(value: str) -> Figures:
    return Figures(*json.loads(value))

"""What the daemon does at this moment and has done: one document, for the status page and whoever else asks."""

from collections.abc import Callable, Mapping
from math import inf
from typing import Any, NamedTuple

from edgeproxy import __version__
from edgeproxy.cache.eviction import Room
from edgeproxy.cache.flights import Flights
from edgeproxy.cache.savings import Figures, Savings
from edgeproxy.cache.survey import Survey, reason
from edgeproxy.interfaces import Clock
from edgeproxy.jobs.prefetch import PrefetchJobs
from edgeproxy.jobs.replicate import Replication
from edgeproxy.judgement import Judgement
from edgeproxy.remote.budget import Budget
from edgeproxy.remote.measured import Measured, MeasuredRanking
from edgeproxy.store.disk import DiskStore

Document = Mapping[str, Any]


class Parts(NamedTuple):
    """What is looked at; what a reload exchanges, by a call."""

    name: str
    store: DiskStore
    flights: Flights
    savings: Savings
    survey: Survey
    replication: Replication
    judgement: Judgement
    prefetches: PrefetchJobs
    room: Callable[[], Room]
    ranking: Callable[[], MeasuredRanking]
    link: Callable[[], Budget]
    offline: Callable[[], bool]


class Overview:
    """Docs: docs/api.md, GET /api/v1/status. Times in seconds since the epoch, sizes in bytes."""

    def __init__(self, parts: Parts, clock: Clock) -> None:
        self._parts = parts
        self._clock = clock
        self._started = self._clock.now()

    def document(self) -> Document:
        parts, now = self._parts, self._clock.now()
        days = parts.savings.days()
        month = [figures for day, figures in days if day[:7] == days[-1][0][:7]]
        return {
            "version": __version__,
            "name": parts.name,
            "now": now,
            "started": self._started,
            "offline": parts.offline(),
            "cache": self._cache(),
            "saved": {
                "today": _saved(days[-1][1]),
                "month": sum(map(_saved, month)),
                "days": [{"day": day, **figures._asdict()} for day, figures in days],
            },
            "recent": [{"time": began, **figures._asdict()} for began, figures in parts.savings.minutes()],
            "flights": [
                {"reference": str(each.pinned), "size": each.size, "received": each.released} for each in parts.flights
            ],
            "upstreams": self.upstreams(),
            **self._survey(now),
            "prefetch": [job.summary() for job in parts.prefetches.all()[:10]],
            "replication": self._replication(),
            "model": parts.judgement.document(),
        }

    async def budgets(self) -> Document:
        """What may be used, and what is left of it; `None` where there is no bound."""
        link, room = self._parts.link(), self._parts.room()
        return {
            "cache": {**self._cache(), "reserve": room.limits.reserve, "spare": await room.spare()},
            "link": {"rate": _bound(link.rate), "background_rate": _bound(link.background_rate)},
            "upstreams": [
                {key: each[key] for key in ("registry", "name", "limit", "remaining")} for each in self.upstreams()
            ],
        }

    def upstreams(self) -> list[Document]:
        """By registry, in the order in which they are asked."""
        now = self._clock.now()
        return [
            {"registry": registry, "rank": place + 1, **_upstream(each, now)}
            for registry, upstreams in self._parts.ranking().standings()
            for place, each in enumerate(upstreams)
        ]

    def _cache(self) -> Document:
        parts = self._parts
        free, size = parts.store.free()
        return {
            "bytes": parts.store.catalog.total(),
            "budget": parts.room().limits.budget,
            "blobs": parts.survey.look().blobs,
            "disk_free": free,
            "disk_size": size,
        }

    def _survey(self, now: float) -> Document:
        found = self._parts.survey.look()
        return {
            "repositories": [
                {"name": name, "bytes": share.bytes, "images": share.images, "used": share.used}
                for name, share in found.repositories
            ],
            "others": {"repositories": found.others.images, "bytes": found.others.bytes},
            "evictions": {
                "begins_at": self._parts.room().begins_at,
                "next": [
                    {
                        "name": each.name,
                        "digest": each.held.digest,
                        "bytes": each.held.size,
                        "used": each.held.used,
                        "reason": reason(each.held, now),
                    }
                    for each in found.leaving
                ],
            },
        }

    def _replication(self) -> list[Document]:
        replication = self._parts.replication
        return [
            {"target": name, "up": target.standing is not None, "lag_seconds": lag.seconds, "lag_bytes": lag.size}
            for name, target in replication.targets.items()
            for lag in [replication.backlog.lag(name)]
        ]


def _bound(rate: float) -> float | None:
    return None if rate == inf else rate


def _saved(figures: Figures) -> int:
    return figures.served - figures.fetched


def _upstream(each: Measured, now: float) -> Document:
    estimate = each.estimate
    return {
        "name": each.name,
        "role": each.role,
        "latency": estimate.latency,
        "rate": estimate.rate,
        "failures": estimate.failures,
        "rests_until": estimate.rests_until if estimate.rests_until > now else None,
        "latencies": list(estimate.latencies),
        "limit": each.allowance.limit(now),
        "remaining": each.allowance.remaining(now),
    }

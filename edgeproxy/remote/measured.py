"""Upstreams that remember how they answered, and the order that follows from it."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

from edgeproxy.interfaces import Body, Clock, Kind, Page, Role, Upstream, Urgency
from edgeproxy.metrics import Traffic
from edgeproxy.oci.errors import Refusal, TooManyRequests, Unavailable
from edgeproxy.oci.manifest import Descriptor
from edgeproxy.oci.reference import Pinned, Repository, Tag
from edgeproxy.remote.allowance import Allowance
from edgeproxy.remote.ranking import Candidate, Estimate, rank

log = logging.getLogger(__name__)
T = TypeVar("T")
_FIRST_PATIENCE, _LEAST_PATIENCE, _MOST_PATIENCE = 2.0, 0.1, 5.0
_TELLING = 256 * 1024
"""Bytes of a body from which on its pace says something."""
_BUSY, _OFTEN, _SELDOM = 60.0, 2.0, 60.0
"""Seconds after which a registry that nobody asks counts as idle, and between two probes while it is not, and is."""
_LATELY = 3600.0
"""Seconds for which an answer says that there would be another one."""
_STRETCH = 1.0
"""Seconds of a body after which its pace is taken down, while it goes on."""


class Measured:
    """Implements `interfaces.Upstream` by another one."""

    def __init__(
        self,
        upstream: Upstream,
        priority: int,
        clock: Clock,
        knock: Callable[[], Awaitable[None]],
        allowance: Allowance | None = None,
    ) -> None:
        """`knock` asks upstream something that costs nothing; `allowance` is what it grants us."""
        self.allowance = allowance or Allowance()
        self.upstream = upstream
        self.priority = priority
        self.estimate = Estimate()
        self.heard = 0.0
        """When it answered the last time, or failed to."""
        self._clock = clock
        self._knock = knock

    @property
    def name(self) -> str:
        return self.upstream.name

    @property
    def role(self) -> Role:
        return self.upstream.role

    async def resolve(self, tag: Tag) -> Descriptor:
        return await self._timed(self.upstream.resolve(tag))

    async def stat(self, kind: Kind, pinned: Pinned) -> Descriptor:
        return await self._timed(self.upstream.stat(kind, pinned))

    async def listing(self, repository: Repository, path: str, query: Sequence[tuple[str, str]]) -> Page:
        return await self._timed(self.upstream.listing(repository, path, query))

    @asynccontextmanager
    async def open(
        self, kind: Kind, pinned: Pinned, start: int = 0, stop: int | None = None
    ) -> AsyncIterator["MeasuredBody"]:
        opening = self.upstream.open(kind, pinned, start, stop)
        body = await self._timed(opening.__aenter__())
        try:
            yield MeasuredBody(body, self, self._clock)
        finally:
            await opening.__aexit__(None, None, None)

    async def probe(self) -> None:
        """Measure; what comes of it shows in the estimate."""
        try:
            await self._timed(self._knock())
        except Refusal as refusal:
            log.debug("probe of %s: %s", self.name, refusal.message)

    async def _timed(self, answer: Awaitable[T]) -> T:
        self.heard = began = self._clock.now()
        try:
            given = await answer
        except Refusal as refusal:
            self.refused(refusal, self._clock.now() - began)
            raise
        self._answered(self._clock.now() - began, found=True)
        return given

    def refused(self, refusal: Refusal, seconds: float | None) -> None:
        """That something is not there, or not for us, is an answer like any other; trouble is none."""
        now = self._clock.now()
        if isinstance(refusal, TooManyRequests):
            self.estimate = self.estimate.waits_until(now + (refusal.retry_after or 1.0))
        elif isinstance(refusal, Unavailable):
            self.estimate = self.estimate.failed(now)
        elif seconds is not None:
            self._answered(seconds, found=False)

    def delivered(self, size: int, seconds: float) -> None:
        self.estimate = self.estimate.delivered(size, seconds, self._clock.now())

    def _answered(self, seconds: float, *, found: bool) -> None:
        self.estimate = self.estimate.answered(max(0.0, seconds))
        if self.role == "peer":
            self.estimate = self.estimate.had(found)


class MeasuredBody:
    """Implements `interfaces.Body` by another one, and takes its pace down."""

    def __init__(self, body: Body, source: Measured, clock: Clock) -> None:
        self._body = body
        self._source = source
        self._clock = clock
        self.start, self.size, self.media_type = body.start, body.size, body.media_type

    async def chunks(self) -> AsyncIterator[bytes]:
        began = resumed = self._clock.now()
        size, waited = 0, 0.0
        try:
            async for chunk in self._body.chunks():
                size += len(chunk)
                now = self._clock.now()
                waited += now - resumed
                if now - began >= _STRETCH:
                    self._note(size, now - began, waited)
                    began, size, waited = now, 0, 0.0
                yield chunk
                resumed = self._clock.now()
        except Refusal as refusal:
            self._source.refused(refusal, None)
            raise
        if size >= _TELLING:
            self._note(size, self._clock.now() - began, waited)

    def _note(self, size: int, seconds: float, waited: float) -> None:
        """A pace that whoever reads decided, such as the link's budget, says nothing of upstream."""
        if seconds > 0 and waited >= seconds / 2:
            self._source.delivered(size, seconds)


class MeasuredRanking:
    """Implements `interfaces.Ranking`."""

    def __init__(self, by_registry: Mapping[str, Sequence[Measured]], clock: Clock, traffic: Traffic) -> None:
        self._by_registry = by_registry
        self._traffic = traffic
        self._clock = clock
        self._leaders: dict[str, int] = {}
        self._asked: dict[str, float] = {}
        """When an order was asked for the last time."""

    def __iter__(self) -> Iterator[tuple[str, Measured]]:
        """Every upstream with the registry it serves."""
        return ((registry, each) for registry, upstreams in self._by_registry.items() for each in upstreams)

    def spares(self, registry: str) -> bool:
        """Whether one of its upstreams grants requests beyond those that are kept for clients."""
        now = self._clock.now()
        return any(each.allowance.may_ask(Urgency.PREFETCH, now) for each in self._by_registry[registry])

    def answers(self, registry: str) -> bool:
        """Whether one of its upstreams answered what it was asked last, and lately."""
        now, upstreams = self._clock.now(), self._by_registry.get(registry, ())
        return any(each.estimate.failures == 0 and 0 <= now - each.heard < _LATELY for each in upstreams)

    def figures(self, of: Callable[[Measured], float | None]) -> list[tuple[tuple[str, str], float | None]]:
        """A number of every upstream, for metrics."""
        return [((registry, each.name), of(each)) for registry, each in self]

    def order(self, registry: str) -> Sequence[Measured]:
        upstreams = self._by_registry[registry]
        if len(upstreams) == 1:
            return upstreams
        self._asked[registry] = self._clock.now()
        found = self._ranked(registry)
        self._lead(registry, found[0])
        return [upstreams[index] for index in found]

    def standings(self) -> list[tuple[str, list[Measured]]]:
        """Every registry with its upstreams, the best first, while nobody is about to be asked."""
        return [
            (registry, [upstreams[index] for index in self._ranked(registry)])
            for registry, upstreams in self._by_registry.items()
        ]

    def _ranked(self, registry: str) -> list[int]:
        candidates = [Candidate(each.estimate, each.priority) for each in self._by_registry[registry]]
        return rank(candidates, self._leaders.get(registry), self._clock.now())

    async def probe(self) -> None:
        """Measure those nobody has asked lately: often where clients are at work, else now and then."""
        now = self._clock.now()
        idle = []
        for registry, upstreams in self._by_registry.items():
            busy = now - self._asked.get(registry, float("-inf")) < _BUSY
            seconds = _OFTEN if busy else _SELDOM
            idle += [each for each in upstreams if len(upstreams) > 1 and now - each.heard >= seconds]
        await asyncio.gather(*(each.probe() for each in idle))

    def patience(self, upstream: Upstream) -> float:
        unusual = _of(upstream).estimate.unusual
        return _FIRST_PATIENCE if unusual is None else min(max(unusual, _LEAST_PATIENCE), _MOST_PATIENCE)

    def trusts(self, upstream: Upstream) -> bool:
        alone = any(list(each) == [upstream] for each in self._by_registry.values())
        return alone or _of(upstream).estimate.trusted

    def judge(self, upstream: Upstream, size: int, *, right: bool) -> None:
        measured = _of(upstream)
        estimate = measured.estimate
        measured.estimate = estimate.verified(size) if right else estimate.lied(self._clock.now())
        if not right:
            log.error("%s sent wrong content: it is asked last for a while", upstream.name)
            for registry, each in self:
                if each is measured:
                    self._traffic.lies[registry, upstream.name] += 1

    def _lead(self, registry: str, index: int) -> None:
        before = self._leaders.get(registry)
        self._leaders[registry] = index
        if before not in (None, index):
            first = self._by_registry[registry][index]
            log.info("%s is now asked first for %s", first.name, registry)


def _of(upstream: Upstream) -> Measured:
    assert isinstance(upstream, Measured), "every upstream is measured"
    return upstream

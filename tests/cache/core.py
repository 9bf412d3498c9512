"""The core over real files, with scripted upstreams and a manual clock; joined as the daemon joins it."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from edgeproxy.access.roles import Binding, Permitted
from edgeproxy.cache.absent import Absent
from edgeproxy.cache.accesses import Accesses
from edgeproxy.cache.admission import Admission
from edgeproxy.cache.answers import Answer, Outcome
from edgeproxy.cache.chronicle import Chronicle
from edgeproxy.cache.chunks import Chunks
from edgeproxy.cache.eviction import Limits, Room
from edgeproxy.cache.fetch import Fetch
from edgeproxy.cache.flights import Boarding, Flight, Flights, Spilled
from edgeproxy.cache.library import Library
from edgeproxy.cache.listings import Listings
from edgeproxy.cache.manifests import Manifests
from edgeproxy.cache.overflow import Overflow
from edgeproxy.cache.removals import Removals
from edgeproxy.cache.retention import Retention
from edgeproxy.cache.rules import Rule, Rules
from edgeproxy.cache.tags import Tags
from edgeproxy.cache.uploads import UploadLimits, Uploads
from edgeproxy.cache.upstreams import Upstreams
from edgeproxy.cache.visibility import Visibilities
from edgeproxy.interfaces import InMemory, Keeper, Kind, OnDisk
from edgeproxy.jobs.supervise import Supervisor
from edgeproxy.metrics import Traffic
from edgeproxy.oci.reference import Pinned, Reference, Repository
from edgeproxy.predict.fixed import FixedPolicy
from edgeproxy.remote.budget import Budget
from edgeproxy.remote.measured import Measured, MeasuredRanking
from edgeproxy.remote.windows import Terms
from edgeproxy.store.disk import DiskStore
from edgeproxy.store.pushed import Pushed
from tests.fakes.clock import ManualClock
from tests.fakes.shelf import Shelf
from tests.fakes.upstream import MemoryUpstream
from tests.store.stores import opened, read

HERE = Repository("docker.io", "library/nginx")
NEAR = Repository("docker.io", "library/redis")
THERE = Repository("ghcr.io", "private/nginx")

Work = Coroutine[Any, Any, None]


class Setting(NamedTuple):
    """What a test wants otherwise."""

    budget: int = 10**9
    reserve: int = 0
    offline: bool = False
    rules: Sequence[Rule] = ()
    patience: float = 3600.0
    memory: int = 64 * 1024
    link: Terms = Terms()
    uploads: UploadLimits = UploadLimits()
    mirrored: bool = False
    """Whether docker.io has a second upstream, `core.second`."""
    judging: Executor | None = None
    learned: Callable[[Reference], float] | None = None
    """How long what is asked for stays."""


PLAIN = Setting()


class Core:
    def __init__(self, store: DiskStore, clock: ManualClock, group: asyncio.TaskGroup, setting: Setting) -> None:
        self.store, self.catalog, self.clock = store, store.catalog, clock
        self.first, self.second, self.other = Shelf(), Shelf(), Shelf()
        self.traffic = Traffic()
        self.supervisor = Supervisor(group, clock, self.traffic)
        self.accesses = Accesses(self.catalog, clock)
        self.interrupt: Callable[[Work], Work] = lambda work: work
        """What is done to the daemon's tasks before they start."""
        spawn, patience, policy = self.spawn, setting.patience, FixedPolicy()
        limits = Limits(setting.budget, setting.reserve)
        self.flights = Flights(spawn, patience)
        self.chronicle = Chronicle(clock)
        rules = Rules(setting.rules)
        self.retention = Retention(self.catalog, rules, setting.learned, lambda repository: not setting.offline)
        self.room = Room(
            limits, store, self.catalog, policy, self.retention, clock, spawn, self.traffic, self.chronicle,
            setting.judging,
        )  # fmt: skip
        hub = [self._measured("first", self.first), self._measured("second", self.second)]
        by_registry = {"docker.io": hub[: 1 + setting.mirrored], "ghcr.io": [self._measured("other", self.other)]}
        self.ranking = MeasuredRanking(by_registry, clock, self.traffic)
        self.lateness = ManualClock()
        """When an answer is late; moves only as a test says."""
        upstreams = Upstreams(self.ranking, self.lateness, setting.offline, self.ranking.spares)
        self.budget = Budget(setting.link, {}, clock, self.traffic)
        self.fetch = Fetch(upstreams, store, self.catalog, self.room, clock, self.traffic, self.budget, self.chronicle)
        self.overflow = Overflow(upstreams, self.traffic, self.budget)
        flights, fetch = self.flights, self.fetch
        self.tags = Tags(self.catalog, upstreams, rules, policy, clock, spawn, patience, flights, fetch)
        absent = Absent(clock)
        self.library = Library(store, self.catalog, flights, fetch, self.tags, upstreams, self.accesses, absent)
        self.listings = Listings(self.library, self.catalog, upstreams, clock)
        pushed, traffic = Pushed(self.catalog, journal=True), self.traffic
        self.uploads = Uploads(setting.uploads, store, pushed, self.room, clock, traffic)
        self.chunks = Chunks(self.uploads, store, self.flights)
        self.manifests = Manifests(store, pushed, self.room, self.library, clock, traffic, patience)
        self.removals = Removals(store, pushed, clock, traffic)

    def admission(
        self,
        keepers: Mapping[str, Sequence[Keeper]] = MappingProxyType({}),
        bindings: Sequence[Binding] = (),
        permitted: Permitted = Permitted(),  # noqa: B008
        *,
        offline: bool = False,
        pass_through: bool = False,
        logins: bool = False,
    ) -> Admission:
        visibilities = Visibilities(
            self.catalog, keepers, self.clock, self.spawn, 3600.0, offline=offline, pass_through=pass_through
        )
        return Admission(visibilities, bindings, permitted, logins=logins)

    def _measured(self, name: str, shelf: Shelf) -> Measured:
        upstream = MemoryUpstream(name, shelf)
        return Measured(upstream, 0, self.clock, upstream.knock)

    def spawn(self, work: Work, name: str) -> asyncio.Task[None]:
        return self.supervisor.spawn(self.interrupt(work), name)

    def fly(self, pinned: Pinned, kind: Kind = "blobs") -> Flight:
        return self.flights.join(kind, pinned, self.fetch)

    async def get(self, kind: Kind, reference: Reference) -> tuple[bytes, Outcome]:
        """What a client gets, to its last byte."""
        async with asyncio.timeout(10):  # to fail rather than to hang; nothing here takes time
            answer = await self.library.get(kind, reference)
            return await self.received(answer), answer.outcome

    async def received(self, answer: Answer) -> bytes:
        match answer.content:
            case InMemory(body):
                return body
            case OnDisk(fd, size):
                return read(fd, size)
            case Boarding():
                return await self.ride(answer.content)
        raise AssertionError("there is no content")

    async def ride(self, boarding: Boarding, start: int = 0) -> bytes:
        """Read a flight from `start` on, as a client's connection does."""
        flight, fd, size = boarding.flight, boarding.file.fd, boarding.file.size
        body = bytearray()
        try:
            while start + len(body) < size:
                ready = await flight.ready(start + len(body))
                body += os.pread(fd, ready - start - len(body), start + len(body))
        except Spilled:
            async for piece in self.overflow(flight, fd, start + len(body)):
                body += piece
        finally:
            boarding.close()
        return bytes(body)

    async def settled(self) -> None:
        """Wait until every task but this one has ended."""
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(others)


async def until(condition: Callable[[], bool]) -> None:
    """Let the others go on until something is so that nobody tells of."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0)


@asynccontextmanager
async def running(data: Path, setting: Setting = PLAIN, *, failed_tasks: int = 0) -> AsyncIterator[Core]:
    """A core, stopped as the daemon stops it; `failed_tasks` is what the block is to leave of bugs."""
    clock = ManualClock(rushes=True)
    async with opened(data, clock, setting.memory) as store:
        try:
            async with asyncio.TaskGroup() as group:
                core = Core(store, clock, group, setting)
                yield core
                core.supervisor.stop()
        except BaseExceptionGroup as several:
            raise several.exceptions[0] from None  # the test's own, which is easier to read
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert core.traffic.failed_tasks == failed_tasks
        assert [shelf.reading for shelf in (core.first, core.second, core.other)] == [0, 0, 0]

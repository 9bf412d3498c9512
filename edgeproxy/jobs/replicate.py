"""Keeps other sites up to date: what is written here goes to every target that a policy names, whatever fails.

Writes come out of the journal as tasks, one for each reference, policy and target, which stay in the catalogue until
the target has confirmed them: neither a crash nor a target that is away loses any. When a target comes back, all it
has is compared with all we have.
"""

import asyncio
import logging
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from contextvars import Context
from typing import Any, Protocol

from edgeproxy.cache.flights import Spawn
from edgeproxy.cache.shipments import Shipments
from edgeproxy.interfaces import Clock, TagState
from edgeproxy.jobs.backlog import Backlog, Pair
from edgeproxy.jobs.targets import Target
from edgeproxy.metrics import Traffic
from edgeproxy.oci.errors import NameUnknown, Refusal, Unavailable, Unsupported, UpstreamTimeout
from edgeproxy.oci.manifest import Descriptor
from edgeproxy.oci.reference import Pinned, Reference, Repository, Tag, parse_full
from edgeproxy.sites.comparison import differences
from edgeproxy.sites.filters import subject_of
from edgeproxy.sites.policies import Change, ReplicationPolicy, satisfied
from edgeproxy.sites.tasks import Task, Trigger
from edgeproxy.store.outbox import News, Outbox

log = logging.getLogger(__name__)
_RAN = "policy/"
_PAGE = 500
"""Writes that become tasks in one transaction."""
_AT_ONCE = 4
"""Tasks of one target at the same time."""
_BATCH = 64
"""Tasks that are looked out at once."""


class Written(Protocol):
    """What has been pushed here."""

    def states(self, repository: Repository) -> dict[str, TagState]: ...

    def repositories(self) -> list[Repository]: ...


class Replication:
    """The policies and their targets, and who works on what is to be done for them."""

    def __init__(
        self,
        outbox: Outbox,
        backlog: Backlog,
        written: Written,
        clock: Clock,
        spawn: Spawn,
        traffic: Traffic,
    ) -> None:
        self._outbox = outbox
        self.backlog = backlog
        self._written = written
        self._clock = clock
        self._spawn = spawn
        self._traffic = traffic
        self.policies: Mapping[str, ReplicationPolicy] = {}
        self.targets: Mapping[str, Target] = {}
        self._shipments: Shipments | None = None
        self.running: dict[Task, asyncio.Task[None]] = {}
        """What is being sent."""
        self._served = set[str]()
        self._routing = asyncio.Lock()
        self._ran = {key.removeprefix(_RAN): float(when) for key, when in outbox.rows(_RAN)}
        """When each schedule was followed last."""

    def configure(self, policies: Iterable[ReplicationPolicy], targets: Iterable[Target], shipments: Shipments) -> None:
        """Before anything else, and again whenever the configuration changes."""
        self._shipments = shipments
        self.policies = {policy.name: policy for policy in policies}
        self.targets = {target.peer.name: target for target in targets}

    async def step(self) -> None:
        """Called once a second, and whenever something was written."""
        await self.backlog.forget(self.policies, self.targets)
        await self._route()
        await self._follow_schedules()
        for name, target in self.targets.items():
            if name not in self._served and (target.wants_a_look() or self._due(target)):
                self._served.add(name)
                serving = self._begin(self._serve(target), f"replicate to {name}")
                serving.add_done_callback(lambda _, name=name: self._served.discard(name))  # type: ignore[misc]

    def left(self) -> int:
        """Tasks and writes that are still to be sent, or looked at."""
        return len(self.backlog.tasks) + len(self._outbox.rows("event/"))

    def _begin(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Work of the daemon's own: it carries nothing of the request that it follows from (`oci.passage`)."""
        return Context().run(self._spawn, work, name)

    def wake(self) -> None:
        """Something has been written."""
        self._begin(self.step(), "replicate")

    async def confirm(self, reference: Reference) -> None:
        """Wait until as many targets have what was written as its policies ask for.

        Raises `UpstreamTimeout` where that takes longer than the policy allows; it is sent all the same.
        """
        waited_for = [policy for policy in self.policies.values() if policy.mode != "async"]
        if waited_for:
            await self.step()
        for policy in waited_for:
            await self._confirmed(policy, reference)

    async def _confirmed(self, policy: ReplicationPolicy, reference: Reference) -> None:
        targets = self.targets_of(policy)
        asked = (self.backlog.waiting(policy.name, target.peer.name, reference) for target in targets)
        pending = {each for each in asked if each is not None}
        try:
            async with asyncio.timeout(policy.timeout):
                while pending and not satisfied(policy.mode, len(targets) - len(pending), len(targets)):
                    _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError as error:
            raise UpstreamTimeout(
                f"{reference} is kept here, but {len(pending)} of {len(targets)} targets of {policy.name} have not "
                f"confirmed it within {policy.timeout:g} s; they are sent it as soon as they take it",
                retry_after=5,
            ) from error

    # from writes to tasks

    async def _route(self) -> None:
        """Each page of the journal becomes tasks in one transaction: a crash between the two loses none."""
        async with self._routing:
            while events := await self._outbox.events(_PAGE):
                tasks = [task for event in events for task in self._tasks_of(event.news)]
                await self.backlog.add(tasks, "event", events[-1].sequence)

    def _tasks_of(self, news: News) -> Iterable[Task]:
        names = self._names(news)
        for policy in self.policies.values():
            changes = (
                Change(news.repository, name, news.media_type, news.artifact_type, news.deleted) for name in names
            )
            if policy.on_event and any(map(policy.wants, changes)):
                for target in self.targets_of(policy):
                    if not target.source or target.source not in news.via:
                        where = policy.name, target.peer.name, str(news.reference)
                        yield Task.new(*where, created=news.at, size=news.size, via=news.via, version=news.version)

    def _names(self, news: News) -> Sequence[str | None]:
        """The tags by which it is judged: what refers to something, by those of its subject."""
        if news.tag is not None:
            return self._aliases(news.repository, news.tag)
        return [None] if news.subject is None else self._names_of(Pinned(news.repository, news.subject))

    def _aliases(self, repository: Repository, name: str) -> Sequence[str | None]:
        """The tags by which a tag is judged: itself, or those of the subject of which it is made."""
        subject = subject_of(name)
        return [name] if subject is None else self._names_of(Pinned(repository, subject))

    def _names_of(self, manifest: Pinned) -> Sequence[str | None]:
        states = self._written.states(manifest.repository).items()
        named = [name for name, each in states if each.descriptor and each.descriptor.digest == manifest.digest]
        return named or [None]

    async def compare(self, policy: ReplicationPolicy, target: Target, trigger: Trigger) -> int:
        """Find what a target lacks, whatever happened meanwhile; how much that is. Raises its `Refusal`."""
        found = []
        for repository in self._written.repositories():
            if policy.chain.covers(repository):
                found += await self._lacking(policy, target, repository)
        await self.backlog.add(found, trigger)
        return len(found)

    async def _follow_schedules(self) -> None:
        """What was missed while the process was away is done once. Who is away is compared when it comes back."""
        now = self._clock.now()
        for policy in self.policies.values():
            last = self._ran.get(policy.name)
            if policy.schedule is None or (last is not None and policy.schedule.following(last) > now):
                continue
            self._ran[policy.name] = now
            await self._outbox.settle(0, {f"{_RAN}{policy.name}": str(now)}, [])
            if last is not None:  # else it is new
                for target in self.targets_of(policy):
                    self._begin(self._compare_due(policy, target), f"schedule of {policy.name}")

    async def _compare_due(self, policy: ReplicationPolicy, target: Target) -> None:
        if target.standing is not None:
            with suppress(Refusal):
                await self.compare(policy, target, "schedule")
                self.wake()

    async def _lacking(self, policy: ReplicationPolicy, target: Target, repository: Repository) -> list[Task]:
        ours = {
            name: state
            for name, state in self._written.states(repository).items()
            if any(policy.wants(_change(repository, each, state)) for each in self._aliases(repository, name))
        }
        theirs: Mapping[str, TagState | Descriptor] = {}
        if ours:
            with suppress(NameUnknown):
                theirs = await target.peer.tags(repository)
        return [
            Task.new(
                policy.name,
                target.peer.name,
                str(Tag(repository, name)),
                created=min(self._clock.now(), ours[name].version.stamp / 1000),
            )
            for name in differences(ours, theirs, policy.deletions)
        ]

    # from tasks to targets

    async def _serve(self, target: Target) -> None:
        """Look after it, and send it what is due until nothing is."""
        if target.is_due() and not await self.look_at(target):
            return
        if not target.compared:
            await self._compare_all(target)
        while batch := self._due(target)[:_BATCH]:
            free = asyncio.Semaphore(_AT_ONCE)
            async with asyncio.TaskGroup() as group:
                for task in batch:
                    group.create_task(self._send(task, target, free))

    async def look_at(self, target: Target) -> bool:
        """Ask it now whether it takes what is sent."""
        return await target.check(self._some_repository(target), self.backlog.lag(target.peer.name).size)

    async def halt(self, pair: Pair) -> None:
        """End what is being sent for a policy to a target; it stays to be sent."""
        sending = [work for task, work in self.running.items() if (task.policy, task.target) == pair]
        for work in sending:
            work.cancel()
        if sending:
            await asyncio.wait(sending)

    def _due(self, target: Target) -> Sequence[Task]:
        return self.backlog.due(target.peer.name) if target.standing is not None else []

    async def _compare_all(self, target: Target) -> None:
        try:
            for policy in self._policies_of(target):
                await self.compare(policy, target, "reconnect")
            target.compared = True
        except Refusal as refusal:
            target.lost(refusal.message)

    async def _send(self, task: Task, target: Target, free: asyncio.Semaphore) -> None:
        """In a task of its own, that `halt` may end without ending the others."""
        async with free:
            if target.standing is None or not self.backlog.is_due(task) or task.policy not in self.policies:
                return
            self.running[task] = work = asyncio.create_task(self._deliver(task, target))
            try:
                await asyncio.wait([work])
            finally:
                work.cancel()
                del self.running[task]
        if not work.cancelled():
            work.result()

    async def _deliver(self, task: Task, target: Target) -> None:
        assert self._shipments is not None
        reference, deletions = parse_full(task.reference), self.policies[task.policy].deletions
        try:
            sent = await self._shipments.send(target.peer, reference, task, deletions=deletions)
        except Unsupported as refusal:  # and will be tomorrow
            log.warning("%s stays as it is: %s", reference, refusal.message)
            await self.backlog.delivered(task, 0)
        except Refusal as refusal:
            await self._failed(task, target, refusal.message)
            if isinstance(refusal, Unavailable) and target.standing is not None:
                await target.check(reference.repository)
        except Exception as error:  # a disk that fails, or a bug: the rest is sent all the same
            log.exception("%s cannot be sent to %s", reference, target.peer.name)
            await self._failed(task, target, f"{type(error).__name__}: {error}")
        else:
            self._traffic.delivered[target.peer.name] += 1
            self._traffic.shipped[target.peer.name] += sent
            await self.backlog.delivered(task, sent)

    async def _failed(self, task: Task, target: Target, trouble: str) -> None:
        log.warning("%s to %s: %s", task.reference, target.peer.name, trouble)
        self._traffic.undelivered[target.peer.name] += 1
        await self.backlog.failed(task, trouble)

    def _some_repository(self, target: Target) -> Repository | None:
        """One that is pushed to it."""
        policies = self._policies_of(target)
        for repository in self._written.repositories():
            if any(policy.chain.covers(repository) for policy in policies):
                return repository
        return None

    def targets_of(self, policy: ReplicationPolicy) -> list[Target]:
        return [target for name, target in self.targets.items() if policy.sends_to(name)]

    def _policies_of(self, target: Target) -> list[ReplicationPolicy]:
        return [policy for policy in self.policies.values() if policy.sends_to(target.peer.name)]


def _change(repository: Repository, name: str | None, state: TagState) -> Change:
    return Change(repository, name, state.descriptor.media_type if state.descriptor else "", None, not state.descriptor)

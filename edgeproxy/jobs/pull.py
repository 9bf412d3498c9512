"""Brings what a registry has before anybody asks for it: by a schedule, and when the registry tells of it."""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Protocol

from edgeproxy.cache.flights import Spawn
from edgeproxy.interfaces import Clock
from edgeproxy.oci.errors import ManifestUnknown, NameInvalid, NameUnknown, Refusal
from edgeproxy.oci.reference import Pinned, Reference, Repository, Tag, parse_full, parse_repository
from edgeproxy.sites.notices import Notice
from edgeproxy.sites.policies import PullPolicy
from edgeproxy.store.outbox import Outbox

log = logging.getLogger(__name__)
_RAN = "policy/"
_TASK = "pull/"
_UNTIL_IT_IS_THERE = 20.0
"""Seconds: registries tell of a tag a moment before they show it."""
_AT_ONCE = 2
"""References that are brought at the same time."""


class Source(Protocol):
    """The cache, as far as bringing goes."""

    async def tags(self, repository: Repository) -> list[str]:
        """All that upstream lists. Raises upstream's `Refusal`."""
        ...

    async def bring(self, reference: Reference) -> None:
        """All of an image; a tag as upstream has it now. Raises the `Refusal` that says why not."""
        ...

    async def check(self, tag: Tag) -> None:
        """See what upstream has: whoever foresees what is wanted is told. Raises upstream's `Refusal`."""
        ...

    async def forget(self, tag: Tag) -> None: ...

    def known(self, registry: str) -> list[Repository]:
        """Repositories of which something is here."""
        ...


class Pulling:
    """What is to be brought is a row `pull/<policy>/<reference>` until it is here."""

    def __init__(self, outbox: Outbox, clock: Clock, spawn: Spawn) -> None:
        self._outbox = outbox
        self._clock = clock
        self._spawn = spawn
        self.policies: Mapping[str, PullPolicy] = {}
        self._source: Source | None = None
        self._ran = {key.removeprefix(_RAN): float(when) for key, when in outbox.rows(_RAN)}
        self._bringing = False

    def configure(self, policies: Iterable[PullPolicy], source: Source) -> None:
        self.policies, self._source = {policy.name: policy for policy in policies}, source

    async def step(self) -> None:
        """Called every few seconds: what is due by a schedule, and what is still to be brought."""
        now = self._clock.now()
        for policy in self.policies.values():
            last = self._ran.get(policy.name)
            if policy.schedule is not None and (last is None or policy.schedule.following(last) <= now):
                self._ran[policy.name] = now
                await self._outbox.settle(0, {f"{_RAN}{policy.name}": str(now)}, [])
                if last is not None:
                    with suppress(Refusal):
                        await self.run(policy.name)
        self._go_on()

    async def run(self, name: str) -> int:
        """Have all brought that a policy is about; how many tags that are. Raises `NameUnknown`."""
        policy = self._policy(name)
        found = [Tag(each, tag) for each in self._repositories(policy) for tag in await self._tags(policy, each)]
        await self._add(policy, found)
        return len(found)

    async def told(self, name: str, notices: Iterable[Notice]) -> int:
        """What the registry says is new; how much of it is to be brought. Raises `NameUnknown`."""
        policy, wanted = self._policy(name), list[Reference]()
        for notice in notices if policy.on_event else ():
            reference = _reference(policy, notice)
            tag = notice.tag
            if reference is None or not policy.chain.passes(reference.repository, tag, "", None):
                continue
            if not notice.deleted and policy.likely and isinstance(reference, Tag):
                self._spawn(self._check(reference), f"check {reference}")
            elif not notice.deleted:
                wanted.append(reference)
            elif policy.deletions and isinstance(reference, Tag) and self._source is not None:
                with suppress(Refusal):
                    await self._source.forget(reference)
        await self._add(policy, wanted)
        return len(wanted)

    async def _check(self, tag: Tag) -> None:
        assert self._source is not None
        until = self._clock.now() + _UNTIL_IT_IS_THERE
        with suppress(Refusal):
            while True:
                try:
                    return await self._source.check(tag)
                except (NameUnknown, ManifestUnknown):
                    if self._clock.now() >= until:
                        raise
                    await self._clock.sleep(1.0)

    async def _add(self, policy: PullPolicy, references: Iterable[Reference]) -> None:
        now = str(self._clock.now())
        await self._outbox.settle(0, {f"{_TASK}{policy.name}/{each}": now for each in references}, [])
        self._go_on()

    def _go_on(self) -> None:
        if not self._bringing and self._outbox.rows(_TASK):
            self._bringing = True
            self._spawn(self._bring_all(), "pull").add_done_callback(lambda _: self._rest())

    def _rest(self) -> None:
        self._bringing = False

    async def _bring_all(self) -> None:
        """Once each; what fails stays for the next step."""
        free = asyncio.Semaphore(_AT_ONCE)
        async with asyncio.TaskGroup() as group:
            for key, added in self._outbox.rows(_TASK):
                group.create_task(self._bring(key, added, free))

    async def _bring(self, key: str, added: str, free: asyncio.Semaphore) -> None:
        name, _, text = key.removeprefix(_TASK).partition("/")
        async with free:
            try:
                if name in self.policies and self._source is not None:
                    await self._source.bring(parse_full(text))
            except (NameUnknown, ManifestUnknown) as refusal:
                if self._clock.now() - float(added) < _UNTIL_IT_IS_THERE:
                    return
                log.warning("%s is not brought: %s", text, refusal.message)
            except Refusal as refusal:
                log.warning("%s cannot be brought yet: %s", text, refusal.message)
                return
        await self._outbox.settle(0, {}, [key])

    def _policy(self, name: str) -> PullPolicy:
        if name not in self.policies:
            raise NameUnknown(f"no [[replication]] with a source is called {name!r}")
        return self.policies[name]

    def _repositories(self, policy: PullPolicy) -> list[Repository]:
        assert self._source is not None
        known = [each for each in self._source.known(policy.source) if policy.chain.covers(each)]
        return list(dict.fromkeys([*policy.named(), *known]))

    async def _tags(self, policy: PullPolicy, repository: Repository) -> list[str]:
        assert self._source is not None
        try:
            listed = await self._source.tags(repository)
        except Refusal as refusal:
            log.warning("%s lists no tags: %s", repository, refusal.message)
            return []
        return [tag for tag in listed if policy.chain.passes(repository, tag, "", None)]


def _reference(policy: PullPolicy, notice: Notice) -> Reference | None:
    try:
        repository = parse_repository(policy.source, notice.path)
    except NameInvalid:
        return None
    if notice.tag is not None:
        return Tag(repository, notice.tag)
    return Pinned(repository, notice.digest) if notice.digest is not None else None

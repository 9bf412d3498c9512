"""Which manifest a tag names: answered from the catalogue, checked behind, never lost to an upstream that fails."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from copy import copy
from math import floor
from typing import NamedTuple

from edgeproxy.cache.answers import HIT, MISS, Outcome
from edgeproxy.cache.fetch import Fetch
from edgeproxy.cache.flights import Flights, Spawn
from edgeproxy.cache.questions import Questions
from edgeproxy.cache.rules import Rules
from edgeproxy.cache.upstreams import Upstreams
from edgeproxy.interfaces import Checked, Clock, Policy
from edgeproxy.oci.errors import ManifestUnknown, Refusal, TooManyRequests, UpstreamTimeout
from edgeproxy.oci.manifest import Descriptor
from edgeproxy.oci.reference import Pinned, Tag
from edgeproxy.store.catalog import Catalog, TagRecord

log = logging.getLogger(__name__)
_NEGATIVE = 10.0
"""Seconds for which a tag that upstream did not know is not asked for again."""
_FAILED = 30.0
"""Seconds for which an upstream that failed a tag is not asked for it again."""
_MOST_TROUBLES = 10_000


class Resolution(NamedTuple):
    descriptor: Descriptor
    outcome: Outcome


class Trouble(NamedTuple):
    """Why a tag could not be checked, and until when it is not tried again."""

    until: float
    refusal: Refusal


class Tags:
    """RFC 9111 freshness with stale-while-revalidate and stale-if-error (RFC 5861), for tags."""

    def __init__(
        self,
        catalog: Catalog,
        upstreams: Upstreams,
        rules: Rules,
        policy: Policy,
        clock: Clock,
        spawn: Spawn,
        patience: float,
        flights: Flights,
        fetch: Fetch,
        tell: Callable[[Checked], None] = lambda checked: None,
    ) -> None:
        """`patience` in seconds, as for `Flights`; `tell` is told whenever upstream was asked."""
        self._tell = tell
        self._catalog = catalog
        self._upstreams = upstreams
        self._rules = rules
        self._policy = policy
        self._clock = clock
        self._patience = patience
        self._flights = flights
        self._fetch = fetch
        self._troubles: dict[Tag, Trouble] = {}
        self._questions = Questions[Tag, Descriptor](spawn)

    def fresh(self, tag: Tag, now: float) -> Resolution | None:
        """The answer that needs nobody to be asked; no I/O but the catalogue's."""
        record = self._catalog.tag(tag)
        if record is None:
            return None
        if record.pushed:
            return Resolution(record.descriptor, HIT)
        left = self._fresh_until(tag, record, now) - now
        return Resolution(record.descriptor, Outcome("hit", floor(left))) if left > 0 else None

    def known(self, tag: Tag, now: float) -> Resolution | None:
        """The answer that may be given without asking anybody, fresh or not."""
        record = self._catalog.tag(tag)
        if record is None:
            return None
        if record.pushed:
            return Resolution(record.descriptor, HIT)
        left = self._fresh_until(tag, record, now) - now
        if left <= 0 and not self._may_be_stale(tag, -left):
            return None
        return Resolution(record.descriptor, Outcome("hit" if left > 0 else "stale", floor(left)))

    async def resolve(self, tag: Tag) -> Resolution:
        """Raises the `Refusal` of upstream where nothing is known that may still be answered."""
        now = self._clock.now()
        record = self._catalog.tag(tag)
        if record is None:
            if self._catalog.is_deleted(tag):
                raise ManifestUnknown(f"{tag} was deleted here")
            return Resolution(await self._ask_patiently(tag, now), MISS)
        if record.pushed:
            return Resolution(record.descriptor, HIT)
        left = self._fresh_until(tag, record, now) - now
        if left > 0:
            return Resolution(record.descriptor, Outcome("hit", floor(left)))
        if self._may_be_stale(tag, -left):
            self._revalidate_behind(tag, now)
            return Resolution(record.descriptor, Outcome("stale", floor(left), detail=self._why_stale(tag, now)))
        return Resolution(await self._ask_patiently(tag, now), Outcome("miss", forwarded="stale"))

    # judging

    def _fresh_until(self, tag: Tag, record: TagRecord, now: float) -> float:
        ruled = self._rules.of(tag).fresh
        return record.checked + (self._policy.ttl(tag, now) if ruled is None else ruled)

    def _may_be_stale(self, tag: Tag, seconds: float) -> bool:
        most = self._rules.of(tag).max_stale
        return most is None or seconds <= most

    def _why_stale(self, tag: Tag, now: float) -> str:
        trouble = self._troubles.get(tag)
        return f"upstream: {trouble.refusal.message}" if trouble and now < trouble.until else ""

    # asking

    async def check(self, tag: Tag) -> Descriptor:
        """What it names now, whatever is known of it. Raises upstream's `Refusal`."""
        try:
            return await asyncio.shield(self._ask(tag))
        except ManifestUnknown:
            self._troubles.pop(tag, None)  # it may be there any moment: whoever waits for it finds out for himself
            raise

    def _revalidate_behind(self, tag: Tag, now: float) -> None:
        trouble = self._troubles.get(tag)
        if tag in self._questions or (trouble and now < trouble.until):
            return
        if self._upstreams.may_be_bothered(tag.repository):
            with suppress(TooManyRequests):
                self._ask(tag)

    async def _ask_patiently(self, tag: Tag, now: float) -> Descriptor:
        trouble = self._troubles.get(tag)
        if trouble and now < trouble.until and isinstance(trouble.refusal, ManifestUnknown):
            raise copy(trouble.refusal)  # as in `Absent`
        try:
            async with asyncio.timeout(self._patience):
                return await asyncio.shield(self._ask(tag))
        except TimeoutError as error:
            raise UpstreamTimeout(f"upstream is slow to say what {tag} names; ask again", retry_after=5) from error

    def _ask(self, tag: Tag) -> asyncio.Future[Descriptor]:
        return self._questions.ask(tag, self._check, f"check {tag}")

    async def _check(self, tag: Tag) -> Descriptor:
        try:
            descriptor = await self._newest(tag)
        except Refusal as refusal:
            self._note(tag, refusal)
            if isinstance(refusal, ManifestUnknown):
                self._tell(Checked(self._clock.now(), tag, None))
            raise
        self._troubles.pop(tag, None)
        self._tell(Checked(self._clock.now(), tag, descriptor))
        return descriptor

    async def _newest(self, tag: Tag) -> Descriptor:
        descriptor = await self._upstreams.first(
            tag.repository, lambda upstream: upstream.resolve(tag), ManifestUnknown(f"{tag} is unknown"), named=True
        )
        record = self._catalog.tag(tag)
        now = self._clock.now()
        changed = record.changed if record and record.descriptor.digest == descriptor.digest else now
        if record and changed == now:
            # The tag moves only once its new manifest is here: an upstream that fails in between takes nothing away.
            await self._bring(Pinned(tag.repository, descriptor.digest))
        await self._catalog.put_tag(tag, TagRecord(descriptor, now, changed))
        return descriptor

    async def _bring(self, pinned: Pinned) -> None:
        if self._catalog.link("manifests", pinned) is None or self._catalog.held(pinned.digest) is None:
            await self._flights.join("manifests", pinned, self._fetch).landed()

    def _note(self, tag: Tag, refusal: Refusal) -> None:
        if len(self._troubles) >= _MOST_TROUBLES:
            self._troubles.clear()
        seconds = _NEGATIVE if isinstance(refusal, ManifestUnknown) else _FAILED
        self._troubles[tag] = Trouble(self._clock.now() + seconds, copy(refusal))
        log.info("cannot check %s: %s", tag, refusal.message)

"""Deletions (distribution-spec, spec.md#content-management): at once for all who ask, on disk when room is needed."""

import logging
from typing import NamedTuple

from edgeproxy.cache.answers import read
from edgeproxy.cache.rules import Rules
from edgeproxy.cache.uploads import refused
from edgeproxy.cache.writes import Announcer, Said, Write, announce, check
from edgeproxy.interfaces import Clock
from edgeproxy.metrics import Traffic
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.errors import unknown
from edgeproxy.oci.manifest import subject
from edgeproxy.oci.reference import Pinned, Tag
from edgeproxy.oci.version import Version
from edgeproxy.store.disk import DiskStore
from edgeproxy.store.pushed import Pushed
from edgeproxy.store.removal import Removal

log = logging.getLogger(__name__)


class Removed(NamedTuple):
    """`news` is False where the deletion had been known, or something newer is; `version` is the tag's now."""

    news: bool
    version: Version | None


class Removals:
    def __init__(
        self, store: DiskStore, rows: Pushed, clock: Clock, traffic: Traffic, announcer: Announcer | None = None
    ) -> None:
        self._announcer = announcer
        self._store = store
        self._rows = rows
        self._clock = clock
        self._traffic = traffic
        self._source = store.layout.name

    async def tag(self, tag: Tag, said: Said | None = None) -> Removed:
        """A tag that was pushed here is unknown from then on, whatever upstream has; any other is asked for again.

        Raises `ManifestUnknown` where it is not here, unless another site says so; `RequestInvalid`.
        """
        now = self._clock.now()
        if said is not None and said.version is not None:
            check(said.version, now)
        write = Write(None, self._source, now, said)
        forced = said is not None and said.version is not None
        with refused():
            fate = await self._rows.remove_tag(tag, Removal(write, now, forced))
        if not fate.known:
            raise unknown("manifests", tag)
        write.count(tag, self._traffic)
        if fate.news:
            await announce(self._announcer, tag, said)
        return Removed(fate.news, fate.holds.version if fate.holds else None)

    async def manifest(self, pinned: Pinned, said: Said | None = None) -> None:
        """With its tags in this repository. Raises `ManifestUnknown` where this repository does not show it."""
        now = self._clock.now()
        via = (*(said.via if said else ()), self._source)
        removal = Removal(Write(None, self._source, now), now, via=via, subject=await self._subject(pinned))
        with refused():
            if not await self._rows.remove_manifest(pinned, removal):
                raise unknown("manifests", pinned)
        await announce(self._announcer, pinned, said)

    async def blob(self, pinned: Pinned) -> None:
        """Raises `BlobUnknown` where this repository does not show it."""
        with refused():
            if not await self._rows.remove_blob(pinned, self._clock.now()):
                raise unknown("blobs", pinned)

    async def let_go(self, rules: Rules) -> None:
        """What was pushed, and is to stay no longer by its rule: it is checked upstream and may be evicted."""
        now = self._clock.now()

        def is_over(tag: Tag, changed: float) -> bool:
            stays = rules.of(tag).pushed_for
            return stays is not None and changed + stays <= now

        if rules.have("pushed_for") and (gone := await self._rows.let_go(is_over)):
            log.info("%d tags that were pushed here are let go", gone)

    async def _subject(self, pinned: Pinned) -> Digest | None:
        """What a manifest refers to, where it is here to be asked."""
        is_manifest = self._store.catalog.link("manifests", pinned) is not None
        content = await self._store.open(pinned.digest) if is_manifest else None
        return subject(read(content)) if content is not None else None

"""Manifests that clients push (distribution-spec, spec.md#pushing-manifests): whole, or not at all. And their end."""

import asyncio
import logging
import uuid
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from edgeproxy.cache.answers import read
from edgeproxy.cache.eviction import Room
from edgeproxy.cache.library import Library
from edgeproxy.cache.uploads import refused, written
from edgeproxy.interfaces import Clock, Kind, TagState, Urgency
from edgeproxy.metrics import Traffic
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.errors import (
    DigestInvalid,
    ManifestBlobUnknown,
    ManifestUnknown,
    Refusal,
    RequestInvalid,
    UpstreamTimeout,
    unknown,
)
from edgeproxy.oci.manifest import Child, Descriptor, children, pushed, subject_of
from edgeproxy.oci.reference import Pinned, Reference, Repository, Tag
from edgeproxy.oci.version import Version
from edgeproxy.sites.versions import Merge, Outcome, issue, merge
from edgeproxy.store.disk import DiskStore
from edgeproxy.store.pushed import Publication, Published, Pushed

log = logging.getLogger(__name__)


_AHEAD = 86400.0
"""Seconds by which another site's clock may be ahead: whatever has such a stamp would win for as long."""


class Claim(NamedTuple):
    """What a site says of a write that it passes on."""

    version: Version
    via: tuple[str, ...]


class Accepted(NamedTuple):
    """What became of a manifest; `state` is what its tag names now, where it has one."""

    descriptor: Descriptor
    subject: Digest | None
    state: TagState | None
    news: bool


class Announcer(Protocol):
    """Who has other sites hear of what was written."""

    def wake(self) -> None: ...

    async def confirm(self, reference: Reference) -> None:
        """Raises `UpstreamTimeout` where others were to have it by now, and have not."""
        ...


class Manifests:
    def __init__(
        self,
        store: DiskStore,
        rows: Pushed,
        room: Room,
        library: Library,
        clock: Clock,
        traffic: Traffic,
        patience: float,
        announcer: Announcer | None = None,
    ) -> None:
        """`patience` in seconds, as for `Flights`."""
        self._store = store
        self._rows = rows
        self._room = room
        self._library = library
        self._clock = clock
        self._traffic = traffic
        self._patience = patience
        self._announcer = announcer
        self._source = store.layout.name

    async def put(self, reference: Reference, body: bytes, declared: str, claim: Claim | None = None) -> Accepted:
        """Store and show a manifest, its tag last, unless that names something newer. It stays until it is deleted.

        Raises `ManifestMalformed`, `DigestInvalid`, `ManifestBlobUnknown`, `InsufficientStorage`, `UpstreamTimeout`, or
        `RequestInvalid` for a claim that cannot be true.
        """
        repository = reference.repository
        self._traffic.pushed[repository.registry] += len(body)
        manifest = pushed(body, declared)
        tag = reference if isinstance(reference, Tag) else None
        digest = Digest.of(body) if isinstance(reference, Tag) else reference.digest
        if Digest.of(body, digest.algorithm) != digest:
            raise DigestInvalid(f"the {len(body)} bytes that were sent are not {digest}")
        descriptor = Descriptor(manifest.media_type, digest, len(body))
        listed = {"mediaType": descriptor.media_type, "digest": digest, "size": len(body), **manifest.about}
        write = _Write(descriptor, self._source, self._clock.now(), claim)
        new = Publication(
            repository, descriptor, manifest.children, tag, manifest.subject, listed, write.decide, write.via
        )
        with refused():
            await self._bring(repository, await self._rows.lacking(repository, new.children))
            await self._keep(digest, body)
            done = await self._rows.publish(new, self._clock.now())
        for child in done.lacking:
            raise _lacks(repository, child)
        await self._announce(reference, write, done)
        return Accepted(descriptor, manifest.subject, done.state, done.news)

    async def delete_tag(self, tag: Tag, claim: Claim | None = None) -> Published:
        """Raises `ManifestUnknown`, and for a claim as `put` does."""
        write = _Write(None, self._source, self._clock.now(), claim)
        with refused():
            done = await self._rows.delete_tag(tag, write.decide, self._clock.now(), claim and write.via)
        if done is None:
            raise ManifestUnknown(f"{tag} is unknown")
        await self._announce(tag, write, done)
        return done

    async def delete(self, kind: Kind, pinned: Pinned) -> None:
        """Have a repository show this no more, by any name. Raises `ManifestUnknown` or `BlobUnknown`."""
        subject = None
        if kind == "manifests" and (content := await self._store.open(pinned.digest)):
            subject = subject_of(read(content))
            for name in self._rows.names(pinned):
                await self.delete_tag(Tag(pinned.repository, name))
        with refused():
            if not await self._rows.delete(kind, pinned, subject):
                raise unknown(kind, pinned)

    async def _announce(self, reference: Reference, write: "_Write", done: Published) -> None:
        if write.merged is not None:
            self._traffic.arrived[write.merged.outcome.value] += 1
            if write.merged.loser is not None:
                log.warning("%s was written at two sites at once: %s stays, not %s", reference, *write.merged[1:])
        if done.news and self._announcer is not None:
            if write.claim is None:
                await self._announcer.confirm(reference)
            self._announcer.wake()

    async def _bring(self, repository: Repository, lacking: Sequence[Child]) -> None:
        """A client does not upload what upstream has in this repository already: it asked for that, and was told."""
        for child in lacking:
            kind, pinned = child.kind, Pinned(repository, child.descriptor.digest)
            try:
                async with asyncio.timeout(self._patience):
                    await self._library.bring(kind, pinned, Urgency.CLIENT)
            except TimeoutError as error:
                raise UpstreamTimeout(f"{pinned} is on its way from upstream; push again", retry_after=5) from error
            except Refusal as refusal:
                raise _lacks(repository, child) from refusal

    async def _keep(self, digest: Digest, body: bytes) -> None:
        name = f"manifest-{uuid.uuid4()}"
        self._store.uploads.begin(name)
        async with self._store.uploads.writing(name) as writer:
            try:
                await written(self._room, writer, body)
                await writer.name(digest)
                async with self._room.kept(0):
                    await writer.commit([child.descriptor.digest for child in children(body)])
            finally:
                await writer.close(keep=False)


class _Write:
    """What a write makes of what is known of its tag; the transaction asks."""

    def __init__(self, descriptor: Descriptor | None, source: str, now: float, claim: Claim | None) -> None:
        """Raises `RequestInvalid`."""
        if claim is not None and claim.version.stamp > (now + _AHEAD) * 1000:
            raise RequestInvalid("the version is of a day to come: set the clocks of the sites")
        self._descriptor = descriptor
        self._source = source
        self._now = now
        self.claim = claim
        self.merged: Merge | None = None

    def via(self) -> tuple[str, ...]:
        """Who knows of it: nobody, where two writes have been made one."""
        if self.claim is None or (self.merged and self.merged.outcome in (Outcome.WON, Outcome.LOST)):
            return ()
        return self.claim.via

    def decide(self, known: TagState | None) -> tuple[TagState, bool]:
        if self.claim is None:
            return TagState(self._descriptor, issue(known, self._source, int(self._now * 1000))), True
        self.merged = merge(known, TagState(self._descriptor, self.claim.version))
        return self.merged.state, self.merged.outcome is not Outcome.SEEN


def _lacks(repository: Repository, child: Child) -> ManifestBlobUnknown:
    what = {"digest": child.descriptor.digest}
    return ManifestBlobUnknown(f"{repository} has no {child.descriptor.digest}, which the manifest names", what)

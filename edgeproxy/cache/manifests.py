"""Manifests that clients push (distribution-spec, spec.md#pushing-manifests): whole, or not at all."""

import asyncio
import uuid
from collections.abc import Sequence
from typing import NamedTuple

from edgeproxy.cache.eviction import Room
from edgeproxy.cache.library import Library
from edgeproxy.cache.uploads import refused, written
from edgeproxy.cache.writes import Announcer, Said, Write, announce, check
from edgeproxy.interfaces import Clock, Urgency
from edgeproxy.metrics import Traffic
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.errors import DigestInvalid, ManifestBlobUnknown, Refusal, UpstreamTimeout
from edgeproxy.oci.manifest import Child, Descriptor, children, pushed
from edgeproxy.oci.manifest import Pushed as Manifest
from edgeproxy.oci.reference import Pinned, Reference, Repository, Tag
from edgeproxy.oci.version import Version
from edgeproxy.store.disk import DiskStore
from edgeproxy.store.pushed import Publication, Pushed


class Taken(NamedTuple):
    """`news` is False where another site's write to a tag was known already; `version` is the tag's now."""

    descriptor: Descriptor
    subject: Digest | None
    news: bool = True
    version: Version | None = None


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
        self._announcer = announcer
        self._store = store
        self._rows = rows
        self._room = room
        self._library = library
        self._clock = clock
        self._traffic = traffic
        self._patience = patience
        self._source = store.layout.name

    async def put(self, reference: Reference, body: bytes, declared: str, said: Said | None = None) -> Taken:
        """Store and show a manifest, its tag last. It stays until it is deleted.

        `said`: another site passes it on. Then its tag may stay as it is, where something newer holds.
        Raises `ManifestMalformed`, `DigestInvalid`, `ManifestBlobUnknown`, `InsufficientStorage`, `RequestInvalid`,
        and `UpstreamTimeout` where other sites are to have it as well, and have not.
        """
        if said is not None and said.version is not None:
            check(said.version, self._clock.now())
        self._traffic.pushed[reference.repository.registry] += len(body)
        manifest = pushed(body, declared)
        descriptor = Descriptor(manifest.media_type, _digest(reference, body), len(body))
        with refused():
            await self._bring(reference.repository, await self._rows.lacking(reference.repository, manifest.children))
            await self._keep(descriptor.digest, body)
            taken = await self._publish(reference, descriptor, manifest, said)
        if taken.news:
            await announce(self._announcer, reference, said)
        return taken

    async def _publish(
        self, reference: Reference, descriptor: Descriptor, manifest: Manifest, said: Said | None
    ) -> Taken:
        now, repository = self._clock.now(), reference.repository
        tag = reference if isinstance(reference, Tag) else None
        media_type, digest, size = descriptor
        listed = {"mediaType": media_type, "digest": digest, "size": size, **manifest.about}
        write = Write(descriptor, self._source, now, said)
        via = (*(said.via if said else ()), self._source)
        new = Publication(repository, descriptor, manifest.children, tag, manifest.subject, listed, write, via)
        done = await self._rows.publish(new, now)
        for child in done.lacking:
            raise _lacks(repository, child)
        if tag is None:
            return Taken(descriptor, manifest.subject)
        write.count(tag, self._traffic)
        return Taken(descriptor, manifest.subject, done.news, done.holds.version if done.holds else None)

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


def _digest(reference: Reference, body: bytes) -> Digest:
    """Raises `DigestInvalid` where the body is not what the reference says."""
    if isinstance(reference, Tag):
        return Digest.of(body)
    if Digest.of(body, reference.digest.algorithm) != reference.digest:
        raise DigestInvalid(f"the {len(body)} bytes that were sent are not {reference.digest}")
    return reference.digest


def _lacks(repository: Repository, child: Child) -> ManifestBlobUnknown:
    what = {"digest": child.descriptor.digest}
    return ManifestBlobUnknown(f"{repository} has no {child.descriptor.digest}, which the manifest names", what)

"""Manifests that clients push (distribution-spec, spec.md#pushing-manifests): whole, or not at all."""

import asyncio
import uuid
from collections.abc import Sequence

from edgeproxy.cache.eviction import Room
from edgeproxy.cache.library import Library
from edgeproxy.cache.uploads import refused, written
from edgeproxy.interfaces import Clock, Urgency
from edgeproxy.metrics import Traffic
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.errors import DigestInvalid, ManifestBlobUnknown, Refusal, UpstreamTimeout
from edgeproxy.oci.manifest import Child, Descriptor, children, pushed
from edgeproxy.oci.reference import Pinned, Reference, Repository, Tag
from edgeproxy.store.disk import DiskStore
from edgeproxy.store.pushed import Publication, Pushed


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
    ) -> None:
        """`patience` in seconds, as for `Flights`."""
        self._store = store
        self._rows = rows
        self._room = room
        self._library = library
        self._clock = clock
        self._traffic = traffic
        self._patience = patience

    async def put(self, reference: Reference, body: bytes, declared: str) -> Publication:
        """Store and show a manifest, its tag last. It stays until it is deleted.

        Raises `ManifestMalformed`, `DigestInvalid`, `ManifestBlobUnknown`, `InsufficientStorage`.
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
        new = Publication(repository, descriptor, manifest.children, tag, manifest.subject, listed)
        with refused():
            await self._bring(repository, await self._rows.lacking(repository, new.children))
            await self._keep(digest, body)
            for child in await self._rows.publish(new, self._clock.now()):
                raise _lacks(repository, child)
        return new

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


def _lacks(repository: Repository, child: Child) -> ManifestBlobUnknown:
    what = {"digest": child.descriptor.digest}
    return ManifestBlobUnknown(f"{repository} has no {child.descriptor.digest}, which the manifest names", what)

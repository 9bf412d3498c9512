"""How a flight gets its bytes: downloaded, verified, then kept."""

import logging
from collections.abc import Sequence
from typing import TypeVar

from edgeproxy.cache.blame import Blame
from edgeproxy.cache.chronicle import Chronicle
from edgeproxy.cache.download import Download, delay, worth_repeating
from edgeproxy.cache.eviction import Room
from edgeproxy.cache.flights import Flight
from edgeproxy.cache.pilot import Lessons
from edgeproxy.cache.upstreams import Upstreams
from edgeproxy.interfaces import BlobStore, BlobWriter, Clock, StoreFull, Upstream, Urgency
from edgeproxy.interfaces import Link as Line
from edgeproxy.metrics import Traffic
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.errors import (
    DigestMismatch,
    ManifestInvalid,
    Refusal,
    unknown,
)
from edgeproxy.oci.manifest import LARGEST_MANIFEST, Descriptor, children, is_foreign, media_type
from edgeproxy.oci.reference import Pinned
from edgeproxy.store.catalog import Catalog, Link

log = logging.getLogger(__name__)
T = TypeVar("T")
_TRIES = 2
"""Of a manifest at all upstreams."""
_FOR_WHOM = {Urgency.CLIENT: "a client", Urgency.PREFETCH: "a prefetch", Urgency.REPLICATION: "another site"}
_DOWNLOADS = 4
"""Of a blob that turns out to be wrong, as long as nobody has been given a byte of it."""


def _whence(flight: Flight) -> str:
    names = " and ".join(flight.brought_by) or "what an earlier attempt left"
    return f"from {names}, for {_FOR_WHOM[flight.urgency]}"


class Fetch:
    """Fills flights. The only place that moves bytes from an upstream into the store."""

    def __init__(
        self,
        upstreams: Upstreams,
        store: BlobStore,
        catalog: Catalog,
        room: Room,
        clock: Clock,
        traffic: Traffic,
        line: Line,
        chronicle: Chronicle,
    ) -> None:
        self._chronicle = chronicle
        self._upstreams = upstreams
        self._store = store
        self._catalog = catalog
        self._room = room
        self._clock = clock
        self._traffic = traffic
        self._line = line
        self.lessons = Lessons()

    async def __call__(self, flight: Flight) -> None:
        """Raises the `Refusal` that ended it; `flight` is failed with it by `Flights`."""
        if flight.kind == "manifests":
            await self._manifest(flight)
        else:
            await self._blob(flight)

    # manifests: small, so whole in memory before anything else

    async def _manifest(self, flight: Flight) -> None:
        pinned = flight.pinned
        body, declared = await self._whole(flight)
        declared = media_type(body, declared)
        try:
            await self._store_manifest(pinned, body, declared)
            self._chronicle.note([pinned.digest], "fetched", _whence(flight))
        except StoreFull:
            log.warning("disk full: %s is served without being kept", pinned)
        flight.media_type = declared
        flight.land(len(body), body)

    async def _store_manifest(self, pinned: Pinned, body: bytes, declared: str) -> None:
        named = children(body)
        links = [
            Link(child.kind, pinned.repository, child.descriptor)
            for child in named
            # nobody checks that layers kept elsewhere may be shown, and some registries take an index of what they lack
            if child.kind == "blobs" and not is_foreign(child.descriptor.media_type)
        ]
        own = Link("manifests", pinned.repository, Descriptor(declared, pinned.digest, len(body)))
        await self._catalog.put_links([*links, own])
        writer = await self._store.create(pinned.digest)
        try:
            if writer.offset:  # left by a crash: a manifest is written again rather than resumed
                await writer.close(keep=False)
                writer = await self._store.create(pinned.digest)
            await writer.write(body)
            await self._keep(writer, [child.descriptor.digest for child in named])
        finally:
            await writer.close(keep=False)

    async def _whole(self, flight: Flight) -> tuple[bytes, str]:
        """The manifest, verified, and the type that upstream gives it."""
        pinned, tries = flight.pinned, 0
        while True:
            try:
                return await self._upstreams.first(
                    pinned.repository, lambda upstream: self._read(upstream, flight), unknown("manifests", pinned)
                )
            except Refusal as refusal:
                tries += 1
                if tries == _TRIES or not worth_repeating(refusal):
                    raise
                await self._clock.sleep(delay(tries))

    async def _read(self, upstream: Upstream, flight: Flight) -> tuple[bytes, str]:
        pinned, received = flight.pinned, bytearray()
        async with upstream.open("manifests", pinned) as body:
            async for chunk in body.chunks():
                received += chunk
                self._traffic.received(pinned.repository.registry, len(chunk))
                if len(received) > LARGEST_MANIFEST:
                    raise ManifestInvalid(f"{pinned} is larger than {LARGEST_MANIFEST} bytes")
        if Digest.of(bytes(received), pinned.digest.algorithm) != pinned.digest:
            error = DigestMismatch(f"the {len(received)} bytes that {upstream.name} sent are not {pinned.digest}")
            self._mismatch(pinned, error)
            self._upstreams.ranking.judge(upstream, len(received), right=False)
            raise error
        flight.answered_by(upstream.name)
        return bytes(received), body.media_type

    # blobs: streamed into a growing file

    async def _blob(self, flight: Flight) -> None:
        await self._room.caught_up()
        writer = await self._store.create(flight.pinned.digest)
        keep = True
        try:
            if not await self._already_whole(flight, writer):
                await self._verified(flight, writer)
            flight.land(writer.offset)
            await self._link(flight.pinned, writer.offset)
            await self._keep(writer)
            self._chronicle.note([flight.pinned.digest], "fetched", _whence(flight))
        except DigestMismatch:
            keep = False
            raise
        except StoreFull:
            keep = False
            if flight.released != flight.size:
                log.warning("disk full: the rest of %s passes through without being kept", flight.pinned)
                flight.spill(writer.offset)
            else:
                log.warning("disk full: %s is served without being kept", flight.pinned)
        finally:
            flight.over()
            await writer.close(keep=keep)

    async def _already_whole(self, flight: Flight, writer: BlobWriter) -> bool:
        """Whether an earlier attempt got all of it and was killed before it was kept."""
        if not writer.offset:
            return False
        try:
            await writer.verify()
        except DigestMismatch:
            return False
        pinned = flight.pinned
        if self._catalog.link("blobs", pinned) is None:  # who asked before may have been somebody else
            await self._upstreams.first(
                pinned.repository, lambda upstream: upstream.stat("blobs", pinned), unknown("blobs", pinned)
            )
        flight.depart(writer, writer.offset, "")
        return True

    async def _verified(self, flight: Flight, writer: BlobWriter) -> None:
        """Download, and again from elsewhere where that was wrong and nobody has been given a byte of it."""
        blame = Blame(self._upstreams.ranking)
        wrong: list[Upstream] = []
        for attempt in range(_DOWNLOADS):
            download = self._download(flight, writer)
            try:
                await download.run(wrong, alone=attempt > 0)
                await writer.verify()
            except DigestMismatch as error:
                self._mismatch(flight.pinned, error)
                found = await blame.suspect(download.sources, writer)
                wrong += found
                others = any(each not in wrong for each in self._upstreams.of(flight.pinned.repository))
                if flight.released or not others or attempt == _DOWNLOADS - 1:
                    if not found:
                        await blame.accuse(download.sources)
                    raise
                await writer.rewind()
            else:
                await blame.resolve(download.sources, writer)
                return

    def _mismatch(self, pinned: Pinned, error: DigestMismatch) -> None:
        self._traffic.mismatches += 1
        log.error("wrong content for %s: %s; nothing of it is kept", pinned, error.message)

    def _download(self, flight: Flight, writer: BlobWriter) -> Download:
        registry = flight.pinned.repository.registry

        def count(upstream: Upstream, size: int) -> None:
            self._traffic.received(registry, size)
            self._traffic.brought[registry, upstream.name] += size

        upstreams, expect = self._upstreams, self._room.expect
        return Download(flight, writer, upstreams, self.lessons, self._clock, self._write, expect, count, self._line)

    async def _write(self, writer: BlobWriter, chunk: bytes, at: int) -> None:
        try:
            await writer.write(chunk, at)
        except StoreFull:
            await self._room.free_disk(len(chunk))
            await writer.write(chunk, at)

    async def _link(self, pinned: Pinned, size: int) -> None:
        """Upstream has shown it under this repository."""
        if self._catalog.link("blobs", pinned) is None:
            await self._catalog.put_links([Link("blobs", pinned.repository, Descriptor("", pinned.digest, size))])

    async def _keep(self, writer: BlobWriter, needs: Sequence[Digest] = ()) -> None:
        """Raises `StoreFull` where the budget has no room."""
        async with self._room.kept(writer.offset):
            await writer.commit(needs)

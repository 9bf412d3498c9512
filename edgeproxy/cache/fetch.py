"""How a flight gets its bytes: from the upstreams in order, resumed where a transfer breaks, verified, then kept."""

import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from edgeproxy.cache.eviction import Room
from edgeproxy.cache.flights import Flight
from edgeproxy.cache.upstreams import Upstreams, more_telling
from edgeproxy.interfaces import BlobStore, BlobWriter, Body, Clock, Kind, StoreFull
from edgeproxy.metrics import Traffic
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.errors import (
    DigestMismatch,
    ManifestInvalid,
    RangeInvalid,
    Refusal,
    Unavailable,
    unknown,
)
from edgeproxy.oci.manifest import LARGEST_MANIFEST, Descriptor, children, is_foreign, media_type
from edgeproxy.oci.reference import Pinned
from edgeproxy.store.catalog import Catalog, Link

log = logging.getLogger(__name__)
T = TypeVar("T")
_ATTEMPTS = 6
"""Rounds over the upstreams without a single new byte before a transfer is given up."""
_FIRST_DELAY, _LONGEST_DELAY = 0.2, 5.0


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
    ) -> None:
        self._upstreams = upstreams
        self._store = store
        self._catalog = catalog
        self._room = room
        self._clock = clock
        self._traffic = traffic

    async def __call__(self, flight: Flight) -> None:
        """Raises the `Refusal` that ended it; `flight` is failed with it by `Flights`."""
        try:
            if flight.kind == "manifests":
                await self._manifest(flight)
            else:
                await self._blob(flight)
        except DigestMismatch as error:
            self._traffic.mismatches += 1
            log.error("wrong content for %s: %s; nothing of it is kept", flight.pinned, error.message)
            raise

    # manifests: small, so whole in memory before anything else

    async def _manifest(self, flight: Flight) -> None:
        pinned = flight.pinned
        body, declared = await self._whole(pinned)
        if Digest.of(body, pinned.digest.algorithm) != pinned.digest:
            raise DigestMismatch(f"the {len(body)} bytes that upstream sent are not {pinned.digest}")
        declared = media_type(body, declared)
        try:
            await self._store_manifest(pinned, body, declared)
        except StoreFull:
            log.warning("disk full: %s is served without being kept", pinned)
        flight.media_type = declared
        flight.land(len(body), body)

    async def _store_manifest(self, pinned: Pinned, body: bytes, declared: str) -> None:
        named = children(body)
        links = [
            Link(child.kind, pinned.repository, child.descriptor)
            for child in named
            if not is_foreign(child.descriptor.media_type)  # no registry checks that those may be shown
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

    async def _whole(self, pinned: Pinned) -> tuple[bytes, str]:
        received = bytearray()
        declared = ""

        async def take(body: Body) -> bool:
            nonlocal declared
            received.clear()
            declared = body.media_type
            async for chunk in body.chunks():
                received.extend(chunk)
                self._traffic.received(pinned.repository.registry, len(chunk))
                if len(received) > LARGEST_MANIFEST:
                    raise ManifestInvalid(f"{pinned} is larger than {LARGEST_MANIFEST} bytes")
            return True

        await self._persist("manifests", pinned, lambda: 0, take)
        return bytes(received), declared

    # blobs: streamed into a growing file

    async def _blob(self, flight: Flight) -> None:
        writer = await self._store.create(flight.pinned.digest)
        keep = True
        try:
            if not await self._already_whole(flight, writer):
                await self._persist("blobs", flight.pinned, lambda: writer.offset, self._taker(flight, writer))
                await writer.verify()
            flight.land(writer.offset)
            await self._link(flight.pinned, writer.offset)
            await self._keep(writer)
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

    def _taker(self, flight: Flight, writer: BlobWriter) -> "Take":
        async def take(body: Body) -> bool:
            pinned = flight.pinned
            if flight.size is not None and body.size not in (None, flight.size):
                raise Unavailable(f"upstream gives {pinned} {body.size} bytes, and gave it {flight.size} before")
            flight.depart(writer, body.size if flight.size is None else flight.size, body.media_type)
            self._room.expect((flight.size or 0) - writer.offset)
            skip = writer.offset - body.start
            async for chunk in body.chunks():
                self._traffic.received(pinned.repository.registry, len(chunk))
                fresh, skip = chunk[skip:], max(0, skip - len(chunk))
                if fresh:
                    await self._write(writer, fresh)
                    flight.progress(writer.offset)
                    if flight.size is not None and writer.offset > flight.size:
                        raise DigestMismatch(f"upstream sent more than the {flight.size} bytes it announced")
            return flight.size is None or writer.offset == flight.size

        return take

    async def _write(self, writer: BlobWriter, chunk: bytes) -> None:
        try:
            await writer.write(chunk)
        except StoreFull:
            await self._room.free_disk(len(chunk))
            await writer.write(chunk)

    async def _link(self, pinned: Pinned, size: int) -> None:
        """Upstream has shown it under this repository."""
        if self._catalog.link("blobs", pinned) is None:
            await self._catalog.put_links([Link("blobs", pinned.repository, Descriptor("", pinned.digest, size))])

    async def _keep(self, writer: BlobWriter, needs: Sequence[Digest] = ()) -> None:
        """Raises `StoreFull` where the budget has no room."""
        async with self._room.kept(writer.offset):
            await writer.commit(needs)

    # asking

    async def _persist(self, kind: Kind, pinned: Pinned, reached: Callable[[], int], take: "Take") -> None:
        """Ask upstream after upstream, from the byte reached, until `take` has all. Raises the last refusal."""
        fruitless = 0
        while True:
            before = reached()
            refusal = unknown(kind, pinned)
            for upstream in self._upstreams.of(pinned.repository):
                try:
                    async with upstream.open(kind, pinned, reached()) as body:
                        if await take(body):
                            return
                    met: Refusal = Unavailable(f"{upstream.name} ended {pinned} early, at byte {reached()}")
                except (DigestMismatch, ManifestInvalid):
                    raise
                except RangeInvalid as error:
                    raise DigestMismatch(f"what an earlier attempt left of {pinned} is longer than it") from error
                except Refusal as error:
                    met = error
                refusal = more_telling(refusal, met)
                log.info("%s: %s at byte %d: %s", upstream.name, pinned, reached(), met.message)
            fruitless = 0 if reached() > before else fruitless + 1
            if not _worth_repeating(refusal) or fruitless >= (_ATTEMPTS if reached() else 2):
                raise refusal
            delay = min(_LONGEST_DELAY, _FIRST_DELAY * 2**fruitless)
            await self._clock.sleep(delay * random.uniform(0.5, 1.0))


Take = Callable[[Body], Awaitable[bool]]


def _worth_repeating(refusal: Refusal) -> bool:
    return isinstance(refusal, Unavailable) and refusal.status >= 500

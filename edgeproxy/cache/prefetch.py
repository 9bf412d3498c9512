"""Whole images before anybody asks for them, at the leisure of those who do."""

import asyncio
import json
import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from edgeproxy.cache.admission import Admission
from edgeproxy.cache.answers import read
from edgeproxy.cache.library import Library
from edgeproxy.interfaces import InMemory, OnDisk, Urgency
from edgeproxy.oci.errors import Denied, Refusal
from edgeproxy.oci.manifest import children
from edgeproxy.oci.reference import Pinned, Reference, path_of

log = logging.getLogger(__name__)
_AT_ONCE = 3
"""Blobs of one image that are on their way at the same time."""


@dataclass
class Prefetched:
    """What became of one image."""

    manifests: int = 0
    blobs: int = 0
    bytes: int = 0
    size: int = 0
    """Of all blobs that the manifests name which were read so far."""
    missing: list[str] = field(default_factory=list)
    """What could not be had, and why."""


class Prefetch:
    """Brings images as a client would pull them, and yields to clients."""

    def __init__(self, library: Library, admission: Admission) -> None:
        self._library = library
        self._admission = admission

    async def __call__(
        self, reference: Reference, platforms: Collection[str] = (), done: Prefetched | None = None
    ) -> Prefetched:
        """An image of all its platforms, or of some (`linux/amd64`). What fails is told, and does not stop the rest.

        `done` is filled in as it goes.
        """
        done = Prefetched() if done is None else done
        try:
            await self._admission.learn(reference.repository, path_of("manifests", reference))
            await self._manifest(reference, platforms, done)
        except Denied as refusal:
            done.missing.append(f"{reference}: {refusal.message}")
        what = f"{done.manifests} manifests and {done.blobs} blobs"
        log.info("prefetched %s: %s, %d missing", reference, what, len(done.missing))
        return done

    async def _manifest(self, reference: Reference, platforms: Collection[str], done: Prefetched) -> None:
        try:
            answer = await self._library.get("manifests", reference)
        except Refusal as refusal:
            done.missing.append(f"{reference}: {refusal.message}")
            return
        assert isinstance(answer.content, InMemory | OnDisk), "a manifest is never handed out while it grows"
        body = read(answer.content)
        done.manifests += 1
        named = children(body)
        wanted = _of_platforms(body, platforms)
        if wanted is not None and not wanted and any(child.kind == "manifests" for child in named):
            done.missing.append(f"{reference} is not for {' or '.join(platforms)}: its index names no such platform")
        for child in named:
            if child.kind == "manifests" and (wanted is None or child.descriptor.digest in wanted):
                await self._manifest(Pinned(reference.repository, child.descriptor.digest), platforms, done)
        blobs = {
            Pinned(reference.repository, child.descriptor.digest): child.descriptor.size
            for child in named
            if child.kind == "blobs"
        }
        done.size += sum(blobs.values())
        await self._blobs(blobs, done)

    async def _blobs(self, blobs: Mapping[Pinned, int], done: Prefetched) -> None:
        free = asyncio.Semaphore(_AT_ONCE)

        async def bring(pinned: Pinned) -> None:
            async with free:
                try:
                    await self._library.bring("blobs", pinned, Urgency.PREFETCH)
                    done.blobs += 1
                    done.bytes += blobs[pinned]
                except Refusal as refusal:
                    done.missing.append(f"{pinned}: {refusal.message}")

        async with asyncio.TaskGroup() as group:
            for pinned in blobs:
                group.create_task(bring(pinned))


def _of_platforms(index: bytes, platforms: Collection[str]) -> set[str] | None:
    """The digests that an index gives for these platforms (OCI image-spec, image-index.md); `None` is all."""
    if not platforms:
        return None
    found = set()
    for item in json.loads(index).get("manifests") or []:
        platform = item.get("platform") or {}
        words = [str(platform.get(key, "")) for key in ("os", "architecture", "variant")]
        names = {"/".join(words[:2]), "/".join(words)}
        if names & set(platforms):
            found.add(str(item.get("digest")))
    return found

"""Whole images before anybody asks for them, at the leisure of those who do."""

import asyncio
import json
import logging
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from platform import machine
from typing import Protocol

from edgeproxy.cache.admission import Admission
from edgeproxy.cache.answers import read
from edgeproxy.cache.library import Library
from edgeproxy.interfaces import InMemory, OnDisk, Urgency
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.errors import Denied, Refusal
from edgeproxy.oci.manifest import Descriptor, children
from edgeproxy.oci.reference import Pinned, Reference, Repository, path_of
from edgeproxy.store.catalog import Catalog

log = logging.getLogger(__name__)
_AT_ONCE = 3
"""Blobs of one image that are on their way at the same time."""
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


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


class Choice(Protocol):
    """Decides about what is not here, and is told of what came."""

    async def choose(self, lacking: Sequence[Descriptor]) -> Sequence[Descriptor]:
        """Those of one image's blobs that are wanted."""
        ...

    def came(self, blob: Descriptor) -> None: ...


class All:
    """Implements `Choice`: everything."""

    async def choose(self, lacking: Sequence[Descriptor]) -> Sequence[Descriptor]:
        return lacking

    def came(self, blob: Descriptor) -> None:
        pass


ALL = All()


class Prefetch:
    """Brings images as a client would pull them, and yields to clients."""

    def __init__(self, library: Library, admission: Admission, catalog: Catalog) -> None:
        self._library = library
        self._admission = admission
        self._catalog = catalog

    async def __call__(
        self,
        reference: Reference,
        platforms: Collection[str] = (),
        done: Prefetched | None = None,
        choice: Choice = ALL,
    ) -> Prefetched:
        """An image of all its platforms, or of some (`linux/amd64`). What fails is told, and does not stop the rest.

        `done` is filled in as it goes.
        """
        done = Prefetched() if done is None else done
        try:
            await self._admission.learn(reference.repository, path_of("manifests", reference))
            await self._manifest(reference, platforms, done, choice)
        except Denied as refusal:
            done.missing.append(f"{reference}: {refusal.message}")
        what = f"{done.manifests} manifests and {done.blobs} blobs"
        log.info("prefetched %s: %s, %d missing", reference, what, len(done.missing))
        return done

    async def platforms_of(self, image: Pinned) -> Collection[str]:
        """Those that are in use of an index that is here; this machine's where nothing is, or it is none."""
        found = set[str]()
        if self._catalog.held(image.digest) is not None:
            answer = await self._library.get("manifests", image)
            assert isinstance(answer.content, InMemory | OnDisk), "as below"
            index = read(answer.content)
            found = {name for digest, name in _platforms(index) if self._catalog.held(digest) is not None}
        return found or {f"linux/{_MACHINES.get(machine(), machine())}"}

    async def _manifest(
        self, reference: Reference, platforms: Collection[str], done: Prefetched, choice: Choice
    ) -> None:
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
                await self._manifest(Pinned(reference.repository, child.descriptor.digest), platforms, done, choice)
        blobs = [child.descriptor for child in named if child.kind == "blobs"]
        lacking = [blob for blob in blobs if self._catalog.held(blob.digest) is None]
        chosen = set(await choice.choose(lacking)) if lacking else set()
        await self._blobs(reference.repository, [b for b in blobs if b in chosen or b not in lacking], done, choice)

    async def _blobs(
        self, repository: Repository, blobs: Sequence[Descriptor], done: Prefetched, choice: Choice
    ) -> None:
        """Those that are here are at least proven to be shown by this repository."""
        free, done.size = asyncio.Semaphore(_AT_ONCE), done.size + sum(blob.size for blob in blobs)

        async def bring(blob: Descriptor) -> None:
            async with free:
                try:
                    if await self._library.bring("blobs", Pinned(repository, blob.digest), Urgency.PREFETCH):
                        choice.came(blob)
                    done.blobs += 1
                    done.bytes += blob.size
                except Refusal as refusal:
                    done.missing.append(f"{repository}@{blob.digest}: {refusal.message}")

        async with asyncio.TaskGroup() as group:
            for blob in blobs:
                group.create_task(bring(blob))


def _of_platforms(index: bytes, platforms: Collection[str]) -> set[str] | None:
    """The digests that an index gives for these platforms (OCI image-spec, image-index.md); `None` is all."""
    return {digest for digest, name in _platforms(index) if name in platforms} if platforms else None


def _platforms(index: bytes) -> Iterator[tuple[Digest, str]]:
    """Each manifest of an index, by the names of its platform: `linux/arm`, `linux/arm/v7`."""
    for item in json.loads(index).get("manifests") or []:
        platform = item.get("platform") or {}
        words = [str(platform.get(key, "")) for key in ("os", "architecture", "variant")]
        for name in {"/".join(words[:2]), "/".join(words)}:
            yield Digest(str(item.get("digest"))), name

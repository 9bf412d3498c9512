"""Disks forget: what is held is hashed again, what is wrong is put aside and fetched anew."""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from edgeproxy.interfaces import Kind, Urgency
from edgeproxy.metrics import Traffic
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.errors import Refusal
from edgeproxy.oci.reference import Pinned
from edgeproxy.store.disk import DiskStore

log = logging.getLogger(__name__)
_PIECE = 1024 * 1024
_PAGE = 100
_PER_STEP = 256 * 1024 * 1024
"""Bytes that are hashed in one step, unasked: at one step in five minutes 74 GB a day."""
Bring = Callable[[Kind, Pinned, Urgency], Awaitable[object]]


@dataclass
class Scrubbed:
    """How far a whole verification is."""

    running: bool = False
    blobs: int = 0
    bytes: int = 0
    bad: list[str] = field(default_factory=list)
    """Digests whose content was another."""
    again: list[str] = field(default_factory=list)
    """Those of them that have been fetched anew."""

    def document(self) -> dict[str, Any]:
        return asdict(self)


class Scrub:
    """A blob that is wrong goes to `quarantine/`, for people to look at, and is fetched anew where anybody has it."""

    def __init__(self, store: DiskStore, traffic: Traffic, bring: Bring) -> None:
        self._store = store
        self._catalog = store.catalog
        self._traffic = traffic
        self._bring = bring
        self._after = ""
        self.found = Scrubbed()
        """Of the last whole verification, or the one under way."""

    async def step(self) -> None:
        """Some of what is held, where the last step ended."""
        done, unasked = 0, Scrubbed()
        while done < _PER_STEP and (page := self._catalog.all_held(self._after, _PAGE)):
            for held in page:
                await self._verify(held.digest, unasked)
                self._after, done = held.digest, done + held.size
                if done >= _PER_STEP:
                    return
        if done < _PER_STEP:
            self._after = ""

    async def whole(self) -> None:
        """All that is held; nothing where that is under way."""
        if self.found.running:
            return
        self.found, after = Scrubbed(running=True), ""
        try:
            while page := self._catalog.all_held(after, _PAGE):
                for held in page:
                    await self._verify(held.digest, self.found)
                after = page[-1].digest
        finally:
            self.found.running = False
        log.info("verified %d blobs: %d were wrong", self.found.blobs, len(self.found.bad))

    async def _verify(self, digest: Digest, found: Scrubbed) -> None:
        size, right = await asyncio.to_thread(_is_right, self._store.layout.blob(digest), digest)
        if size is None:  # it was evicted meanwhile
            return
        found.blobs += 1
        found.bytes += size
        if right:
            return
        log.error("%s is not what its digest says: it is put aside, and fetched anew", digest)
        found.bad.append(digest)
        self._traffic.quarantined += 1
        await self._store.quarantine(digest)
        if await self._fetched(digest):
            found.again.append(digest)

    async def _fetched(self, digest: Digest) -> bool:
        for kind, repository in self._catalog.shown(digest):
            try:
                await self._bring(kind, Pinned(repository, digest), Urgency.PREFETCH)
                return True
            except Refusal as refusal:
                log.warning("%s cannot give %s again: %s", repository, digest, refusal.message)
        return False


def _is_right(file: str, digest: Digest) -> tuple[int | None, bool]:
    """Its bytes, `None` where there are none; whether they are what the digest says."""
    hasher, size = digest.hasher(), 0
    try:
        with open(file, "rb", buffering=0) as content:
            os.posix_fadvise(content.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
            while piece := content.read(_PIECE):
                hasher.update(piece)
                size += len(piece)
    except FileNotFoundError:
        return None, True
    except OSError:  # the disk cannot read it
        return size, False
    return size, digest.matches(hasher)

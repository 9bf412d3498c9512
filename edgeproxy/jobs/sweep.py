"""Mends what a crash left between a file and its row, behind the daemon's back and page by page."""

import asyncio
import logging
import os
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice

from edgeproxy.interfaces import Clock, Held
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.manifest import LARGEST_MANIFEST, children
from edgeproxy.store.catalog import Catalog, add_held, drop_held
from edgeproxy.store.disk import DiskStore
from edgeproxy.store.rows import Rows

log = logging.getLogger(__name__)
_PAGE = 500
_TAGS_KEPT = 30 * 86400.0
"""Seconds for which a tag is remembered after its manifest has left, and of content that it was deleted."""
_BREATH = 0.01
"""Seconds between two pages, in which requests have the processor for themselves."""


class Sweep:
    """Files without a row get one, since a file is only ever renamed to its place when it is whole; rows without a
    file go, and tags that lead nowhere."""

    def __init__(self, store: DiskStore, catalog: Catalog, clock: Clock) -> None:
        self._store = store
        self._catalog = catalog
        self._clock = clock

    async def step(self) -> None:
        adopted = await self._adopt()
        dropped = await self._drop()
        forgotten = await self._catalog.forget_tags(self._clock.now() - _TAGS_KEPT)
        await self._catalog.forget_gone(self._clock.now() - _TAGS_KEPT)
        if adopted or dropped or forgotten:
            log.info("swept: %d files without a row, %d rows without a file, %d tags", adopted, dropped, forgotten)

    async def _adopt(self) -> int:
        adopted = 0
        files = self._store.layout.files()
        while page := await asyncio.to_thread(_page, files):
            strays = await asyncio.to_thread(self._strays, page)
            if strays:
                adopted += await self._catalog.change(partial(self._add, strays))
            await self._clock.sleep(_BREATH)
        return adopted

    def _strays(self, page: list[tuple[Digest, os.stat_result]]) -> list[tuple[Digest, os.stat_result]]:
        return [(digest, stat) for digest, stat in page if self._catalog.held(digest) is None]

    def _add(self, strays: Iterable[tuple[Digest, os.stat_result]], rows: Rows) -> int:
        added = 0
        for digest, stat in strays:
            if rows.get(f"blob/{digest}") is None and os.path.exists(self._store.layout.blob(digest)):
                needs = self._needs(digest, stat.st_size)
                add_held(rows, Held(digest, stat.st_size, stat.st_mtime, stat.st_mtime, needs=needs))
                added += 1
        return added

    def _needs(self, digest: Digest, size: int) -> tuple[Digest, ...]:
        """What it names, if it is a manifest: only those are small JSON documents with descriptors."""
        if size > LARGEST_MANIFEST:
            return ()
        with open(self._store.layout.blob(digest), "rb") as file:
            return tuple(child.descriptor.digest for child in children(file.read()))

    async def _drop(self) -> int:
        dropped = 0
        last = ""
        while page := await asyncio.to_thread(self._catalog.all_held, last, _PAGE):
            last = page[-1].digest
            gone = await asyncio.to_thread(self._gone, [held.digest for held in page])
            if gone:
                dropped += len(gone)
                await self._catalog.change(partial(self._forget, gone))
            await self._clock.sleep(_BREATH)
        return dropped

    def _gone(self, digests: Iterable[Digest]) -> list[Digest]:
        return [digest for digest in digests if not os.path.exists(self._store.layout.blob(digest))]

    def _forget(self, gone: Iterable[Digest], rows: Rows) -> None:
        for digest in gone:
            if not os.path.exists(self._store.layout.blob(digest)):
                drop_held(rows, digest)


def _page(files: Iterator[tuple[Digest, os.stat_result]]) -> list[tuple[Digest, os.stat_result]]:
    return list(islice(files, _PAGE))

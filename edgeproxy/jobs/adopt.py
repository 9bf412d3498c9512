"""Gives what was pushed before there were versions what each push leaves since: a version of its tag, and a keeper."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from edgeproxy.interfaces import TagState
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.reference import Pinned, Repository, Tag
from edgeproxy.oci.version import Version
from edgeproxy.store.catalog import Catalog, tag_key, tag_record, version_key
from edgeproxy.store.removal import keep
from edgeproxy.store.rows import Rows
from edgeproxy.store.versions import Extent, put_state

log = logging.getLogger(__name__)
T = TypeVar("T")
_PAGE = 500


class Adopt:
    """After the first run there is nothing to do, and that is found out behind the daemon's back."""

    def __init__(self, catalog: Catalog, source: str) -> None:
        """`source`: this site's id."""
        self._catalog = catalog
        self._source = source

    async def step(self) -> None:
        tags = await self._in_pages(await asyncio.to_thread(self._tags), self._version)
        kept = await self._in_pages(await asyncio.to_thread(self._kept), keep)
        if tags or kept:
            log.info("%d tags and %d manifests that were pushed before are known as ours now", tags, kept)

    async def _in_pages(self, found: Sequence[T], act: Callable[[Rows, T], bool]) -> int:
        """How many were changed."""
        changed = 0
        for start in range(0, len(found), _PAGE):
            page = found[start : start + _PAGE]
            changed += await self._catalog.change(partial(_each, page, act))
        return changed

    def _tags(self) -> list[Tag]:
        """Those that were pushed here, and have no version."""
        pushed = (tag for tag, record in self._catalog.all_tags() if record.pushed)
        return [tag for tag in pushed if self._catalog.row(version_key(tag)) is None]

    def _version(self, rows: Rows, tag: Tag) -> bool:
        value = rows.get(tag_key(tag))
        if value is None or rows.get(version_key(tag)) is not None:
            return False
        record = tag_record(value)
        version = Version(int(record.changed * 1000), self._source, {self._source: 1})
        put_state(rows, tag, TagState(record.descriptor, version), Extent(None, self._size(record.descriptor.digest)))
        return True

    def _size(self, digest: Digest) -> int:
        held = self._catalog.held(digest)
        parts = [self._catalog.held(need) for need in held.needs] if held else []
        return (held.size if held else 0) + sum(part.size for part in parts if part)

    def _kept(self) -> list[Pinned]:
        """Manifests that are pinned, and that no repository keeps, by each of those that show them."""
        found: list[Pinned] = []
        last = ""
        while page := self._catalog.all_held(last):
            last = page[-1].digest
            for digest in (held.digest for held in page if held.pinned):
                if not self._catalog.page(f"pin/{digest}/", limit=1):
                    prefix = f"link/{digest}/manifests/"
                    names = (key.removeprefix(prefix) for key, _ in self._catalog.scan(prefix))
                    found.extend(Pinned(_repository(name), digest) for name in names)
        return found


def _each(page: Sequence[T], act: Callable[[Rows, T], bool], rows: Rows) -> int:
    return sum(act(rows, item) for item in page)


def _repository(name: str) -> Repository:
    registry, _, path = name.partition("/")
    return Repository(registry, path)

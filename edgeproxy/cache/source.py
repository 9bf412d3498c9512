"""What upstream has, for those who bring it before anybody asks."""

from contextlib import suppress

from edgeproxy.cache.listings import Listings
from edgeproxy.cache.prefetch import Choice, Prefetch
from edgeproxy.cache.removals import Removals
from edgeproxy.cache.tags import Tags
from edgeproxy.cache.upstreams import Upstreams
from edgeproxy.foreseen import Look, Wish
from edgeproxy.oci.errors import ManifestUnknown, Unavailable
from edgeproxy.oci.reference import Pinned, Reference, Repository, Tag
from edgeproxy.oci.releases import newest
from edgeproxy.store.catalog import Catalog

_MOST_PAGES, _LOOKED_THROUGH = 100, 3
"""Of a list of tags, where it is asked for, and where it is only looked at."""


class UpstreamSource:
    """Implements `jobs.pull.Source` and `jobs.foresee.Source`."""

    def __init__(
        self,
        catalog: Catalog,
        tags: Tags,
        listings: Listings,
        prefetch: Prefetch,
        removals: Removals,
        upstreams: Upstreams,
    ) -> None:
        self._catalog = catalog
        self._tags = tags
        self._listings = listings
        self._prefetch = prefetch
        self._removals = removals
        self._upstreams = upstreams

    async def tags(self, repository: Repository, pages: int = _MOST_PAGES) -> list[str]:
        found, last = list[str](), ""
        for _ in range(pages):
            page = await self._listings.tags(repository, last, None)
            found += page.tags
            if not page.more or not page.tags:
                break
            last = page.tags[-1]
        return found

    async def bring(self, reference: Reference) -> None:
        if isinstance(reference, Tag):
            await self._tags.check(reference)
        brought = await self._prefetch(reference)
        if brought.missing:
            raise Unavailable(f"not all of it can be had: {brought.missing[0]}")

    async def check(self, tag: Tag) -> None:
        if self._upstreams.may_be_bothered(tag.repository):
            await self._tags.check(tag)

    async def look(self, look: Look) -> None:
        repository = look.tag.repository
        if self._upstreams.may_be_bothered(repository):
            names = await self.tags(repository, _LOOKED_THROUGH) if look.by_name else ()
            await self._tags.check(newest(look.tag, names))

    async def fulfil(self, wish: Wish, choice: Choice) -> None:
        repository = wish.reference.repository
        if self._upstreams.may_be_bothered(repository):
            platforms = await self._prefetch.platforms_of(Pinned(repository, wish.like)) if wish.like else ()
            await self._prefetch(wish.reference, platforms, choice=choice)

    async def forget(self, tag: Tag) -> None:
        with suppress(ManifestUnknown):
            await self._removals.tag(tag)

    def known(self, registry: str) -> list[Repository]:
        prefix, found, last = f"{registry}/", list[Repository](), registry
        while page := self._catalog.repositories(last):
            found += [Repository(*name.split("/", 1)) for name in page if name.startswith(prefix)]
            last = page[-1]
            if not last.startswith(prefix):
                break
        return found

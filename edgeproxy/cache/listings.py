"""Lists that upstream knows better: tags and referrers. Asked upstream, and answered from here when it fails."""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from math import floor
from typing import Any, NamedTuple

from edgeproxy.cache.answers import HIT, MISS, Outcome, read
from edgeproxy.cache.library import Library
from edgeproxy.cache.upstreams import Upstreams
from edgeproxy.interfaces import Clock, InMemory, OnDisk, Page
from edgeproxy.oci.errors import ManifestUnknown, NameUnknown, Refusal, RouteUnknown, Unavailable
from edgeproxy.oci.manifest import referrers_index, referrers_of
from edgeproxy.oci.reference import Pinned, Repository, Tag, is_tag
from edgeproxy.store.catalog import Catalog
from edgeproxy.store.pushed import Pushed
from edgeproxy.store.versions import TagStates

_MOST_TAGS = 10_000
"""Tags of one page, whatever the client asks for."""
_MOST_PAGES = 100
"""Of one list of referrers: an upstream that leads in circles is left."""


class TagPage(NamedTuple):
    """`more` says that tags follow the last of these."""

    tags: list[str]
    more: bool
    outcome: Outcome


class Listings:
    def __init__(self, library: Library, catalog: Catalog, upstreams: Upstreams, clock: Clock) -> None:
        self._library = library
        self._catalog = catalog
        self._pushed = Pushed(catalog)
        self._states = TagStates(catalog)
        self._upstreams = upstreams
        self._clock = clock

    async def tags(self, repository: Repository, last: str, limit: int | None) -> TagPage:
        """Distribution-spec, spec.md#listing-tags: up to `limit` tags that follow `last`, in order.

        Tags that were deleted here are not among them.
        """
        query = [("n", str(limit))] if limit else []
        query += [("last", last)] if last else []
        pushed = self._pushed.tags(repository)
        try:
            page = await self._ask(repository, "tags/list", query)
        except NameUnknown:
            if not pushed:
                raise
            return _tag_page(pushed, last, limit, more=False, outcome=HIT)
        except Refusal as refusal:
            known = self._catalog.tags(repository)
            if not known:
                raise
            outcome = Outcome("stale", detail=f"only the tags held here; upstream: {refusal.message}")
            return _tag_page(known, last, limit, more=False, outcome=outcome)
        tags, more = _tags_of(page.body), bool(page.following)
        if more and tags:  # what was pushed has its place on a later page
            pushed = [tag for tag in pushed if tag <= max(tags)]
        deleted = self._states.deleted(repository)
        both = [tag for tag in tags if tag not in deleted] + pushed
        if more and not both and max(tags, default=last) > last:  # a page of which nothing is left leads nowhere
            return await self.tags(repository, max(tags), limit)
        return _tag_page(both, last, limit, more, MISS)

    async def versions(self, repository: Repository, named: str) -> bytes:
        """What was written here and at other sites, as one site tells it to another; `named` as the client names it."""
        return await asyncio.to_thread(self._versions, repository, named)

    def _versions(self, repository: Repository, named: str) -> bytes:
        tags = []
        for name, (descriptor, version) in self._states.states(repository).items():
            media_type, digest, size = descriptor or ("", None, 0)
            about = {"mediaType": media_type, "digest": digest, "size": size} if digest else {}
            tags.append({"name": name, **about, "version": str(version)})
        return json.dumps({"name": named, "tags": tags}).encode()

    async def referrers(self, pinned: Pinned, artifact_type: str | None) -> tuple[bytes, Outcome]:
        """Distribution-spec, spec.md#listing-referrers: an index, filtered where a type is given."""
        pushed = self._pushed.referrers(pinned)
        try:
            index = await self._referrers_upstream(pinned)
            outcome = MISS
            await self._catalog.put_referrers(pinned, self._clock.now(), index)
        except Refusal as refusal:
            known = self._catalog.referrers(pinned)
            if known is None and not pushed and not self._stays(pinned):
                raise
            checked, index = known or (self._clock.now(), referrers_index([]))
            outcome = Outcome("stale", floor(checked - self._clock.now()), detail=f"upstream: {refusal.message}")
        upstreams = referrers_of(index, None)
        named = {item.get("digest") for item in upstreams}
        both = referrers_index([*upstreams, *(item for item in pushed if item["digest"] not in named)])
        return referrers_index(referrers_of(both, artifact_type)), outcome

    def _stays(self, pinned: Pinned) -> bool:
        """Whether it is here for good, so that it is known to whom nobody upstream is."""
        held = self._catalog.held(pinned.digest)
        return held is not None and held.pinned and self._catalog.link("manifests", pinned) is not None

    def repositories(self, last: str, limit: int, shown: Callable[[Repository], bool]) -> list[str]:
        """What is cached here and shown, as `registry/repository`, in order."""
        return self._catalog.repositories(last, limit, shown)

    async def _referrers_upstream(self, pinned: Pinned) -> bytes:
        """The API's answer, all of its pages; else the fallback tag's (spec.md#unavailable-referrers-api)."""
        found: list[Mapping[str, Any]] = []
        query: Sequence[tuple[str, str]] = ()
        try:
            for _ in range(_MOST_PAGES):
                page = await self._ask(pinned.repository, f"referrers/{pinned.digest}", query)
                found += referrers_of(page.body, None)
                query = page.following
                if not query:
                    break
        except (RouteUnknown, NameUnknown, ManifestUnknown):
            return await self._fallback_tag(pinned)
        return referrers_index(found)

    async def _fallback_tag(self, pinned: Pinned) -> bytes:
        try:
            answer = await self._library.get("manifests", Tag(pinned.repository, pinned.digest.replace(":", "-")))
        except ManifestUnknown:
            return referrers_index([])
        assert isinstance(answer.content, InMemory | OnDisk), "a manifest is never handed out while it grows"
        return referrers_index(referrers_of(read(answer.content), None))

    async def _ask(self, repository: Repository, path: str, query: Sequence[tuple[str, str]]) -> Page:
        return await self._upstreams.first(
            repository,
            lambda upstream: upstream.listing(repository, path, query),
            NameUnknown(f"{repository} is unknown"),
            named=True,
        )


def _tags_of(body: bytes) -> list[str]:
    try:
        tags = json.loads(body)["tags"] or []
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Unavailable("upstream's list of tags is not what the specification says") from error
    if not isinstance(tags, list):
        raise Unavailable("upstream's list of tags is no list")
    return [tag for tag in tags if isinstance(tag, str) and is_tag(tag)]


def _tag_page(tags: list[str], last: str, limit: int | None, more: bool, outcome: Outcome) -> TagPage:
    """Some registries ignore `n` and `last`, and some do not sort: the client gets what it asked for all the same."""
    following = sorted(tag for tag in set(tags) if tag > last) if last else sorted(set(tags))
    most = _MOST_TAGS if limit is None else min(limit, _MOST_TAGS)
    return TagPage(following[:most], most > 0 and (more or len(following) > most), outcome)

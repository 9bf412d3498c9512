"""Pulling (OCI distribution-spec, spec.md#pull and #content-discovery): parse, ask the core, reply."""

import json
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from functools import partial
from typing import assert_never
from urllib.parse import urlencode

from edgeproxy.access.callers import Asking, Callers
from edgeproxy.access.identity import NOBODY, Caller, Role
from edgeproxy.api import fields
from edgeproxy.api.address import Addresses, Ask, Base, Catalogue, Content, PullAsk, Referrers, TagList, methods
from edgeproxy.api.between import FREE, SOURCE, VERSIONED_TAGS, wants_versions
from edgeproxy.api.challenge import Challenges
from edgeproxy.api.reply import Reply, joined, reply_with_content, reply_with_listing
from edgeproxy.cache.admission import Admission
from edgeproxy.cache.answers import HIT, Answer, release
from edgeproxy.cache.flights import Flight
from edgeproxy.cache.library import Library
from edgeproxy.cache.listings import Listings
from edgeproxy.oci.errors import LoopDetected, NotHeld, Refusal, TooManyRequests, Unavailable, Unsupported, unknown
from edgeproxy.oci.manifest import OCI_INDEX
from edgeproxy.oci.passage import has_passed
from edgeproxy.oci.reference import path_of

_CATALOGUE_PAGE = 1000
Spare = Callable[[], Awaitable[int]]
"""Bytes that could be kept still."""
PassThrough = Callable[[Flight, int, int], AsyncGenerator[bytes, None]]
"""The bytes of a flight from a position on, past a disk that is full; `cache.overflow`."""


class Pull:
    """Answers asks; knows the core but no sockets."""

    def __init__(
        self,
        addresses: Addresses,
        library: Library,
        listings: Listings,
        past_disk: PassThrough,
        admission: Admission,
        callers: Callers,
        challenges: Challenges,
        name: str,
        spare: Spare,
    ) -> None:
        """`name`: this proxy's own, to be found in `CDN-Loop`; among sites it is the source id."""
        self.parse = addresses.parse
        self.callers = callers
        self.challenges = challenges
        self.library = library
        self.past_disk = past_disk
        self._listings = listings
        self._admission = admission
        self._name = name
        self._spare = spare

    def allow(self, ask: Ask, method: str, headers: Mapping[str, str]) -> None:
        """Raises `Unsupported` for what cannot be done with it, `LoopDetected` for a request that comes from here."""
        if method not in methods(ask):
            raise Unsupported(f"{method} is not supported here", ", ".join(methods(ask)))
        self._refuse_loop(headers)

    def _refuse_loop(self, headers: Mapping[str, str]) -> None:
        if has_passed(joined(headers, "CDN-Loop"), self._name):
            raise LoopDetected("this request has passed this proxy before: an upstream or mirror points back here")

    def at_hand(self, target: str, method: str, headers: Mapping[str, str], presented: str, now: float) -> Reply | None:
        """The reply to a request for content that is in memory; `None` leaves it to `answer`."""
        ask = self.parse(target, headers.get("Host", ""))
        if not isinstance(ask, Content) or method not in ("GET", "HEAD"):
            return None
        self._refuse_loop(headers)
        authorization = headers.get("Authorization", "")
        caller = self.callers.at_once(Asking(authorization, presented), now) if authorization or presented else NOBODY
        if caller is None or not self._admission.at_once(caller, ask.reference.repository, now):
            return None
        answer = self.library.at_hand(ask.kind, ask.reference, now)
        return answer and reply_with_content(ask, answer, headers, method == "HEAD", caller.identity.name)

    async def answer(self, ask: PullAsk, method: str, headers: Mapping[str, str], caller: Caller) -> Reply:
        head_only = method == "HEAD"
        await self._admit(ask, caller, headers.get("Host", ""))
        match ask:
            case Content():
                answer = await self._content(ask, headers, head_only, caller)
                try:
                    return reply_with_content(ask, answer, headers, head_only, caller.identity.name)
                except Refusal:
                    release(answer.content)
                    raise
            case TagList() if wants_versions(headers):
                return await self._versions(ask, head_only, caller)
            case TagList() | Referrers() if _only_if_cached(headers):
                raise NotHeld("lists are upstream's: none is held here")
            case TagList():
                return await self._tags(ask, head_only)
            case Referrers():
                return await self._referrers(ask, head_only)
            case Catalogue(last, limit):
                return self._catalogue(last, limit, head_only, caller)
            case Base():
                ways = self.challenges.fields(headers.get("Host", ""))  # podman and skopeo look for them here only
                if self._admission.replicates(caller):
                    ways = (*ways, (SOURCE, self._name), (FREE, str(await self._spare())))
                return reply_with_listing(b"{}", "", "base", HIT, [*ways], head_only)
            case _:
                assert_never(ask)

    async def _admit(self, ask: PullAsk, caller: Caller, host: str) -> None:
        match ask:
            case Content(kind, reference):
                await self._admission.admit(caller, reference.repository, path_of(kind, reference))
            case Referrers():
                await self._admission.admit(caller, ask.subject.repository, path_of("manifests", ask.subject))
            case TagList():
                await self._admission.admit(caller, ask.repository, "tags/list")
            case Catalogue():
                pass
            case Base():
                self._admission.welcome(caller, guarded=self.challenges.guards(host))
            case _:
                assert_never(ask)

    async def _content(self, ask: Content, headers: Mapping[str, str], head_only: bool, caller: Caller) -> Answer:
        if not _only_if_cached(headers):
            return await (self._stat(ask, caller) if head_only else self.library.get(ask.kind, ask.reference))
        answer = await self.library.held(ask.kind, ask.reference, time.time())
        if head_only:
            release(answer.content)
            return answer._replace(content=None)
        return answer

    async def _stat(self, ask: Content, caller: Caller) -> Answer:
        """Whoever may push asks what is still to be pushed: all that cannot be had, upstream or not."""
        try:
            return await self.library.stat(ask.kind, ask.reference)
        except (Unavailable, TooManyRequests) as trouble:
            repository, path = ask.reference.repository, path_of(ask.kind, ask.reference)
            try:
                await self._admission.admit(caller, repository, path, Role.PUSHER)
            except Refusal:
                raise trouble from None
            raise unknown(ask.kind, ask.reference) from trouble

    async def _tags(self, ask: TagList, head_only: bool) -> Reply:
        page = await self._listings.tags(ask.repository, ask.last, ask.limit)
        extra = [*fields.of_namespace(ask.namespace)]
        if page.more and page.tags:
            query = {"last": page.tags[-1], "n": str(ask.limit or len(page.tags))}
            if ask.namespace:
                query["ns"] = ask.namespace
            extra.append(("Link", f'</v2/{ask.named}/tags/list?{urlencode(query)}>; rel="next"'))
        body = json.dumps({"name": ask.named, "tags": page.tags}).encode()
        return reply_with_listing(body, ask.repository.registry, "tags", page.outcome, extra, head_only)

    async def _versions(self, ask: TagList, head_only: bool, caller: Caller) -> Reply:
        await self._admission.admit(caller, ask.repository, "tags/list", Role.REPLICATOR)
        body = await self._listings.versions(ask.repository, ask.named)
        extra = [("Content-Type", VERSIONED_TAGS), *fields.of_namespace(ask.namespace)]
        return reply_with_listing(body, ask.repository.registry, "tags", HIT, extra, head_only)

    async def _referrers(self, ask: Referrers, head_only: bool) -> Reply:
        body, outcome = await self._listings.referrers(ask.subject, ask.artifact_type)
        extra = [("Content-Type", OCI_INDEX), *fields.of_namespace(ask.namespace)]
        if ask.artifact_type is not None:
            extra.append(("OCI-Filters-Applied", "artifactType"))
        return reply_with_listing(body, ask.subject.repository.registry, "referrers", outcome, extra, head_only)

    def _catalogue(self, last: str, limit: int | None, head_only: bool, caller: Caller) -> Reply:
        most = min(limit if limit is not None else _CATALOGUE_PAGE, _CATALOGUE_PAGE)
        names = self._listings.repositories(last, most + 1, partial(self._admission.shows, caller))
        extra = []
        if len(names) > most > 0:
            query = urlencode({"last": names[most - 1], "n": str(most)})
            extra.append(("Link", f'</v2/_catalog?{query}>; rel="next"'))
        body = json.dumps({"repositories": names[:most]}).encode()
        return reply_with_listing(body, "", "catalog", HIT, extra, head_only)


def _only_if_cached(headers: Mapping[str, str]) -> bool:
    """A sibling asks, who will not have us fetch for it (RFC 9111, section 5.2.1.7)."""
    return "only-if-cached" in joined(headers, "Cache-Control").lower()

"""Pulling (OCI distribution-spec, spec.md#pull and #content-discovery): parse, ask the core, reply."""

import json
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from typing import assert_never
from urllib.parse import urlencode

from multidict import MultiMapping

from edgeproxy.access.identity import NOBODY, Role
from edgeproxy.api import fields
from edgeproxy.api.address import (
    Addresses,
    Ask,
    Base,
    Catalogue,
    Content,
    NewUpload,
    PullAsk,
    Referrers,
    TagList,
    Upload,
    methods,
)
from edgeproxy.api.ranges import parse_range
from edgeproxy.cache.admission import Admission
from edgeproxy.cache.answers import HIT, Answer, Outcome, release
from edgeproxy.cache.flights import Boarding, Flight
from edgeproxy.cache.library import Library
from edgeproxy.cache.listings import Listings
from edgeproxy.interfaces import Content as Body
from edgeproxy.interfaces import InMemory, Span
from edgeproxy.oci.errors import (
    LoopDetected,
    NotHeld,
    Refusal,
    TooManyRequests,
    Unavailable,
    Unsupported,
    document,
    unknown,
)
from edgeproxy.oci.manifest import OCI_INDEX
from edgeproxy.oci.passage import has_passed
from edgeproxy.oci.reference import path_of

_CATALOGUE_PAGE = 1000
PassThrough = Callable[[Flight, int, int], AsyncGenerator[bytes, None]]
"""The bytes of a flight from a position on, past a disk that is full; `cache.overflow`."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes out. `span` says which bytes of `body`; whoever sends it closes `body`."""

    status: int
    about: fields.Fields
    """Fields of the content, the same each time it is sent."""
    came_by: fields.Fields
    """Fields of this one answer."""
    body: Body | Boarding | None
    span: Span
    registry: str
    kind: str
    outcome: str


def reply_with_content(ask: Content, answer: Answer, headers: Mapping[str, str], head_only: bool) -> Reply:
    """Conditions first, then ranges (RFC 9110, section 13.2.2). Raises `RangeInvalid`."""
    descriptor, outcome = answer.descriptor, answer.outcome
    about = (ask.reference.repository.registry, ask.kind, outcome.word)
    if matches(joined(headers, "If-None-Match"), descriptor.digest):
        kept = tuple(
            field for field in fields.of_content(descriptor, ask.namespace, None) if field[0] not in _OF_A_BODY
        )
        return Reply(304, kept, fields.of_outcome(outcome), answer.content, Span(0, 0), *about)
    span = None
    if not head_only and (wanted := headers.get("Range")) and _range_applies(headers, descriptor.digest):
        span = parse_range(wanted, descriptor.size)
    sent = fields.of_content(descriptor, ask.namespace, span)
    body_span = Span(0, 0) if head_only else span or Span(0, descriptor.size)
    return Reply(206 if span else 200, sent, fields.of_outcome(outcome), answer.content, body_span, *about)


def joined(headers: Mapping[str, str], name: str) -> str:
    """A list that may come in several lines (RFC 9110, section 5.3)."""
    lines = headers.getall(name, ()) if isinstance(headers, MultiMapping) else (headers.get(name, ""),)
    return ", ".join(lines)


_OF_A_BODY = ("Content-Type", "Content-Length", "Accept-Ranges", "X-Content-Type-Options")


def matches(field: str | None, digest: str) -> bool:
    """Whether `If-None-Match` names this content (RFC 9110, section 13.1.2; weak comparison)."""
    if not field:
        return False
    tags = [tag.strip().removeprefix("W/") for tag in field.split(",")]
    return "*" in tags or f'"{digest}"' in tags


def _range_applies(headers: Mapping[str, str], digest: str) -> bool:
    condition = headers.get("If-Range")
    return condition is None or condition.strip() == f'"{digest}"'


class Pull:
    """Answers asks; knows the core but no sockets."""

    def __init__(
        self,
        addresses: Addresses,
        library: Library,
        listings: Listings,
        past_disk: PassThrough,
        admission: Admission,
        name: str,
    ) -> None:
        """`name`: this proxy's own, to be found in `CDN-Loop`."""
        self.parse = addresses.parse
        self.library = library
        self.past_disk = past_disk
        self._listings = listings
        self._admission = admission
        self._name = name

    def allow(self, ask: Ask, method: str, headers: Mapping[str, str]) -> None:
        """Raises `Unsupported` for what cannot be done with it, `LoopDetected` for a request that comes from here."""
        if method not in methods(ask):
            raise Unsupported(f"{method} is not supported here", {"allow": ", ".join(methods(ask))})
        self._refuse_loop(headers)

    def _refuse_loop(self, headers: Mapping[str, str]) -> None:
        if has_passed(joined(headers, "CDN-Loop"), self._name):
            raise LoopDetected("this request has passed this proxy before: an upstream or mirror points back here")

    def at_hand(self, target: str, method: str, headers: Mapping[str, str], now: float) -> Reply | None:
        """The reply to a request for content that is in memory; `None` leaves it to `answer`."""
        ask = self.parse(target, headers.get("Host", ""))
        if not isinstance(ask, Content) or method not in ("GET", "HEAD"):
            return None
        self._refuse_loop(headers)
        if not self._admission.at_once(ask.reference.repository, now):
            return None
        answer = self.library.at_hand(ask.kind, ask.reference, now)
        return answer and reply_with_content(ask, answer, headers, method == "HEAD")

    async def answer(self, ask: PullAsk, method: str, headers: Mapping[str, str]) -> Reply:
        head_only = method == "HEAD"
        await self._admit(ask)
        match ask:
            case Content():
                answer = await self._content(ask, headers, head_only)
                try:
                    return reply_with_content(ask, answer, headers, head_only)
                except Refusal:
                    release(answer.content)
                    raise
            case TagList() | Referrers() if _only_if_cached(headers):
                raise NotHeld("lists are upstream's: none is held here")
            case TagList():
                return await self._tags(ask, head_only)
            case Referrers():
                return await self._referrers(ask, head_only)
            case Catalogue(last, limit):
                return self._catalogue(last, limit, head_only)
            case Base():
                return _listing(b"{}", "", "base", HIT, [], head_only)
            case _:
                assert_never(ask)

    async def _admit(self, ask: PullAsk) -> None:
        match ask:
            case Content(kind, reference):
                await self._admission.admit(NOBODY, reference.repository, path_of(kind, reference))
            case Referrers():
                await self._admission.admit(NOBODY, ask.subject.repository, path_of("manifests", ask.subject))
            case TagList():
                await self._admission.admit(NOBODY, ask.repository, "tags/list")
            case Catalogue() | Base():
                pass
            case _:
                assert_never(ask)

    async def _content(self, ask: Content, headers: Mapping[str, str], head_only: bool) -> Answer:
        if not _only_if_cached(headers):
            return await (self._stat(ask) if head_only else self.library.get(ask.kind, ask.reference))
        answer = await self.library.held(ask.kind, ask.reference, time.time())
        if head_only:
            release(answer.content)
            return answer._replace(content=None)
        return answer

    async def _stat(self, ask: Content) -> Answer:
        """Whoever may push asks what is still to be pushed: all that cannot be had, upstream or not."""
        try:
            return await self.library.stat(ask.kind, ask.reference)
        except (Unavailable, TooManyRequests) as trouble:
            repository, path = ask.reference.repository, path_of(ask.kind, ask.reference)
            try:
                await self._admission.admit(NOBODY, repository, path, Role.PUSHER)
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
        return _listing(body, ask.repository.registry, "tags", page.outcome, extra, head_only)

    async def _referrers(self, ask: Referrers, head_only: bool) -> Reply:
        body, outcome = await self._listings.referrers(ask.subject, ask.artifact_type)
        extra = [("Content-Type", OCI_INDEX), *fields.of_namespace(ask.namespace)]
        if ask.artifact_type is not None:
            extra.append(("OCI-Filters-Applied", "artifactType"))
        return _listing(body, ask.subject.repository.registry, "referrers", outcome, extra, head_only)

    def _catalogue(self, last: str, limit: int | None, head_only: bool) -> Reply:
        most = min(limit if limit is not None else _CATALOGUE_PAGE, _CATALOGUE_PAGE)
        names = self._listings.repositories(last, most + 1, self._admission.shows)
        extra = []
        if len(names) > most > 0:
            query = urlencode({"last": names[most - 1], "n": str(most)})
            extra.append(("Link", f'</v2/_catalog?{query}>; rel="next"'))
        body = json.dumps({"repositories": names[:most]}).encode()
        return _listing(body, "", "catalog", HIT, extra, head_only)


def _only_if_cached(headers: Mapping[str, str]) -> bool:
    """A sibling asks, who will not have us fetch for it (RFC 9111, section 5.2.1.7)."""
    return "only-if-cached" in joined(headers, "Cache-Control").lower()


def _listing(
    body: bytes, registry: str, kind: str, outcome: Outcome, extra: list[fields.Field], head_only: bool
) -> Reply:
    typed = [] if any(name == "Content-Type" for name, _ in extra) else [("Content-Type", fields.JSON)]
    sent = (*typed, ("Content-Length", str(len(body))), *extra)
    return Reply(
        200,
        sent,
        fields.of_outcome(outcome),
        InMemory(body),
        Span(0, 0 if head_only else len(body)),
        registry,
        kind,
        outcome.word,
    )


def reply_with_refusal(refusal: Refusal, ask: Ask | None, head_only: bool) -> Reply:
    """The one place where errors become OCI JSON."""
    body = document(refusal)
    registry, kind = _about(ask)
    came_by = fields.of_refusal(refusal, asked_upstream=kind not in ("base", "catalog", "uploads"))
    length = ("Content-Length", str(len(body)))
    span = Span(0, 0 if head_only else len(body))
    return Reply(refusal.status, (length,), came_by, InMemory(body), span, registry, kind, "error")


def _about(ask: Ask | None) -> tuple[str, str]:
    match ask:
        case Content(kind, reference):
            return reference.repository.registry, kind
        case NewUpload() | Upload():
            return ask.repository.registry, "uploads"
        case TagList():
            return ask.repository.registry, "tags"
        case Referrers():
            return ask.subject.repository.registry, "referrers"
        case Catalogue():
            return "", "catalog"
        case _:
            return "", "base"

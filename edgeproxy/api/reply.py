"""Replies: the content of answers, lists and refusals as what goes out, whichever way it is sent."""

from collections.abc import Mapping
from typing import NamedTuple

from multidict import MultiMapping

from edgeproxy.api import fields
from edgeproxy.api.address import Ask, Catalogue, Content, NewUpload, Referrers, TagList, TokenAsk, Upload
from edgeproxy.api.ranges import parse_range
from edgeproxy.cache.answers import Answer, Outcome
from edgeproxy.cache.flights import Boarding, Flight
from edgeproxy.cache.notes import Asked
from edgeproxy.interfaces import Content as Body
from edgeproxy.interfaces import InMemory, Span
from edgeproxy.oci.errors import Refusal, document
from edgeproxy.oci.reference import Repository


class Reply(NamedTuple):
    """What goes out. `span` says which bytes of `body`; whoever sends it closes `body`. A tuple: each hit makes one."""

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
    asked: Asked | None = None
    """For the access record, where it was about content."""
    identity: str = ""
    """Whose request it was; empty for nobody's."""
    flight: Flight | None = None
    """What brings the content, where it was not here."""
    detail: str = ""
    """For the log: what was wrong."""


def reply_with_content(
    ask: Content, answer: Answer, headers: Mapping[str, str], head_only: bool, identity: str = ""
) -> Reply:
    """Conditions first, then ranges (RFC 9110, section 13.2.2). Raises `RangeInvalid`."""
    descriptor, outcome = answer.descriptor, answer.outcome
    asked: Asked = (head_only, ask.kind, ask.reference, descriptor)
    about = (ask.reference.repository.registry, ask.kind, outcome.word, asked, identity, answer.flight)
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


def reply_with_listing(
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


def reply_with_refusal(refusal: Refusal, ask: Ask | None, head_only: bool, ways: fields.Fields = ()) -> Reply:
    """The one place where errors become OCI JSON. `ways`: to log in, where that may help."""
    body = document(refusal)
    registry, kind = _about(ask)
    came_by = fields.of_refusal(refusal, asked_upstream=kind not in ("base", "catalog", "token", "uploads")) + ways
    length = ("Content-Length", str(len(body)))
    span = Span(0, 0 if head_only else len(body))
    asked: Asked | None = (head_only, ask.kind, ask.reference, None) if isinstance(ask, Content) else None
    return Reply(
        refusal.status, (length,), came_by, InMemory(body), span, registry, kind, "error", asked, detail=refusal.message
    )


def _about(ask: Ask | None) -> tuple[str, str]:
    """The registry and the kind that a refusal counts for."""
    repository = repository_of(ask)
    registry = repository.registry if repository else ""
    match ask:
        case Content(kind):
            return registry, kind
        case TagList():
            return registry, "tags"
        case NewUpload() | Upload():
            return registry, "uploads"
        case Referrers():
            return registry, "referrers"
        case Catalogue():
            return registry, "catalog"
        case TokenAsk():
            return registry, "token"
        case _:
            return registry, "base"


def repository_of(ask: Ask | None) -> Repository | None:
    match ask:
        case Content(_, reference):
            return reference.repository
        case TagList() | NewUpload() | Upload():
            return ask.repository
        case Referrers():
            return ask.subject.repository
        case _:
            return None

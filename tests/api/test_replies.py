"""Ranges, conditions and header fields of replies."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.api.address import Content
from edgeproxy.api.fields import cache_status, head, of_outcome
from edgeproxy.api.ranges import parse_range
from edgeproxy.api.reply import Reply, reply_with_content
from edgeproxy.cache.answers import COLLAPSED, HIT, MISS, Answer, Outcome
from edgeproxy.interfaces import InMemory, Span
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.errors import RangeInvalid
from edgeproxy.oci.manifest import Descriptor
from edgeproxy.oci.reference import Pinned, Repository

BODY = bytes(range(100))
DIGEST = Digest.of(BODY)
ASK = Content("blobs", Pinned(Repository("ghcr.io", "a"), DIGEST), None)


def reply(head_only: bool = False, outcome: Outcome = HIT, **headers: str) -> Reply:
    fields: Mapping[str, str] = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = Answer(Descriptor("", DIGEST, len(BODY)), InMemory(BODY), outcome)
    return reply_with_content(ASK, answer, fields, head_only)


def field(found: Reply, name: str) -> str | None:
    return dict([*found.about, *found.came_by]).get(name)


@given(st.integers(0, 120), st.integers(0, 120), st.integers(0, 110))
def test_a_range_is_what_python_slices(start: int, last: int, size: int) -> None:
    body = bytes(size)
    for text, expected in (
        (f"bytes={start}-{last}", range(size)[start : last + 1] if start <= last else range(0)),
        (f"bytes={start}-", range(size)[start:]),
        (f"bytes=-{last}", range(size)[max(0, size - last) :] if last else range(0)),
    ):
        if not size:
            assert parse_range(text, size) is None
        elif not expected:
            with pytest.raises(RangeInvalid):
                parse_range(text, size)
        else:
            span = parse_range(text, size)
            assert span == Span(expected[0], expected[-1] + 1)
            assert len(body[span.start : span.stop]) == span.length


@given(st.text(), st.integers(0, 1000))
def test_any_field_is_a_range_ignored_or_refused(text: str, size: int) -> None:
    for value in (text, f"bytes={text}"):
        try:
            span = parse_range(value, size)
        except RangeInvalid as refusal:
            assert refusal.status == 416
        else:
            assert span is None or 0 <= span.start < span.stop <= size


@pytest.mark.parametrize("value", ["", "bytes=", "bytes=-", "bytes=0-1,2-3", "items=0-1", "bytes=a-b"])
def test_what_is_no_single_range_means_all(value: str) -> None:
    assert parse_range(value, 100) is None


def test_a_part_is_206() -> None:
    part = reply(Range="bytes=10-19")
    assert (part.status, part.span, field(part, "Content-Length")) == (206, Span(10, 20), "10")
    assert field(part, "Content-Range") == "bytes 10-19/100"
    assert field(part, "ETag") == f'"{DIGEST}"'
    whole = reply(Range="bytes=10-19", If_Range='"another"')
    assert (whole.status, whole.span) == (200, Span(0, 100))


@pytest.mark.parametrize("condition", ["*", f'"{DIGEST}"', f'W/"{DIGEST}"', f'"x", "{DIGEST}"'])
def test_what_the_client_has_is_not_sent(condition: str) -> None:
    found = reply(If_None_Match=condition, Range="bytes=0-1")
    assert (found.status, found.span.length, field(found, "Content-Length")) == (304, 0, None)
    assert reply(If_None_Match='"other"').status == 200


def test_head_is_get_without_its_body() -> None:
    asked, got = reply(head_only=True), reply()
    assert (asked.about, asked.came_by, asked.span.length) == (got.about, got.came_by, 0)


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (HIT, "edgeproxy; hit"),
        (Outcome("hit", 240), "edgeproxy; hit; ttl=240"),
        (MISS, "edgeproxy; fwd=uri-miss; stored"),
        (COLLAPSED, "edgeproxy; fwd=uri-miss; collapsed"),
        (Outcome("stale", -5, detail='so "x" \\ é\n'), 'edgeproxy; hit; ttl=-5; detail="so \\"x\\" \\\\ ??"'),
    ],
)
def test_cache_status_is_a_structured_field(outcome: Outcome, expected: str) -> None:
    assert cache_status(outcome) == expected


def test_what_is_stale_is_marked() -> None:
    assert dict(of_outcome(Outcome("stale", -5)))["Warning"].startswith("110 ")
    assert dict(of_outcome(Outcome("stale", -5, detail="down")))["Warning"].startswith("111 ")
    assert "Warning" not in dict(of_outcome(HIT))


def test_a_header_section_is_whole() -> None:
    section = head(206, (("A", "b"),), (("C", "d"),), 0.0)
    assert section.startswith(b"HTTP/1.1 206 Partial Content\r\n")
    assert b"\r\nA: b\r\nC: d\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\n" in section
    assert section.endswith(b"\r\n\r\n")

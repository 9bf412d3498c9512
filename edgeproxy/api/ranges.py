"""Which bytes of a body a request wants (RFC 9110, section 14)."""

import re

from edgeproxy.interfaces import Span
from edgeproxy.oci.errors import RangeInvalid

_RANGE = re.compile(r"\s*bytes\s*=\s*(\d{0,19})\s*-\s*(\d{0,19})\s*", re.IGNORECASE)


_CLAIM = re.compile(r"(?:bytes[ =])?(\d{1,19})-(\d{1,19})(?:/(?:\d+|\*))?")


def parse_claim(field: str | None) -> Span | None:
    """The `Content-Range` of a chunk (distribution-spec, spec.md#pushing-a-blob-in-chunks), `0-99`, or as RFC 9110 has
    it. Raises `RangeInvalid`."""
    if field is None:
        return None
    found = _CLAIM.fullmatch(field.strip())
    if not found or int(found[1]) > int(found[2]):
        raise RangeInvalid(f"{field[:100]!r} is no range of bytes: write the first and the last, as in 0-99")
    return Span(int(found[1]), int(found[2]) + 1)


def parse_range(field: str | None, size: int) -> Span | None:
    """The one range of a `Range` field; `None` means the whole body.

    A field of several ranges, of another unit or of none is ignored, as the RFC allows, and so is any for an empty
    body. Raises `RangeInvalid` (416) where the range lies outside of the body, or ends before it begins.
    """
    found = _RANGE.fullmatch(field) if field else None
    if not found or not (found[1] or found[2]) or not size:
        return None
    if not found[1]:
        span = Span(max(0, size - int(found[2])), size)
    else:
        last = int(found[2]) if found[2] else size - 1
        span = Span(int(found[1]), min(last + 1, size))
    if span.start >= size or span.start >= span.stop:
        raise RangeInvalid(f"there are {size} bytes, and none of them in {field!r}", {"size": size})
    return span

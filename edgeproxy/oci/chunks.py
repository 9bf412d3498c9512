"""Blobs in chunks, as sites send them to each other (docs/adr/0009): which bytes are held, and are these right."""

import base64
import re
from collections.abc import Iterable

import google_crc32c

from edgeproxy.oci.digest import Digest
from edgeproxy.oci.errors import DigestInvalid, RequestInvalid

LARGEST_CHUNK = 2 * 1024 * 1024
"""Bytes of a blob in one request."""
_SPAN = re.compile(r"\s*(\d{1,18})-(\d{1,18})\s*")
_BLOB = re.compile(r"\s*([^;\s]+)\s*;\s*size=(\d{1,18})\s*")
_CRC = re.compile(r"(?:^|,)\s*crc32c=:([A-Za-z0-9+/=]*):")


def write_held(spans: Iterable[tuple[int, int]]) -> str:
    """The field `Edgeproxy-Held`; each span from its first byte up to but without its last."""
    return ",".join(f"{start}-{stop - 1}" for start, stop in spans if stop > start)


def read_held(text: str) -> list[tuple[int, int]]:
    """Raises `RequestInvalid`."""
    found = [_SPAN.fullmatch(part) for part in text.split(",")] if text.strip() else []
    spans = [(int(each[1]), int(each[2]) + 1) for each in found if each]
    if len(spans) != len(found) or any(stop <= start for start, stop in spans):
        raise RequestInvalid(f"{text[:100]!r} is not what is held: first-last,first-last,… is expected")
    return spans


def write_blob(digest: Digest, size: int) -> str:
    """The field `Edgeproxy-Blob`."""
    return f"{digest};size={size}"


def read_blob(text: str) -> tuple[Digest, int]:
    """Raises `RequestInvalid` or `DigestInvalid`."""
    found = _BLOB.fullmatch(text)
    if found is None:
        raise RequestInvalid("Edgeproxy-Blob is digest;size=bytes")
    return Digest.parse(found[1]), int(found[2])


def write_checksum(body: bytes) -> str:
    """The field `Content-Digest` (RFC 9530) of a body as it is sent."""
    return f"crc32c=:{base64.b64encode(google_crc32c.value(body).to_bytes(4)).decode()}:"


def check(body: bytes, field: str) -> None:
    """Raises `RequestInvalid` without a checksum that is known here, `DigestInvalid` where it is another."""
    found = _CRC.search(field)
    if found is None:
        raise RequestInvalid("a chunk needs its checksum: Content-Digest: crc32c=:…:")
    if f"crc32c=:{found[1]}:" != write_checksum(body):
        raise DigestInvalid("this chunk is not what was sent: its crc32c is another; send it again")

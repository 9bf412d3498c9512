"""The checksum of a chunk on its way, in the field `Content-Digest` (RFC 9530): `crc32c=:NZ9xVw==:`.

It is of the content as it is sent, so compressed where that is, and finds what the line has damaged; that the blob is
right, its digest says.
"""

import base64
import binascii
import re

import google_crc32c

from edgeproxy.oci.errors import RequestInvalid

_MEMBER = re.compile(r"crc32c=:([A-Za-z0-9+/=]*):(?:\s*;.*)?")


def crc32c(body: bytes) -> int:
    """32 bits."""
    return int(google_crc32c.value(body))


def content_digest(body: bytes) -> str:
    """The field for this content."""
    return f"crc32c=:{base64.b64encode(crc32c(body).to_bytes(4, 'big')).decode()}:"


def parse_content_digest(field: str) -> int | None:
    """The crc32c that it says, the last where it says several; `None` where it knows other algorithms only.

    Raises `RequestInvalid` for one that is no checksum.
    """
    found = None
    for member in (each.strip() for each in field.split(",")):
        if member.partition("=")[0].strip() == "crc32c":
            found = _checksum(member)
    return found


def _checksum(member: str) -> int:
    matched = _MEMBER.fullmatch(member)
    try:
        raw = base64.b64decode(matched[1], validate=True) if matched else b""
    except binascii.Error:
        raw = b""
    if len(raw) != 4:
        raise RequestInvalid(f"{member[:80]!r} is no checksum: write crc32c=:<base64 of its 4 bytes>:")
    return int.from_bytes(raw, "big")

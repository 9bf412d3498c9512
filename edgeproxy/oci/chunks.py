"""Blobs in chunks, as sites send them to each other (docs/adr/0009): which bytes are held, and are these right."""

import base64
import re
from collections.abc import Iterable

import google_crc32c
import zstandard

from edgeproxy.oci.digest import Digest
from edgeproxy.oci.errors import BlobUploadInvalid, DigestInvalid, RequestInvalid

LARGEST_CHUNK = 2 * 1024 * 1024
"""Bytes of a blob in one request."""
_SPAN = re.compile(r"\s*([0-9]{1,18})-([0-9]{1,18})\s*")
_BLOB = re.compile(r"\s*([^;\s]+)\s*;\s*size=([0-9]{1,18})\s*")
_CRC = re.compile(r"(?:^|,)\s*crc32c=:([A-Za-z0-9+/=]*):")


_TOLD = 4096
"""Characters of what is held that are told: what is not is sent once more, and does no harm."""
_WINDOW = 8 * 1024 * 1024
"""Bytes that unpacking may look back (RFC 9659)."""


def write_held(spans: Iterable[tuple[int, int]]) -> str:
    """The field `Edgeproxy-Held`; each span is given up to but without its stop. Of very many spans the first."""
    text = ""
    for start, stop in spans:
        longer = f"{text},{start}-{stop - 1}" if text else f"{start}-{stop - 1}"
        if len(longer) > _TOLD:
            break
        text = longer if stop > start else text
    return text


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


def unpack(body: bytes, encoding: str, checksum: str, size: int) -> bytes:
    """A chunk as it is in the blob, `size` bytes of it. Takes milliseconds: for a thread.

    Raises as `check`, and `BlobUploadInvalid` where it is not that long, or anything else than that.
    """
    check(body, checksum)
    if encoding not in ("", "identity", "zstd"):
        raise BlobUploadInvalid(f"chunks are sent as they are or in zstd, not in {encoding[:40]!r}")
    if encoding == "zstd":
        body = _unpack(body, size)
    if len(body) != size:
        raise BlobUploadInvalid(f"this chunk has {len(body)} bytes, and its Content-Range says {size}")
    return body


def _unpack(body: bytes, size: int) -> bytes:
    """One whole frame, and nothing after it. No memory is taken for more than `size` bytes and the window."""
    try:
        promised = zstandard.get_frame_parameters(body).content_size
        if promised not in (size, zstandard.CONTENTSIZE_UNKNOWN):
            raise BlobUploadInvalid(f"this chunk unpacks to {promised} bytes, and its Content-Range says {size}")
        unpacker = zstandard.ZstdDecompressor(max_window_size=_WINDOW)
        return unpacker.decompress(body, max_output_size=size, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise BlobUploadInvalid(f"this chunk cannot be unpacked to the {size} bytes of its range: {error}") from error

"""Chunks of a blob as they go over the line: compressed where that pays, with their checksum."""

import asyncio
import os
from concurrent.futures import Executor
from typing import NamedTuple

import zstandard

from edgeproxy.interfaces import Content, InMemory
from edgeproxy.oci.chunks import write_checksum
from edgeproxy.oci.errors import ContentUnreadable

_LEVEL = 3
_PAYS = 0.9
"""What is left of a chunk, at most, for compression to be worth the time."""
_SAMPLED = 8
"""Every so many chunks it is tried again whether it pays."""


class Packed(NamedTuple):
    body: bytes
    encoding: str
    """Of `Content-Encoding`; empty where it is sent as it is."""
    checksum: str


class Packing:
    """Reads one blob; what is compressed already, as most layers are, is seen by its first chunk and left alone."""

    def __init__(self, content: Content, threads: Executor) -> None:
        self._content = content
        self._threads = threads
        self._pays = True
        self._since = 0
        """Chunks since it was last tried."""

    async def pack(self, start: int, size: int) -> Packed:
        """In a thread, for it takes milliseconds. Raises `ContentUnreadable`."""
        packed, ratio = await asyncio.get_running_loop().run_in_executor(
            self._threads, _pack, self._content, start, size, self._pays or self._since >= _SAMPLED
        )
        self._since = 0 if ratio is not None else self._since + 1
        self._pays = self._pays if ratio is None else ratio < _PAYS
        return packed


def read_at(content: Content, start: int, size: int) -> bytes:
    """Raises `ContentUnreadable`, where there is less, too."""
    try:
        body = (
            content.body[start : start + size] if isinstance(content, InMemory) else os.pread(content.fd, size, start)
        )
    except OSError as error:
        raise ContentUnreadable(f"what is to be sent cannot be read here: {error}") from error
    if len(body) != size:
        raise ContentUnreadable(f"what is to be sent has {start + len(body)} bytes here, not {start + size}")
    return body


def _pack(content: Content, start: int, size: int, tries: bool) -> tuple[Packed, float | None]:
    body = read_at(content, start, size)
    if not tries:
        return Packed(body, "", write_checksum(body)), None
    packed = zstandard.ZstdCompressor(level=_LEVEL).compress(body)
    ratio = len(packed) / size
    if ratio < _PAYS:
        return Packed(packed, "zstd", write_checksum(packed)), ratio
    return Packed(body, "", write_checksum(body)), ratio

"""Blobs that another site pushes in chunks (docs/adr/0009): several at a time, in any order.

A session is a file of `uploads/` whose name holds its repository, digest and size: whoever asks for the same again goes
on with it, after a restart too.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import zstandard

from edgeproxy.cache.uploads import Uploads, refused, session_name, written
from edgeproxy.interfaces import Span
from edgeproxy.oci.chunks import LARGEST_CHUNK, check
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.errors import BlobUploadInvalid, BlobUploadUnknown, DigestMismatch, RangeInvalid, SizeInvalid
from edgeproxy.oci.reference import Pinned, Repository
from edgeproxy.store.disk import DiskStore
from edgeproxy.store.partial import PartialFile, merged

_IDENTITY = re.compile(r"(sha256|sha512)-([0-9a-f]+)-(\d{1,18})")
_WINDOW = 8 * 1024 * 1024
"""Bytes that unpacking a chunk may keep in memory."""


@dataclass(frozen=True, slots=True)
class ChunkedBlob:
    """What is pushed, and where."""

    blob: Pinned
    size: int

    @property
    def identity(self) -> str:
        """The session's, in its URL."""
        return f"{self.blob.digest.replace(':', '-')}-{self.size}"

    @property
    def name(self) -> str:
        return session_name(self.blob.repository, self.identity)


def session_of(repository: Repository, identity: str) -> ChunkedBlob | None:
    """What a session's id says; `None` where it is another kind of session. Raises `DigestInvalid`."""
    found = _IDENTITY.fullmatch(identity)
    if found is None:
        return None
    return ChunkedBlob(Pinned(repository, Digest.parse(f"{found[1]}:{found[2]}")), int(found[3]))


@dataclass(slots=True)
class _Open:
    """A session while anybody writes to it."""

    users: int = 0
    writer: PartialFile | None = None
    opening: asyncio.Lock = field(default_factory=asyncio.Lock)
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    busy: list[Span] = field(default_factory=list)
    """What is being written."""


class Chunks:
    def __init__(self, uploads: Uploads, store: DiskStore) -> None:
        self._uploads = uploads
        self._store = store
        self._files = store.uploads
        self._open: dict[str, _Open] = {}

    async def begin(self, whole: ChunkedBlob) -> Sequence[Span] | None:
        """What is held of it; `None` where all of it is shown here.

        Raises `SizeInvalid`, `TooManyRequests` or `InsufficientStorage`.
        """
        if self._is_here(whole.blob):
            return None
        if whole.name not in self._files.sessions:
            self._uploads.open(whole.name, whole.size)
        async with self._writing(whole) as session:
            return _held(session)

    async def put(self, whole: ChunkedBlob, span: Span, body: bytes, encoding: str, checksum: str) -> None:
        """A chunk. What is held already may come again.

        Raises `BlobUploadUnknown`, `RangeInvalid` where it is not of this blob, `SizeInvalid`, `DigestInvalid` where it
        arrived wrong, `BlobUploadInvalid` where it cannot be unpacked to its range, `InsufficientStorage`.
        """
        if span.stop > whole.size:
            raise RangeInvalid(f"this blob has {whole.size} bytes")
        if span.length > LARGEST_CHUNK:
            raise SizeInvalid(f"a chunk has up to {LARGEST_CHUNK} bytes")
        async with self._writing(whole) as session:
            chunk = await self._store.run(lambda: _unpack(body, encoding, checksum, span.length))
            missing = _without(span, [*_held(session), *session.busy])
            session.busy += missing
            try:
                with refused():
                    for part in missing:
                        await self._write(session, chunk[part.start - span.start : part.stop - span.start], part.start)
            finally:
                session.busy = [each for each in session.busy if each not in missing]
            self._uploads.count(whole.blob.repository.registry, sum(part.length for part in missing))

    async def finish(self, whole: ChunkedBlob) -> None:
        """Make a blob of it. Raises `RangeInvalid` while there are gaps, `DigestInvalid`, `InsufficientStorage`."""
        if whole.name not in self._files.sessions and self._is_here(whole.blob):
            return  # the answer was lost on the line, and it is asked for again
        async with self._writing(whole) as session:
            writer = session.writer
            assert writer is not None
            if _held(session) != _all(whole.size) or session.busy:
                raise RangeInvalid("this blob is not whole yet", {"size": whole.size})
            with refused():
                try:
                    await writer.name(whole.blob.digest)
                    await writer.verify()
                    await self._uploads.keep(writer, whole.blob)
                except DigestMismatch:
                    await writer.close(keep=False)
                    raise

    async def held(self, whole: ChunkedBlob) -> Sequence[Span]:
        """Raises `BlobUploadUnknown`."""
        async with self._writing(whole) as session:
            return _held(session)

    def cancel(self, whole: ChunkedBlob) -> None:
        """Raises `BlobUploadUnknown` or `UploadBusy`."""
        self._uploads.cancel(whole.blob.repository, whole.identity)

    def _is_here(self, blob: Pinned) -> bool:
        catalog = self._store.catalog
        return catalog.link("blobs", blob) is not None and catalog.held(blob.digest) is not None

    @asynccontextmanager
    async def _writing(self, whole: ChunkedBlob) -> AsyncIterator[_Open]:
        """One writer for all who write at the same time; the last closes it."""
        name = whole.name
        session = self._open.setdefault(name, _Open())
        session.users += 1
        try:
            async with session.opening:
                if session.writer is None:
                    if name not in self._files.sessions:
                        raise BlobUploadUnknown("there is no such upload here: begin another")
                    with refused():
                        session.writer = await session.stack.enter_async_context(self._files.writing(name))
            yield session
        finally:
            session.users -= 1
            if not session.users:
                del self._open[name]
                await session.stack.aclose()

    async def _write(self, session: _Open, chunk: bytes, at: int) -> None:
        assert session.writer is not None
        await self._uploads.make_room()
        await written(self._uploads.room, session.writer, chunk, at)


def _held(session: _Open) -> list[Span]:
    writer = session.writer
    assert writer is not None
    return merged([Span(0, writer.offset), *writer.ahead])


def _all(size: int) -> list[Span]:
    return [Span(0, size)] if size else []


def _without(span: Span, spans: Sequence[Span]) -> list[Span]:
    """The parts of `span` that are in none of the others."""
    found, position = [], span.start
    for start, stop in merged(spans):
        if start > position:
            found.append(Span(position, min(start, span.stop)))
        position = max(position, stop)
    found.append(Span(position, span.stop))
    return [part for part in found if part.length > 0]


def _unpack(body: bytes, encoding: str, checksum: str, size: int) -> bytes:
    """Takes milliseconds: for a thread."""
    check(body, checksum)
    if encoding not in ("", "identity", "zstd"):
        raise BlobUploadInvalid(f"chunks are sent as they are or in zstd, not in {encoding[:40]!r}")
    if encoding == "zstd":
        try:
            with zstandard.ZstdDecompressor(max_window_size=_WINDOW).stream_reader(body) as reader:
                body = reader.read(size + 1)  # and not a byte more: it says what it is to become
        except zstandard.ZstdError as error:
            raise BlobUploadInvalid(f"this chunk cannot be unpacked: {error}") from error
    if len(body) != size:
        raise BlobUploadInvalid(f"this chunk has {len(body)} bytes or more, its Content-Range says {size}")
    return body

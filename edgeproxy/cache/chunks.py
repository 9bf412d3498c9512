"""Blobs that another site pushes in chunks (docs/adr/0009): several at a time, in any order.

A session is a file of `uploads/` whose name holds its repository, digest and size: whoever asks for the same again goes
on with it, after a restart too. It is not the file of a download of the same blob: what one repository has of it is
nothing that another may go on with, and be shown at its end.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from edgeproxy.cache.flights import Flights
from edgeproxy.cache.segments import gaps
from edgeproxy.cache.uploads import Uploads, refused, session_name
from edgeproxy.interfaces import Span
from edgeproxy.oci.chunks import LARGEST_CHUNK, unpack
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.errors import BlobUploadUnknown, DigestMismatch, RangeInvalid, SizeInvalid, UploadBusy
from edgeproxy.oci.reference import Pinned, Repository
from edgeproxy.store.disk import DiskStore
from edgeproxy.store.partial import PartialFile
from edgeproxy.store.uploads import Session

_IDENTITY = re.compile(r"(sha256-[0-9a-f]{64}|sha512-[0-9a-f]{128})-([0-9]{1,18})")
_LATER = 5.0
"""Seconds after which a sender may ask again for what is on its way from elsewhere."""


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
    """What a session's id says; `None` where it is another kind of session."""
    found = _IDENTITY.fullmatch(identity)
    if found is None:
        return None
    return ChunkedBlob(Pinned(repository, Digest(found[1].replace("-", ":"))), int(found[2]))


@dataclass(frozen=True, slots=True)
class Chunk:
    """Bytes of a blob on their way: `receive` is called once it is known that they are wanted."""

    span: Span
    receive: Callable[[], Awaitable[bytes]]
    encoding: str
    """Of what `receive` gives: `zstd`, `identity` or none."""
    checksum: str
    """Its `Content-Digest`."""


class Chunks:
    """The sessions. Whoever writes to one has its bytes for himself; whoever ends it, all of it."""

    def __init__(self, uploads: Uploads, store: DiskStore, flights: Flights) -> None:
        self._uploads = uploads
        self._store = store
        self._files = store.uploads
        self._flights = flights

    async def begin(self, whole: ChunkedBlob) -> Sequence[Span] | None:
        """What is held of it; `None` where all of it is shown here, and stays until its manifest has come.

        Raises `UploadBusy` where it is on its way from upstream, `SizeInvalid`, `TooManyRequests` or
        `InsufficientStorage`.
        """
        if await self._is_here(whole.blob):
            return None
        flight = self._flights.get(whole.blob.digest)
        if flight is not None and flight.kind == "blobs" and flight.pinned == whole.blob:
            raise UploadBusy("this blob is on its way from upstream: try later", retry_after=_LATER)
        if whole.name not in self._files.sessions:
            self._uploads.open(whole.name, whole.size)
        return await self.held(whole)

    async def held(self, whole: ChunkedBlob) -> Sequence[Span]:
        """Raises `BlobUploadUnknown`."""
        async with self._sharing(whole) as (_, writer):
            return writer.spans

    async def put(self, whole: ChunkedBlob, chunk: Chunk) -> None:
        """What is held already may come again, also while it is being written.

        Raises `BlobUploadUnknown`, `RangeInvalid` where it is not of this blob, `SizeInvalid`, `DigestInvalid` where it
        arrived wrong, `BlobUploadInvalid` where it cannot be unpacked to its range, `InsufficientStorage`, or what
        `receive` raises.
        """
        span = chunk.span
        if span.stop > whole.size:
            raise RangeInvalid(f"this blob has {whole.size} bytes")
        if span.length > LARGEST_CHUNK:
            raise SizeInvalid(f"a chunk has up to {LARGEST_CHUNK} bytes")
        async with self._sharing(whole) as (session, writer):  # open while it arrives: others are on their way, too
            packed = await chunk.receive()
            body = await self._store.run(lambda: unpack(packed, chunk.encoding, chunk.checksum, span.length))
            async with session.occupied.alone(span):
                self._check(whole, session)
                new = await self._write(session, writer, body, span)
            self._uploads.count(whole.blob.repository.registry, new, len(packed))

    async def finish(self, whole: ChunkedBlob) -> None:
        """Make a blob of it; nothing where that is done.

        Raises `BlobUploadUnknown`, `RangeInvalid` while there are gaps, `DigestInvalid` where it is not what it was
        said to be, and begins again, `InsufficientStorage`.
        """
        try:
            async with self._sharing(whole) as (session, writer), session.occupied.alone(Span(0, max(1, whole.size))):
                self._check(whole, session)
                if writer.size < whole.size:
                    raise RangeInvalid(f"{whole.size - writer.size} bytes are missing: ask which, and send them")
                await self._keep(whole, writer)
        except BlobUploadUnknown:
            if not await self._is_here(whole.blob):  # else the answer was lost on the line, and is asked for again
                raise

    def cancel(self, whole: ChunkedBlob) -> None:
        """Raises `BlobUploadUnknown` or `UploadBusy`."""
        self._uploads.cancel(whole.blob.repository, whole.identity)

    async def _is_here(self, blob: Pinned) -> bool:
        """Whether its repository shows it; then it waits for its manifest as if it had come now."""
        catalog = self._store.catalog
        if catalog.link("blobs", blob) is None or catalog.held(blob.digest) is None:
            return False
        return await self._uploads.mount(blob, blob.repository)

    @asynccontextmanager
    async def _sharing(self, whole: ChunkedBlob) -> AsyncIterator[tuple[Session, PartialFile]]:
        if whole.name not in self._files.sessions:
            raise _unknown()
        with refused():
            async with self._files.sharing(whole.name) as shared:
                self._check(whole, shared[0])
                yield shared

    def _check(self, whole: ChunkedBlob, session: Session) -> None:
        """Somebody may have ended it while one waited."""
        if self._files.sessions.get(whole.name) is not session:
            raise _unknown()

    async def _write(self, session: Session, writer: PartialFile, body: bytes, span: Span) -> int:
        """What is not held of it; how many bytes that was."""
        missing = gaps(span.stop, span.start, [each for each in writer.spans if each.stop > span.start])
        for part in missing:
            await self._uploads.put(session, writer, body[part.start - span.start : part.stop - span.start], part.start)
        return sum(part.length for part in missing)

    async def _keep(self, whole: ChunkedBlob, writer: PartialFile) -> None:
        """What is wrong is not kept, and what could not be kept is written on to, unless its file has gone with it."""
        try:
            await writer.name(whole.blob.digest)
            await writer.verify()
            await self._uploads.keep(writer, whole.blob)
        except DigestMismatch:
            await writer.close(keep=False)
            raise
        finally:
            if self._files.is_gone(whole.name):
                await writer.close(keep=False)
                self._files.forget(whole.name)


def _unknown() -> BlobUploadUnknown:
    return BlobUploadUnknown("there is no such upload here: begin another")

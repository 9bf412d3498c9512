"""What clients push, blob by blob (distribution-spec, spec.md#pushing-blobs): sessions that grow until they are named.

A session is a file whose name holds its repository, so that nobody finds it under another one.
"""

import hashlib
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Protocol

from edgeproxy.cache.eviction import Room
from edgeproxy.interfaces import Clock, Span, StoreFull
from edgeproxy.metrics import Traffic
from edgeproxy.oci.errors import (
    BlobUploadUnknown,
    DigestInvalid,
    DigestMismatch,
    InsufficientStorage,
    RangeInvalid,
    SizeInvalid,
    TooManyRequests,
    UploadBusy,
)
from edgeproxy.oci.reference import Pinned, Repository
from edgeproxy.store.disk import DiskStore
from edgeproxy.store.partial import PartialFile
from edgeproxy.store.pushed import Pushed
from edgeproxy.store.uploads import Session

_COUNTED = 16 * 1024 * 1024
"""Bytes of an upload after which the budget is looked at again."""
_AGAIN = 60.0
"""Seconds after which a client may try again for a session of its own."""


class Body(Protocol):
    """What a client sends, as it arrives."""

    @property
    def length(self) -> int | None:
        """Bytes of all of it, where the client says so."""
        ...

    async def read(self) -> bytes:
        """The next bytes, none at the end. Raises the `Refusal` that ends it early."""
        ...


@dataclass(frozen=True, slots=True)
class UploadLimits:
    """Sessions that are open at once, seconds that one is kept without a write, bytes of one blob."""

    sessions: int = 1000
    age: float = 86400.0
    size: int = 100 * 10**9


class Uploads:
    """The sessions. What they hold becomes a blob by the same commit as a download."""

    def __init__(
        self, limits: UploadLimits, store: DiskStore, pushed: Pushed, room: Room, clock: Clock, traffic: Traffic
    ) -> None:
        self._limits = limits
        self._store = store
        self._files = store.uploads
        self._pushed = pushed
        self.room = room
        self._clock = clock
        self._traffic = traffic

    def begin(self, repository: Repository) -> str:
        """The id of a new session. Raises `TooManyRequests` or `InsufficientStorage`."""
        identity = str(uuid.uuid4())
        self.open(session_name(repository, identity))
        return identity

    def open(self, name: str, size: int = 0) -> None:
        """Begin a session for a blob of that size, where it is known. Raises as `begin`, and `SizeInvalid`."""
        if len(self._files) >= self._limits.sessions:
            raise TooManyRequests("too many uploads are open here: end some, or try later", retry_after=_AGAIN)
        if size > self._limits.size:
            raise self._too_large()
        if size > self.room.limits.budget:
            raise InsufficientStorage(f"there is no room for {size} bytes within {self.room.limits.budget}")
        self.room.expect(size)
        with refused():
            self._files.begin(name)

    def offset(self, repository: Repository, identity: str) -> int:
        """How many bytes have arrived. Raises `BlobUploadUnknown`."""
        return self._session(session_name(repository, identity)).size

    async def append(self, repository: Repository, identity: str, body: Body, claim: Span | None = None) -> int:
        """Write on; the new offset. What arrived stays, also where the body ends early or the task is cancelled.

        `claim`: which bytes of the blob these are. Raises `RangeInvalid` where they do not follow what is there,
        `BlobUploadUnknown`, `UploadBusy`, `SizeInvalid`, `InsufficientStorage`, or what `body` raises.
        """
        async with self._writing(session_name(repository, identity), body, claim) as writer:
            await self._take(writer, repository.registry, body, claim)
            return writer.offset

    async def finish(self, blob: Pinned, identity: str, body: Body, claim: Span | None = None) -> None:
        """Write the rest, and make a blob of it. Raises as `append`, and `DigestInvalid`."""
        async with self._writing(session_name(blob.repository, identity), body, claim) as writer:
            await self._take(writer, blob.repository.registry, body, claim)
            await writer.name(blob.digest)
            await writer.verify()
            await self.keep(writer, blob)

    async def whole(self, blob: Pinned, body: Body) -> None:
        """A blob in one go, of which nothing is left where it fails. Raises as `finish`."""
        identity = self.begin(blob.repository)
        try:
            await self.finish(blob, identity, body)
        finally:
            self._drop(session_name(blob.repository, identity))

    def cancel(self, repository: Repository, identity: str) -> None:
        """Raises `BlobUploadUnknown` or `UploadBusy`."""
        name = session_name(repository, identity)
        if not self._session(name).is_at_rest:
            raise UploadBusy("another request is writing to this upload")
        self._drop(name)

    async def mount(self, source: Pinned, target: Repository) -> bool:
        """Have `target` show a blob of another repository; False where it is not here. Raises `InsufficientStorage`."""
        now = self._clock.now()
        with refused():
            return await self._pushed.mount(source, target, now, now + self._limits.age)

    async def expire(self) -> None:
        """End the sessions nobody came back for; blobs whose manifest did not come may leave."""
        now = self._clock.now()
        for name, session in list(self._files.sessions.items()):
            if session.is_at_rest and session.touched <= now - self._limits.age:
                self._files.drop(name)
        await self._pushed.forget_kept(now)

    def _session(self, name: str) -> Session:
        session = self._files.sessions.get(name)
        if session is None:
            raise BlobUploadUnknown("there is no such upload here: begin another")
        return session

    def _drop(self, name: str) -> None:
        if name in self._files.sessions:
            self._files.drop(name)

    @asynccontextmanager
    async def _writing(self, name: str, body: Body, claim: Span | None) -> AsyncIterator[PartialFile]:
        """What cannot end well is not kept: its bytes would only be in the way."""
        session = self._session(name)
        if not session.is_at_rest:
            raise UploadBusy("another request is writing to this upload")
        if claim is not None and (claim.start != session.size or body.length not in (None, claim.length)):
            raise _not_next(session.size)
        if session.size + (body.length or 0) > self._limits.size:
            raise self._too_large()
        self.room.expect(body.length or 0)
        with refused():
            async with self._files.writing(name) as writer:
                try:
                    yield writer
                except (StoreFull, SizeInvalid, DigestMismatch):
                    await writer.close(keep=False)
                    raise

    async def _take(self, writer: PartialFile, registry: str, body: Body, claim: Span | None) -> None:
        counted = writer.offset
        while chunk := await body.read():
            end = writer.offset + len(chunk)
            if claim is not None and end > claim.stop:
                raise _not_next(writer.offset)
            if end > self._limits.size:
                raise self._too_large()
            if end > counted:
                await self.make_room()
                counted = end + _COUNTED
            await written(self.room, writer, chunk)
            self.count(registry, len(chunk))
        if claim is not None and writer.offset < claim.stop:
            raise _not_next(writer.offset)

    def _too_large(self) -> SizeInvalid:
        return SizeInvalid(f"a blob of more than {self._limits.size} bytes is not taken here")

    async def make_room(self) -> None:
        """Within the budget, with all that is open. Raises `StoreFull`."""
        async with self.room.kept(0):
            pass

    async def put(self, session: Session, writer: PartialFile, chunk: bytes, at: int) -> None:
        """A part of a session that several write at once. Raises `StoreFull`; what was there stays."""
        if session.size + len(chunk) > session.counted:
            await self.make_room()
            session.counted = session.size + len(chunk) + _COUNTED
        await written(self.room, writer, chunk, at)

    def count(self, registry: str, size: int, carried: int = 0) -> None:
        """`carried`: bytes that these were on the line, where another site sent them."""
        self._traffic.pushed[registry] += size
        self._traffic.carried[registry] += carried

    async def keep(self, writer: PartialFile, blob: Pinned) -> None:
        now = self._clock.now()
        async with self.room.kept(0):  # its bytes count already, as those of an upload
            await self._pushed.announce(blob, writer.offset, now, now + self._limits.age)
            await writer.commit()


async def written(room: Room, writer: PartialFile, chunk: bytes, at: int | None = None) -> None:
    """As `BlobWriter.write`. Raises `StoreFull` where the disk is full and nothing may go."""
    try:
        await writer.write(chunk, at)
    except StoreFull:
        await room.free_disk(len(chunk))
        await writer.write(chunk, at)


@contextmanager
def refused() -> Iterator[None]:
    """What the store says, in a client's words."""
    try:
        yield
    except StoreFull as error:
        raise InsufficientStorage(f"there is no room for this: {error}") from error
    except DigestMismatch as error:
        raise DigestInvalid(f"{error.message}: the upload is over, begin again") from error


def _not_next(offset: int) -> RangeInvalid:
    return RangeInvalid(f"this upload goes on at byte {offset}")


def session_name(repository: Repository, identity: str) -> str:
    """Of its file: nobody finds it under another repository."""
    return f"{identity}-{hashlib.sha256(str(repository).encode()).hexdigest()[:16]}"

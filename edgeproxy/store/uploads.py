"""Uploads that are open: a file each, and nothing else. No descriptor stays open between two requests."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from edgeproxy.interfaces import Span
from edgeproxy.store.partial import UNNAMED, Begun, PartialFile, drop, full_is_full, map_of

if TYPE_CHECKING:
    from edgeproxy.store.disk import DiskStore


class Occupied:
    """The bytes that somebody is at; who would be at the same waits."""

    def __init__(self) -> None:
        self._spans: list[Span] = []
        self._freed = asyncio.Event()

    @asynccontextmanager
    async def alone(self, span: Span) -> AsyncIterator[None]:
        while any(span.start < other.stop and other.start < span.stop for other in self._spans):
            await self._freed.wait()
        self._spans.append(span)
        try:
            yield
        finally:
            self._spans.remove(span)
            freed, self._freed = self._freed, asyncio.Event()
            freed.set()


@dataclass(slots=True, eq=False)
class Session:
    """One upload: when somebody last wrote (seconds since the epoch), and how much has come."""

    touched: float
    offset: int = 0
    """Bytes, while nobody writes."""
    begun: Begun | None = None
    """The hash of what is there; lost with the process, and then the file is read once more."""
    writer: PartialFile | None = None
    """Of the request that writes now, or of those that share it."""
    users: int = 0
    """Those that share it, and are about to."""
    opening: asyncio.Lock = field(default_factory=asyncio.Lock)
    occupied: Occupied = field(default_factory=Occupied)
    counted: int = 0
    """Bytes up to which there was room when that was last looked at."""

    @property
    def size(self) -> int:
        return self.writer.size if self.writer else self.offset

    @property
    def is_at_rest(self) -> bool:
        return self.writer is None and not self.users


class UploadFiles:
    """What is in `uploads/`, by name; a session goes on after a restart."""

    def __init__(self, store: "DiskStore") -> None:
        self._store = store
        self._sessions = {
            entry.name: Session(entry.stat().st_mtime, _arrived(Path(entry.path), entry.stat()))
            for entry in os.scandir(store.layout.uploads)
            if not entry.name.endswith(".map")
        }

    def __len__(self) -> int:
        return len(self._sessions)

    @property
    def sessions(self) -> Mapping[str, Session]:
        return self._sessions

    def size(self) -> int:
        """Bytes on disk of all."""
        return sum(session.size for session in self._sessions.values())

    def begin(self, name: str) -> None:
        """Raises `StoreFull` or OSError."""
        with full_is_full():
            os.close(os.open(self._path(name), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        self._sessions[name] = Session(self._store.clock.now())

    @asynccontextmanager
    async def writing(self, name: str) -> AsyncIterator[PartialFile]:
        """The one writer of a session that has none. Afterwards the session goes on, unless the writer ended it."""
        session = self._sessions[name]
        try:
            yield await self._open(name, session)
        finally:
            await self._close(name, session)

    @asynccontextmanager
    async def sharing(self, name: str) -> AsyncIterator[tuple[Session, PartialFile]]:
        """The writer of a session that several have at once; the last of them closes it.

        Whoever ends the session says so by `forget`; the others then find that it is not what `sessions` has any more.
        """
        session = self._sessions[name]
        session.users += 1
        try:
            async with session.opening:
                writer = session.writer or await self._open(name, session)
            yield session, writer
        finally:
            session.users -= 1
            if not session.users:
                await self._close(name, session)

    def forget(self, name: str) -> None:
        """A session that has ended: its file is a blob now, or gone."""
        del self._sessions[name]

    def is_gone(self, name: str) -> bool:
        """Whether its file is a blob now, or was not worth keeping."""
        return not self._path(name).exists()

    def drop(self, name: str) -> None:
        """End a session that nobody writes."""
        drop(self._path(name))
        self.forget(name)

    async def _open(self, name: str, session: Session) -> PartialFile:
        """Where that fails, or is cancelled, no hash is remembered that somebody may still be at."""
        begun, session.begun = session.begun or Begun(hashlib.new(UNNAMED)), None
        writer = session.writer = PartialFile(self._store, name, self._path(name), None, begun)
        try:
            await self._store.run(writer.resume)
        except BaseException:
            await self._close(name, session)
            raise
        return writer

    async def _close(self, name: str, session: Session) -> None:
        writer, session.writer = session.writer, None
        if writer is None:
            return
        await writer.close(keep=True)
        if self._sessions.get(name) is not session:
            return
        session.touched = self._store.clock.now()
        session.begun = writer.begun if writer.resumed else None
        try:
            session.offset = _arrived(self._path(name), self._path(name).stat(), writer)
        except FileNotFoundError:  # it is a blob now, or was not worth keeping
            self.forget(name)

    def _path(self, name: str) -> Path:
        return self._store.layout.uploads / name


def _arrived(path: Path, stat: os.stat_result, writer: PartialFile | None = None) -> int:
    """Bytes of a file, gaps left out: exact where its writer says it, else in whole blocks of the disk."""
    if not map_of(path).exists():
        return stat.st_size
    return writer.size if writer else min(stat.st_size, stat.st_blocks * 512)

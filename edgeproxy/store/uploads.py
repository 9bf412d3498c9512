"""Uploads that are open: a file each, and nothing else. No descriptor stays open between two requests."""

import hashlib
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeproxy.store.partial import UNNAMED, Begun, PartialFile, drop, full_is_full

if TYPE_CHECKING:
    from edgeproxy.store.disk import DiskStore


@dataclass(slots=True)
class Session:
    """One upload: when somebody last wrote (seconds since the epoch), and how far it has come."""

    touched: float
    offset: int = 0
    begun: Begun | None = None
    """The hash of what is there; lost with the process, and then the file is read once more."""
    writer: PartialFile | None = None
    """Of the request that writes now; there is one at most."""

    @property
    def size(self) -> int:
        return self.writer.offset if self.writer else self.offset


class UploadFiles:
    """What is in `uploads/`, by name; a session goes on after a restart."""

    def __init__(self, store: "DiskStore") -> None:
        self._store = store
        self._sessions = {
            entry.name: Session(entry.stat().st_mtime, entry.stat().st_size)
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
        begun = session.begun or Begun(hashlib.new(UNNAMED))
        session.writer = writer = PartialFile(self._store, name, self._path(name), None, begun)
        resumed = False
        try:
            await self._store.run(writer.resume)
            resumed = True
            yield writer
        finally:
            await writer.close(keep=True)
            self._rest(name, session, writer.begun if resumed else None)

    def _rest(self, name: str, session: Session, begun: Begun | None) -> None:
        session.writer, session.touched = None, self._store.clock.now()
        try:
            session.offset = self._path(name).stat().st_size
        except FileNotFoundError:  # it is a blob now, or was not worth keeping
            del self._sessions[name]
        session.begun = begun

    def drop(self, name: str) -> None:
        """End a session that nobody writes."""
        drop(self._path(name))
        del self._sessions[name]

    def _path(self, name: str) -> Path:
        return self._store.layout.uploads / name

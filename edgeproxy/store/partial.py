"""A blob while it grows: a file that may have gaps, hashed in order, gone on with after a restart.

Without gaps the file is all there is. With gaps, a map beside it says what has been written, a line for every write; it
is read when the file is taken up again. What a crash left out of it is fetched again; what it says too much of, after
a loss of power, the digest finds out.
"""

import contextlib
import errno
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from edgeproxy.interfaces import Held, OnDisk, Span, StoreFull
from edgeproxy.oci.digest import Digest, Hasher
from edgeproxy.oci.errors import DigestMismatch
from edgeproxy.store.catalog import add_held
from edgeproxy.store.rows import Rows

if TYPE_CHECKING:
    from edgeproxy.store.disk import DiskStore

UNNAMED = "sha256"
"""The algorithm by which bytes are hashed while their digest is not known yet."""
_PIECE = 1024 * 1024
_LINE = re.compile(r"(\d+) (\d+)\n")


class Begun(NamedTuple):
    """A file's beginning: how far it reaches, and its hash."""

    hasher: Hasher
    offset: int = 0


class PartialFile:
    """Implements `interfaces.BlobWriter`. Its state changes on the event loop, its work is done in threads."""

    def __init__(self, store: "DiskStore", key: str, path: Path, digest: Digest | None, begun: "Begun") -> None:
        """`key` stands for it in `store.growing`. `digest` is what it is to be, where that is known already."""
        self._store = store
        self._key = key
        self._digest = digest
        self._path = path
        self._map_path = map_of(path)
        self._fd = self._map = -1
        self._hasher, self.offset = begun
        self._hashing = False
        """Whether a write is under way that moves `offset`: one at a time, the hash being one."""
        self._released = False
        self.resumed = False
        """Whether what an earlier attempt left has been read to its end."""
        self.ahead: list[Span] = []
        store.growing.add(key)

    def resume(self) -> None:
        """Open the file, and read what an earlier attempt left."""
        with full_is_full():
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        size = os.fstat(self._fd).st_size
        mapped = self._mapped() if size else None
        if mapped is None:
            self._map_path.unlink(missing_ok=True)
        else:
            self._map = _open_map(self._map_path)
        known = Span(0, self.offset)  # hashed already, whatever the map came to say of it
        spans = [Span(0, size)] if mapped is None else merged([known, *_within(mapped, size)])
        beginning = spans[0].stop if spans and not spans[0].start else 0
        self._hasher, self.offset = self._hash_on(self._hasher, self.offset, beginning)
        self.ahead = [span for span in spans if span.start]
        self.resumed = True

    def reader(self) -> OnDisk:
        return OnDisk(os.dup(self._fd), self.offset)

    @property
    def spans(self) -> list[Span]:
        """All that is written, in order."""
        return merged([Span(0, self.offset), *self.ahead])

    @property
    def size(self) -> int:
        """Bytes that are written."""
        return self.offset + sum(span.length for span in self.ahead)

    async def write(self, chunk: bytes, at: int | None = None) -> None:
        at = self.offset if at is None else at
        if at == self.offset and not self._hashing:
            await self._append(chunk)
        else:
            await self._put(chunk, at)
        await self._join()

    async def name(self, digest: Digest) -> None:
        """Say what it is to be; it is read once more where that takes another algorithm than it was hashed by."""
        if digest.algorithm != UNNAMED:
            hasher, _ = await self._store.run(lambda: self._hash_on(digest.hasher(), 0, self.offset))
            self._hasher = hasher
        self._digest = digest

    async def verify(self) -> None:
        await self._join()
        if self.ahead or not self._named.matches(self._hasher):
            raise DigestMismatch(f"the {self.offset} bytes that were sent are not {self._digest}")

    async def rewind(self) -> None:
        def empty() -> None:
            os.ftruncate(self._fd, 0)
            if self._map >= 0:
                os.ftruncate(self._map, 0)

        await self._run(empty, self._forget)

    async def commit(self, needs: Sequence[Digest] = ()) -> None:
        now = self._store.clock.now()
        final = self._store.layout.blob(self._named)
        await self._store.run(lambda: self._settle(final))
        held = Held(self._named, self.offset, now, now, needs=tuple(needs))

        def publish(rows: Rows) -> None:
            add_held(rows, held)
            os.rename(self._path, final)
            _sync_directory(os.path.dirname(final))

        try:
            await self._store.catalog.change(publish)
        except (StoreFull, OSError):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(final)  # its row could not be written
            raise
        self._remember()
        self._release()

    async def close(self, *, keep: bool) -> None:
        if self._fd >= 0:
            if keep and (self.offset or self.ahead or self._digest is None):
                self._tidy()
            else:
                drop(self._path)
        self._release()

    @property
    def begun(self) -> "Begun | None":
        """What another writer of a file without a name need not read again."""
        return Begun(self._hasher, self.offset) if self._digest is None else None

    @property
    def _named(self) -> Digest:
        assert self._digest is not None, "it was not said what this is to be"
        return self._digest

    # in order: written and hashed in one trip to a thread

    async def _append(self, chunk: bytes) -> None:
        at = self.offset

        def append() -> None:
            self._write(chunk, at)
            self._hasher.update(chunk)

        try:
            await self._alone(append, lambda: self._reach(at + len(chunk)))
        except StoreFull:
            if self._map < 0:  # the file's length says how much there is
                os.ftruncate(self._fd, self.offset)
            raise

    async def _join(self) -> None:
        """Hash what has lost the gap before it. Whoever is at it already goes on with this, too."""
        while self.ahead and self.ahead[0].start == self.offset and not self._hashing:
            start, stop = self.offset, min(self.ahead[0].stop, self.offset + 4 * _PIECE)

            def hash_on(start: int = start, stop: int = stop) -> None:
                for at in range(start, stop, _PIECE):
                    self._hasher.update(os.pread(self._fd, min(_PIECE, stop - at), at))

            await self._alone(hash_on, lambda stop=stop: self._reach(stop))  # type: ignore[misc]

    async def _alone(self, act: Callable[[], None], then: Callable[[], None]) -> None:
        self._hashing = True
        try:
            await self._run(act, then)
        finally:
            self._hashing = False

    def _forget(self) -> None:
        self.offset, self.ahead, self._hasher = 0, [], self._named.hasher()

    def _reach(self, offset: int) -> None:
        self.offset = offset
        if self.ahead and self.ahead[0].start < offset:
            first = self.ahead.pop(0)
            if first.stop > offset:
                self.ahead.insert(0, Span(offset, first.stop))

    # ahead: written now, hashed when the gap before it is closed

    async def _put(self, chunk: bytes, at: int) -> None:
        if self._map < 0:
            self._map = self._begun_map()
        await self._run(lambda: self._write(chunk, at), lambda: self._add(Span(at, at + len(chunk))))

    def _add(self, span: Span) -> None:
        self.ahead = merged([*self.ahead, span])

    # in threads

    async def _run(self, act: Callable[[], None], then: Callable[[], None]) -> None:
        """`then` follows what was done, also where the task was cancelled meanwhile."""
        done = False

        def work() -> None:
            nonlocal done
            act()
            done = True

        try:
            await self._store.run(work)
        finally:
            if done:
                then()

    def _hash_on(self, hasher: Hasher, offset: int, stop: int) -> "Begun":
        while piece := os.pread(self._fd, _PIECE, offset)[: stop - offset]:
            hasher.update(piece)
            offset += len(piece)
        return Begun(hasher, offset)

    def _write(self, chunk: bytes, at: int) -> None:
        rest = memoryview(chunk)
        with full_is_full():
            while rest:
                rest = rest[os.pwrite(self._fd, rest, at + len(chunk) - len(rest)) :]
            if self._map >= 0:
                _note(self._map, Span(at, at + len(chunk)))

    def _settle(self, final: str) -> None:
        with full_is_full():
            self._map_path.unlink(missing_ok=True)  # whole now: the length says all
            os.fsync(self._fd)
            os.makedirs(os.path.dirname(final), mode=0o700, exist_ok=True)

    # the map

    def _mapped(self) -> list[Span] | None:
        try:
            lines = self._map_path.read_text().splitlines(keepends=True)
        except FileNotFoundError:
            return None
        found = [_LINE.fullmatch(line) for line in lines]  # the last may be torn
        return merged(Span(int(each[1]), int(each[2])) for each in found if each)

    def _begun_map(self) -> int:
        """With what is there without a gap, or not at all: a map that lacks it would have it fetched again."""
        map_fd = _open_map(self._map_path)
        try:
            _note(map_fd, Span(0, self.offset))
        except BaseException:
            os.close(map_fd)
            self._map_path.unlink()
            raise
        return map_fd

    def _tidy(self) -> None:
        """Leave no bytes that nobody vouches for, and no map that says nothing, or not how far the hash has come."""
        os.ftruncate(self._fd, self.ahead[-1].stop if self.ahead else self.offset)
        if not self.ahead:
            self._map_path.unlink(missing_ok=True)
        else:
            with contextlib.suppress(StoreFull):
                _note(self._map, Span(0, self.offset))

    # the end

    def _remember(self) -> None:
        """A small blob is hot from the start: who fetched it asks for it next."""
        if self.offset <= self._store.memory.largest:
            self._store.memory.put(self._named, os.pread(self._fd, self.offset, 0))

    def _release(self) -> None:
        if self._released:
            return
        self._released = True
        self._store.growing.discard(self._key)
        for fd in (self._fd, self._map):
            if fd >= 0:
                os.close(fd)
        self._fd = self._map = -1


def merged(spans: Iterable[Span]) -> list[Span]:
    """In order, those that touch or overlap as one, empty ones left out."""
    found: list[Span] = []
    for span in sorted(span for span in spans if span.length > 0):
        if found and span.start <= found[-1].stop:
            found[-1] = Span(found[-1].start, max(found[-1].stop, span.stop))
        else:
            found.append(span)
    return found


def _within(spans: Iterable[Span], size: int) -> list[Span]:
    return [Span(span.start, min(span.stop, size)) for span in spans if span.start < size]


def map_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.map")


def drop(path: Path) -> None:
    """The file first: a file whose map is lost would be taken for one without gaps."""
    path.unlink(missing_ok=True)
    map_of(path).unlink(missing_ok=True)


def _open_map(path: os.PathLike[str]) -> int:
    with full_is_full():
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def _note(map_fd: int, span: Span) -> None:
    with full_is_full():
        os.write(map_fd, f"{span.start} {span.stop}\n".encode())


@contextlib.contextmanager
def full_is_full() -> Iterator[None]:
    """Raise `StoreFull` for what the system says of a disk that is full."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreFull(str(error)) from error
        raise


def _sync_directory(directory: str) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)

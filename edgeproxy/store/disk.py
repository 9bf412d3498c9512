"""Blobs as files named by digest, in a data directory with a format version.

    blobs/<algorithm>/<first two hex digits>/<hex>     whole and verified
    partial/<algorithm>-<hex>                          on its way; goes on after a restart
    partial/<algorithm>-<hex>.map                      what has been written of it, where it has gaps
    uploads/<name>                                     a client's upload, which says at its end what it is
    catalog/                                           the catalogue
    FORMAT                                             the layout's version
    NAME                                               this proxy's own name, for CDN-Loop

A file appears under blobs/ by a rename, after its content was verified and synced; renames and deletions happen in the
catalogue's writer thread, so that a blob's file and its row change together. A crash between the two leaves a file
without a row or a row without a file, which `jobs.sweep` mends.
"""

import asyncio
import contextlib
import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from edgeproxy.interfaces import Clock, Content, InMemory, OnDisk
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.errors import DigestInvalid
from edgeproxy.store.catalog import Catalog, drop_held
from edgeproxy.store.memory import MemoryTier
from edgeproxy.store.partial import Begun, PartialFile, drop
from edgeproxy.store.rows import Rows
from edgeproxy.store.threads import in_thread
from edgeproxy.store.uploads import UploadFiles

T = TypeVar("T")
FORMAT = "1"
_THREADS = 8


class FormatUnknown(Exception):
    """The data directory was written by another version."""


class Layout:
    """Where things stand in a data directory; makes the directory, 0700, when it is new."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.blobs = data / "blobs"
        self.partial = data / "partial"
        self.uploads = data / "uploads"
        self.catalog = data / "catalog"
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        data.chmod(0o700)
        self._check_format(data / "FORMAT")
        for directory in (self.blobs, self.partial, self.uploads, self.catalog):
            directory.mkdir(mode=0o700, exist_ok=True)
        self.name = once(data / "NAME", f"edgeproxy-{secrets.token_hex(6)}")

    def blob(self, digest: Digest) -> str:
        """A string, not a `Path`: it is built for every blob that is opened."""
        algorithm, _, encoded = digest.partition(":")
        return f"{self.blobs}/{algorithm}/{encoded[:2]}/{encoded}"

    def partial_of(self, digest: Digest) -> Path:
        return self.partial / digest.replace(":", "-")

    def partials(self) -> list[tuple[Digest, os.stat_result]]:
        """What is on its way or was given up half-way, the oldest first."""
        found = []
        for entry in os.scandir(self.partial):
            with contextlib.suppress(FileNotFoundError, DigestInvalid):
                found.append((Digest.parse(entry.name.replace("-", ":", 1)), entry.stat()))
        return sorted(found, key=lambda item: item[1].st_mtime)

    def files(self) -> Iterator[tuple[Digest, os.stat_result]]:
        """Every blob's file, directory by directory."""
        for directory in self.blobs.glob("*/*"):
            with contextlib.suppress(NotADirectoryError, FileNotFoundError), os.scandir(directory) as entries:
                for entry in entries:
                    with contextlib.suppress(FileNotFoundError, DigestInvalid):
                        yield Digest.parse(f"{directory.parent.name}:{entry.name}"), entry.stat()

    def _check_format(self, file: Path) -> None:
        found = once(file, FORMAT)
        if found != FORMAT:
            raise FormatUnknown(
                f"{self.data} has format {found!r}, this version reads {FORMAT!r}: "
                "use another data directory, or the version that wrote it"
            )


class DiskStore:
    """Implements `interfaces.BlobStore`."""

    def __init__(self, layout: Layout, catalog: Catalog, memory: MemoryTier, clock: Clock) -> None:
        self.layout = layout
        self.catalog = catalog
        self.memory = memory
        self.clock = clock
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="store")
        self.recall = memory.get
        self.growing: set[str] = set()
        """What a writer is open for: digests, and names of uploads."""
        self.uploads = UploadFiles(self)

    async def open(self, digest: Digest) -> Content | None:
        """No thread hop: opening costs less than the hop would, and sendfile reads on the loop anyway."""
        body = self.recall(digest)
        if body is not None:
            return InMemory(body)
        try:
            fd = os.open(self.layout.blob(digest), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        size = os.fstat(fd).st_size
        if size > self.memory.largest:
            return OnDisk(fd, size)
        try:
            body = os.pread(fd, size, 0)
        finally:
            os.close(fd)
        self.memory.put(digest, body)
        return InMemory(body)

    async def create(self, digest: Digest) -> PartialFile:
        path = self.layout.partial_of(digest)
        partial = PartialFile(self, digest, path, digest, Begun(digest.hasher()))
        try:
            await self.run(partial.resume)
        except BaseException:
            await partial.close(keep=True)
            raise
        return partial

    async def delete(self, digests: Iterable[Digest]) -> int:
        chosen = list(digests)

        def act(rows: Rows) -> int:
            freed = 0
            for digest in chosen:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self.layout.blob(digest))
                freed += drop_held(rows, digest)
            return freed

        freed: int = await self.catalog.change(act)
        for digest in chosen:
            self.memory.drop(digest)
        return freed

    async def quarantine(self, digest: Digest) -> None:
        """Its content is wrong: put the file aside, and forget that it is here; who shows it is still known."""
        aside = self.layout.data / "quarantine"

        def act(rows: Rows) -> None:
            aside.mkdir(mode=0o700, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                os.rename(self.layout.blob(digest), aside / digest.replace(":", "-"))
            drop_held(rows, digest)

        await self.catalog.change(act)
        self.memory.drop(digest)

    async def drop_idle_partials(self, excess: int, keep_since: float = float("-inf")) -> int:
        """Free partial files nobody writes, oldest first: `excess` bytes of them, and all older than `keep_since`."""

        freed = 0
        for digest, stat in await self.run(self.layout.partials):
            # Looked at and unlinked in one go: nobody can take it up again in between.
            if digest not in self.growing and (freed < excess or stat.st_mtime < keep_since):
                drop(self.layout.partial_of(digest))
                freed += stat.st_size
        return freed

    def idle_partials(self) -> list[tuple[Digest, os.stat_result]]:
        return [(digest, stat) for digest, stat in self.layout.partials() if digest not in self.growing]

    def free(self) -> tuple[int, int]:
        """Bytes free for this process, and bytes in all, of the disk that holds the data."""
        disk = os.statvfs(self.layout.data)
        return disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize

    async def run(self, act: Callable[[], T]) -> T:
        """Run blocking file work in one of the store's threads."""
        return await in_thread(self._threads, act)

    async def close(self) -> None:
        await asyncio.to_thread(self._threads.shutdown)


def once(file: Path, content: str) -> str:
    """What the file says; written first where it is absent."""
    try:
        return file.read_text().strip()
    except FileNotFoundError:
        aside = file.with_name(f"{file.name}.new")
        aside.touch(mode=0o600)  # some of what is written once is secret
        aside.write_text(content + "\n")
        aside.rename(file)
        return content

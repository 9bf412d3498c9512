"""A real store in a directory, opened as the daemon opens it and closed without a trace."""

import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from edgeproxy.interfaces import Clock, OnDisk
from edgeproxy.oci.digest import Digest
from edgeproxy.store.catalog import Catalog
from edgeproxy.store.disk import DiskStore, Layout
from edgeproxy.store.memory import MemoryTier

SMALL = 1024
"""Bytes of the largest blob that the tests' stores keep in memory."""


@asynccontextmanager
async def opened(data: Path, clock: Clock, memory: int = 64 * 1024) -> AsyncIterator[DiskStore]:
    layout = Layout(data)
    catalog = Catalog(layout.catalog, clock)
    store = DiskStore(layout, catalog, MemoryTier(memory, SMALL), clock)
    try:
        yield store
    finally:
        await store.close()
        await catalog.close()
        assert files_open_below(data, "blobs", "partial", "uploads") == []
        assert not [thread for thread in threading.enumerate() if thread.name.startswith(("store", "catalog"))]


async def keep(store: DiskStore, body: bytes, needs: tuple[Digest, ...] = ()) -> Digest:
    """Bring a blob in by the one way in."""
    digest = Digest.of(body)
    writer = await store.create(digest)
    await writer.write(body)
    await writer.verify()
    await writer.commit(needs)
    return digest


async def content(store: DiskStore, digest: Digest) -> bytes | None:
    """What a client would be sent."""
    found = await store.open(digest)
    return found if found is None else read(found.fd, found.size) if isinstance(found, OnDisk) else found.body


def read(fd: int, size: int) -> bytes:
    """All of an open file, which is closed."""
    try:
        return os.pread(fd, size, 0)
    finally:
        os.close(fd)


def files_open_below(data: Path, *directories: str) -> list[str]:
    """The files that this process has open of a data directory's directories, `.` being itself."""
    found = []
    for entry in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{entry}")
        except FileNotFoundError:  # the descriptor of the listing itself
            continue
        if any(target.startswith(f"{data / directory}/") for directory in directories):
            found.append(target)
    return found

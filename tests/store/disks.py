"""Real file systems that are really full."""

import os
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from edgeproxy.interfaces import StoreFull
from edgeproxy.store.disk import DiskStore
from edgeproxy.store.rows import Rows


@contextmanager
def small_disk(directory: Path, size: int) -> Iterator[Path]:
    """A file system of `size` bytes, mounted for the block. Skips the test where this user cannot mount."""
    directory.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "small-disk", str(directory)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"a full disk needs a user who may mount one: {mounted.stderr.strip()}")
    try:
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)


def fill(directory: Path, leave: int = 0) -> Path:
    """Write a file that takes all of the disk's free bytes but `leave`."""
    file = directory / "filler"
    disk = os.statvfs(directory)
    file.write_bytes(bytes(disk.f_bavail * disk.f_frsize - leave))
    return file


async def exhaust(store: DiskStore) -> None:
    """Fill the disk to the last byte, what the catalogue's journal has in reserve included."""
    fill(store.layout.data)
    for number in range(1000):
        try:
            await store.catalog.change(partial(_put, f"fill/{number}"))
        except (sqlite3.OperationalError, StoreFull):
            return
    raise AssertionError("the disk does not fill up")


def _put(key: str, rows: Rows) -> None:
    rows.put(key, "x" * 1000)

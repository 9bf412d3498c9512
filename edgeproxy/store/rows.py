"""Ordered rows of text under text keys, in diskcache without pickle."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import diskcache

from edgeproxy.interfaces import StoreFull

_INLINE = 64 * 1024 * 1024
"""Bytes; a value up to this size stays in its row, so no value ever becomes a file beside the database."""
_BUSY = 60.0
"""Seconds to wait for another process that is writing."""


class _TextOnly(diskcache.Disk):  # type: ignore[misc]
    """diskcache's serialization with everything but text refused, so that nothing that is read can run code."""

    def put(self, key: object) -> tuple[str, bool]:
        if not isinstance(key, str):
            raise TypeError(f"catalogue keys are text, not {type(key).__name__}")
        return key, True

    def store(self, value: object, read: bool, key: object = None) -> tuple[int, int, None, str]:
        if not isinstance(value, str) or read:
            raise TypeError(f"catalogue values are text, not {type(value).__name__}")
        return 0, diskcache.core.MODE_RAW, None, value

    def get(self, key: Any, raw: Any) -> str:
        if not isinstance(key, str) or not raw:
            raise ValueError("a catalogue key is not text: the catalogue was written by something else")
        return key

    def fetch(self, mode: int, filename: str | None, value: Any, read: bool) -> str:
        if mode != diskcache.core.MODE_RAW or not isinstance(value, str):
            raise ValueError("a catalogue value is not text: the catalogue was written by something else")
        return value


class Rows:
    """A sorted map of text; reads cost the same at any size. For any thread: writes wait for each other."""

    def __init__(self, directory: Path) -> None:
        self._cache = diskcache.Cache(
            str(directory),
            timeout=_BUSY,
            disk=_TextOnly,
            disk_min_file_size=_INLINE,
            eviction_policy="none",
            cull_limit=0,
            sqlite_auto_vacuum=0,
        )

    def get(self, key: str) -> str | None:
        value: str | None = self._cache.get(key)
        return value

    def put(self, key: str, value: str) -> None:
        self._cache.set(key, value)

    def delete(self, key: str) -> bool:
        return bool(self._cache.delete(key))

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All writes of this thread inside the block, or none. Raises `StoreFull`."""
        try:
            with self._cache.transact():
                yield
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
                raise StoreFull(str(error)) from error
            raise

    def scan(self, prefix: str, after: str = "", limit: int = 1000) -> list[tuple[str, str]]:
        """Up to `limit` rows, in order, whose key starts with `prefix` and is greater than `after`.

        diskcache offers no ordered range, though its table has the index for one: this statement is all that relies
        on the layout of its table.
        """
        rows: sqlite3.Cursor = self._cache._sql(
            "SELECT key, value, mode FROM Cache"
            " WHERE raw = 1 AND key > ? AND key >= ? AND key < ? ORDER BY key LIMIT ?",
            (after, prefix, prefix + "\U0010ffff", limit),
        )
        fetch = self._cache.disk.fetch
        return [(str(key), fetch(mode, None, value, False)) for key, value, mode in rows.fetchall()]

    def all(self, prefix: str) -> Iterator[tuple[str, str]]:
        """All rows under a prefix, in order, read page by page."""
        edge = ""
        while page := self.scan(prefix, edge):
            yield from page
            edge = page[-1][0]

    def close(self) -> None:
        self._cache.close()

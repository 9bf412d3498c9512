"""The access record: bounded segments of zstd frames, each frame some lines of `store.happenings`.

A frame that was torn by a crash ends its segment for readers; writing goes on in the next one.
"""

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import zstandard

from edgeproxy.interfaces import Happening
from edgeproxy.store import happenings

_SUFFIX = ".jsonl.zst"
_SEGMENT = 4 * 1024 * 1024
"""Bytes after which another segment begins; a record has 8 of them at least."""
_LEVEL = 6
_LONGEST_LINE = 64 * 1024 * 1024


class Record:
    """Writes; one thread at a time."""

    def __init__(self, directory: Path, limit: int) -> None:
        """`limit`: bytes of all segments; the oldest goes first."""
        self._directory = directory
        self.limit = limit
        directory.mkdir(parents=True, exist_ok=True)
        self._number = max(map(_number, segments(directory)), default=0) + 1

    def append(self, some: Sequence[Happening]) -> None:
        """Raises OSError; what was written of it then is not read."""
        if not some:
            return
        text = "".join(f"{happenings.write(each)}\n" for each in some).encode()
        file = self._directory / f"{self._number:010}{_SUFFIX}"
        try:
            with file.open("ab") as out:
                out.write(zstandard.ZstdCompressor(level=_LEVEL).compress(text))
                full = out.tell() >= min(_SEGMENT, self.limit // 8)
        except OSError:
            self._number += 1  # nothing is read behind a frame that is torn
            raise
        if full:
            self._number += 1
            self._drop()

    def size(self) -> int:
        """Bytes on disk."""
        return sum(file.stat().st_size for file in segments(self._directory))

    def _drop(self) -> None:
        kept = 0
        for file in reversed(segments(self._directory)):
            kept += file.stat().st_size
            if kept > self.limit:
                file.unlink()


def segments(directory: Path) -> list[Path]:
    """The oldest first."""
    return sorted(file for file in directory.glob(f"*{_SUFFIX}") if file.name.partition(".")[0].isdecimal())


def read(paths: Iterable[Path], damaged: Callable[[Path, str], None] = lambda path, what: None) -> Iterator[Happening]:
    """What directories of segments, and files of lines, compressed or not, hold, in their order.

    `damaged` is told of a file that is read no further. Raises ValueError where a file is no record from the start on,
    and OSError.
    """
    for path in paths:
        for file in segments(path) if path.is_dir() else [path]:
            yield from _read_file(file, damaged)


def _read_file(file: Path, damaged: Callable[[Path, str], None]) -> Iterator[Happening]:
    begun = False
    try:
        for line in _lines(file):
            yield happenings.read(line)
            begun = True
    except (ValueError, zstandard.ZstdError, UnicodeDecodeError) as error:
        if not begun and file.stat().st_size and not file.name.endswith(_SUFFIX):
            raise ValueError(f"{file} is no access record: {error}") from error
        damaged(file, str(error))


def _lines(file: Path) -> Iterator[bytes]:
    with file.open("rb") as source:
        stream: io.BufferedIOBase = source
        if source.peek(len(zstandard.FRAME_HEADER))[: len(zstandard.FRAME_HEADER)] == zstandard.FRAME_HEADER:
            stream = io.BufferedReader(zstandard.ZstdDecompressor().stream_reader(source, read_across_frames=True))
        while line := stream.readline(_LONGEST_LINE):
            if not line.endswith(b"\n"):
                raise ValueError("its last line is torn")
            yield line


def _number(file: Path) -> int:
    return int(file.name.partition(".")[0])

"""What is replayed: access records, and plain traces of `time id size`."""

import gzip
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from edgeproxy.interfaces import Access, Happening
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.reference import Pinned, Repository
from edgeproxy.store.record import read

_NOWHERE = Repository("trace", "objects")
_COMPRESSED = b"\x1f\x8b"


def happenings(path: Path) -> Iterator[Happening]:
    """Of a record's directory, a file of it, or a plain trace, gzipped or not. Raises ValueError or OSError."""
    return _plain(path) if path.is_file() and _is_plain(path) else read([path])


def _is_plain(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(64)
    return start[:2] == _COMPRESSED or start[:1].isdigit()


def _plain(path: Path) -> Iterator[Happening]:
    """One line a request: seconds, whatever names the object, bytes; what follows in a line is not read."""
    with path.open("rb") as file:
        packed = file.read(2) == _COMPRESSED
    with gzip.open(path, "rt") if packed else path.open() as lines:
        for number, line in enumerate(chain(lines), 1):
            words = line.replace(",", " ").split()
            if not words:
                continue
            try:
                time, name, size = float(words[0]), words[1], int(words[2])
            except (ValueError, IndexError) as error:
                raise ValueError(f"{path}, line {number}: {line.strip()[:60]!r} is no 'time id size'") from error
            digest = Digest.of(name.encode())
            yield Access(time, 0, "GET", "blobs", Pinned(_NOWHERE, digest), digest, size, "miss", size, 0.0)

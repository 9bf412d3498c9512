"""One blob to a registry: in chunks of which any may fail and go again, or in the pieces that every registry takes."""

import asyncio
from collections import deque
from concurrent.futures import Executor

from edgeproxy.interfaces import BlobParcel, Content, Link, Urgency
from edgeproxy.oci.chunks import LARGEST_CHUNK, read_held, write_blob
from edgeproxy.oci.errors import BlobUploadUnknown, DigestInvalid, RangeInvalid, Refusal, Unavailable
from edgeproxy.remote.packing import Packing, read_at
from edgeproxy.remote.pushing import Answer, Pushing

_FEWEST, _MOST = 4, 16
"""Chunks of one blob that are on their way at the same time."""
_GAIN = 1.2
"""How much faster it has to get for more of them to be worth while."""
_TRIES = 5
"""Times that one chunk is sent."""
_PIECE = 8 * 1024 * 1024
"""Bytes of a blob in one request, to a registry that takes them in order only."""


class Chunks:
    """What is missing of one blob at a peer, and who sends it."""

    def __init__(self, pushing: Pushing, parcel: BlobParcel, location: str, packing: Packing, link: Link) -> None:
        self._pushing = pushing
        self._parcel = parcel
        self._location = location
        self._packing = packing
        self._link = link
        self._left = deque[tuple[int, int]]()
        self.sent = 0
        """Bytes of bodies."""

    async def send(self, held: list[tuple[int, int]]) -> None:
        """All that is not held. Raises the `Refusal` of the first chunk that cannot be sent."""
        self._left.extend(gaps(held, self._parcel.size))
        pace = _Pace(min(_FEWEST, len(self._left)))
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(pace.workers):
                    group.create_task(self._work(group, pace))
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None

    async def _work(self, group: asyncio.TaskGroup, pace: "_Pace") -> None:
        while self._left:
            start, stop = self._left.popleft()
            await self._chunk(start, stop)
            for _ in range(min(pace.more(stop - start, asyncio.get_running_loop().time()), len(self._left))):
                group.create_task(self._work(group, pace))

    async def _chunk(self, start: int, stop: int) -> None:
        packed = await self._packing.pack(start, stop - start)
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Range": f"{start}-{stop - 1}",
            "Content-Digest": packed.checksum,
            **({"Content-Encoding": packed.encoding} if packed.encoding else {}),
        }
        for attempt in range(_TRIES):
            await self._link.admit(self._pushing.name, len(packed.body), Urgency.REPLICATION)
            self.sent += len(packed.body)
            try:
                repository = self._parcel.blob.repository
                answer = await self._pushing.ask("PATCH", self._location, repository, headers, packed.body)
                self._pushing.check(answer, 202)
                return
            except (DigestInvalid, Unavailable):
                if attempt == _TRIES - 1:
                    raise


class _Pace:
    """How many chunks are on their way: doubled as long as that makes it faster."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._chunks = self._bytes = 0
        self._since: float | None = None
        self._rate = 0.0

    def more(self, size: int, now: float) -> int:
        """How many are to join, now that a chunk of `size` bytes has arrived."""
        if self._since is None:  # what the first one took is mostly the beginning
            self._since = now
            return 0
        self._chunks += 1
        self._bytes += size
        if self._chunks < 2 * self.workers or self.workers >= _MOST or now <= self._since:
            return 0
        rate = self._bytes / (now - self._since)
        faster, self._rate = rate >= _GAIN * self._rate, max(rate, self._rate)
        self._chunks, self._bytes, self._since = 0, 0, now
        if not faster:
            return 0
        joining = min(self.workers, _MOST - self.workers)
        self.workers += joining
        return joining


def gaps(held: list[tuple[int, int]], size: int) -> list[tuple[int, int]]:
    """What is missing, in pieces of a chunk at most."""
    found, position = [], 0
    for start, stop in [*sorted(held), (size, size)]:
        while position < min(start, size):
            end = min(start, size, position + LARGEST_CHUNK)
            found.append((position, end))
            position = end
        position = max(position, stop)
    return found


async def in_chunks(
    pushing: Pushing, parcel: BlobParcel, base: str, content: Content, link: Link, threads: Executor
) -> int:
    """To another edgeproxy; the bytes that went over the line. Goes on where an earlier transfer broke off."""
    blob, sent, packing = parcel.blob, 0, Packing(content, threads)
    for attempt in range(_TRIES):
        opened = await pushing.ask(
            "POST", f"{base}/blobs/uploads/", blob.repository, {"Edgeproxy-Blob": write_blob(blob.digest, parcel.size)}
        )
        pushing.check(opened, 201, 202)
        if opened.status == 201:
            return sent
        chunks = Chunks(pushing, parcel, pushing.place(opened), packing, link)
        try:
            await chunks.send(read_held(opened.headers.get("Edgeproxy-Held", "")))
            closed = await pushing.ask("PUT", with_digest(pushing.place(opened), blob.digest), blob.repository)
            pushing.check(closed, 201)
            return sent + chunks.sent
        except (RangeInvalid, BlobUploadUnknown):  # it has lost some of it meanwhile
            sent += chunks.sent
            if attempt == _TRIES - 1:
                raise
    raise AssertionError("the last attempt returns or raises")


async def in_pieces(pushing: Pushing, parcel: BlobParcel, base: str, content: Content, link: Link) -> int:
    """To any registry (distribution-spec, spec.md#pushing-a-blob-in-chunks); the bytes that went over the line."""
    blob = parcel.blob
    opened = await pushing.ask("POST", f"{base}/blobs/uploads/", blob.repository)
    pushing.check(opened, 202)
    location, offset, sent = pushing.place(opened), 0, 0
    least = opened.headers.get("OCI-Chunk-Min-Length", "")
    piece = max(_PIECE, int(least) if least.isdecimal() else 0)
    failures = 0
    while offset < parcel.size:
        body = await asyncio.to_thread(read_at, content, offset, min(piece, parcel.size - offset))
        await link.admit(pushing.name, len(body), Urgency.REPLICATION)
        sent += len(body)
        try:
            headers = {
                "Content-Type": "application/octet-stream",
                "Content-Range": f"{offset}-{offset + len(body) - 1}",
            }
            answer = await pushing.ask("PATCH", location, blob.repository, headers, body)
            pushing.check(answer, 202)
            offset += len(body)
        except (Unavailable, RangeInvalid) as refusal:
            failures += 1
            if failures >= _TRIES:
                raise
            answer = await _progress(pushing, location, parcel, refusal)
            offset = _end_of(answer.headers.get("Range", ""))
        location = pushing.place(answer)
    closed = await pushing.ask("PUT", with_digest(location, blob.digest), blob.repository)
    pushing.check(closed, 201)
    return sent


async def _progress(pushing: Pushing, location: str, parcel: BlobParcel, refusal: Refusal) -> Answer:
    """How far an upload has come (distribution-spec, spec.md#pushing-a-blob-in-chunks)."""
    answer = await pushing.ask("GET", location, parcel.blob.repository)
    if answer.status not in (202, 204):
        raise refusal
    return answer


def _end_of(field: str) -> int:
    """`0-99` is 100 bytes; `0-0` is what registries say of none."""
    last = field.rpartition("-")[2]
    return int(last) + 1 if last.isdecimal() and int(last) > 0 else 0


def with_digest(location: str, digest: str) -> str:
    return f"{location}{'&' if '?' in location else '?'}digest={digest}"

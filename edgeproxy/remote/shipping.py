"""One blob to another edgeproxy, in chunks of which any may fail and go again (docs/adr/0009)."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from concurrent.futures import Executor

from edgeproxy.interfaces import BlobParcel, Clock, Content, Link, Urgency
from edgeproxy.oci.chunks import LARGEST_CHUNK, read_held, write_blob
from edgeproxy.oci.errors import (
    BlobUploadUnknown,
    ContentUnreadable,
    DigestInvalid,
    RangeInvalid,
    Refusal,
    Unavailable,
    UpstreamUnauthorized,
)
from edgeproxy.remote.packing import Packing
from edgeproxy.remote.pushing import Pushing, Slices

FEWEST, MOST = 12, 24
"""Chunks of one blob that are on their way at the same time."""
_GAIN = 1.2
"""How much faster it has to get for more of them to be worth while."""
_SLICE = 256 * 1024
"""Bytes that the link is asked to carry at a time."""
_PAUSES = (0.0, 0.5, 2.0, 8.0)
"""Seconds before each further attempt: a line that broke is mostly there again at once."""
_VERIFIED = 20 * 1024 * 1024
"""Bytes per second that any registry hashes at the end of an upload."""


class Retries:
    """Of one thing that is sent: how often it is tried again, and when."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failures = 0

    @property
    def spent(self) -> bool:
        return self._failures >= len(_PAUSES)

    async def after(self, refusal: Refusal) -> None:
        """Wait for the next attempt. Raises the refusal where there is none, or it would be of no use."""
        if self.spent or isinstance(refusal, (UpstreamUnauthorized, ContentUnreadable)):
            raise refusal
        pause = max(_PAUSES[self._failures], refusal.retry_after or 0.0)
        if pause > _PAUSES[-1]:  # whoever has more patience than we have is asked again by the next task
            raise refusal
        self._failures += 1
        await self._clock.sleep(pause)

    def went_well(self) -> None:
        """What fails after this is something else."""
        self._failures = 0


class Chunks:
    """What is missing of one blob at a peer, and who sends it."""

    def __init__(self, pushing: Pushing, parcel: BlobParcel, packing: Packing, link: Link, room: asyncio.Semaphore):
        """`room`: for the chunks that are in memory."""
        self._pushing = pushing
        self._parcel = parcel
        self._packing = packing
        self._link = link
        self._room = room
        self._location = ""
        self._left = deque[tuple[int, int]]()
        self.sent = 0
        """Bytes of bodies that went over the line."""

    async def send(self, location: str, held: list[tuple[int, int]]) -> None:
        """All that is not held. Raises the `Refusal` of the first chunk that cannot be sent."""
        self._location, self._left = location, deque(gaps(held, self._parcel.size))
        pace = Pace(min(FEWEST, len(self._left)))
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(pace.workers):
                    group.create_task(self._work(group, pace))
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None

    async def _work(self, group: asyncio.TaskGroup, pace: "Pace") -> None:
        while self._left:
            start, stop = self._left.popleft()
            await self._chunk(start, stop)
            for _ in range(min(pace.more(stop - start, asyncio.get_running_loop().time()), len(self._left))):
                group.create_task(self._work(group, pace))

    async def _chunk(self, start: int, stop: int) -> None:
        """One that arrives wrong, or not at all, goes again; the others are not disturbed."""
        retries = Retries(self._pushing.clock)
        async with self._room:
            packed = await self._packing.pack(start, stop - start)
            headers = {
                "Content-Type": "application/octet-stream",
                "Content-Range": f"{start}-{stop - 1}",
                "Content-Digest": packed.checksum,
                **({"Content-Encoding": packed.encoding} if packed.encoding else {}),
            }
            body = Slices(len(packed.body), lambda: self._slices(packed.body))
            while True:
                try:
                    repository = self._parcel.blob.repository
                    answer = await self._pushing.ask("PATCH", self._location, repository, headers, body)
                    return self._pushing.check(answer, 202)
                except DigestInvalid as refusal:
                    await retries.after(Unavailable(f"chunks do not arrive as they were sent: {refusal.message}"))
                except Unavailable as refusal:
                    await retries.after(refusal)

    async def _slices(self, body: bytes) -> AsyncIterator[memoryview]:
        for start in range(0, len(body), _SLICE):
            part = memoryview(body)[start : start + _SLICE]
            await self._link.admit(self._pushing.name, len(part), Urgency.REPLICATION)
            self.sent += len(part)
            yield part


class Pace:
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
        if self._chunks < 2 * self.workers or self.workers >= MOST or now <= self._since:
            return 0
        rate = self._bytes / (now - self._since)
        faster, self._rate = rate >= _GAIN * self._rate, max(rate, self._rate)
        self._chunks, self._bytes, self._since = 0, 0, now
        if not faster:
            return 0
        joining = min(self.workers, MOST - self.workers)
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
    pushing: Pushing,
    parcel: BlobParcel,
    base: str,
    content: Content,
    link: Link,
    threads: Executor,
    room: asyncio.Semaphore,
) -> int:
    """The bytes that went over the line. Goes on where an earlier transfer broke off.

    `base`: the path of the repository; `room`: for chunks in memory, of all blobs.
    """
    blob, retries = parcel.blob, Retries(pushing.clock)
    chunks = Chunks(pushing, parcel, Packing(content, threads), link, room)
    fields = {"Edgeproxy-Blob": write_blob(blob.digest, parcel.size)}
    while True:
        opened = await pushing.ask("POST", f"{base}/blobs/uploads/", blob.repository, fields)
        pushing.check(opened, 201, 202)
        if opened.status == 201:
            return chunks.sent
        location = pushing.place(opened)
        try:
            await chunks.send(location, read_held(opened.headers.get("Edgeproxy-Held", "")))
            await finish(pushing, parcel, location)
            return chunks.sent
        except (RangeInvalid, BlobUploadUnknown) as refusal:  # it has lost some of it meanwhile
            await retries.after(refusal)


async def finish(pushing: Pushing, parcel: BlobParcel, location: str) -> None:
    """Say that all of it has been sent; to hash it takes a registry some time."""
    target = f"{location}{'&' if '?' in location else '?'}digest={parcel.blob.digest}"
    closed = await pushing.ask("PUT", target, parcel.blob.repository, patience=parcel.size / _VERIFIED)
    pushing.check(closed, 201)

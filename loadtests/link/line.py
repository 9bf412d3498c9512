"""Time on a link: how fast bytes enter it, and how late they leave it."""

import asyncio
import time
from collections import deque

_SLACK = 0.02
"""Seconds of a rate that may be made up for after waking too late."""


class Pace:
    """A rate that everybody who reserves shares, in the order of asking."""

    def __init__(self) -> None:
        self._free_at = 0.0

    def reserve(self, size: int, rate: float | None, now: float) -> float:
        """When the last of these bytes has entered the link, behind all that were reserved before."""
        if rate is None:
            return now
        self._free_at = max(now - _SLACK, self._free_at) + size / rate
        return self._free_at


class Line:
    """One direction of a connection: pieces come out in the order they went in, none before it is due.

    One task puts and one gets. An empty piece is the end.
    """

    def __init__(self) -> None:
        self._pieces: deque[tuple[float, bytes]] = deque()
        self._held = 0
        self._moved = asyncio.Event()

    @property
    def held(self) -> int:
        """Bytes that are on their way."""
        return self._held

    async def put(self, piece: bytes, due: float, room: int) -> None:
        """Wait while `room` bytes are on their way, however many the piece then adds."""
        while self._held >= room:
            await self._next()
        self.add(piece, due)

    def add(self, piece: bytes, due: float) -> None:
        """Without waiting for room."""
        self._pieces.append((due, piece))
        self._held += len(piece)
        self._moved.set()

    async def get(self) -> bytes:
        while not self._pieces:
            await self._next()
        due, piece = self._pieces[0]
        await until(due)
        self._pieces.popleft()
        self._held -= len(piece)
        self._moved.set()
        return piece

    async def _next(self) -> None:
        self._moved.clear()
        await self._moved.wait()


async def until(moment: float) -> None:
    """`moment` by `time.monotonic`; one that is past takes no turn of the loop."""
    if (left := moment - time.monotonic()) > 0:
        await asyncio.sleep(left)

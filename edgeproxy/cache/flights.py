"""Shared downloads. A flight belongs to the daemon, not to the client that caused it.

Everybody who wants a blob that is on its way reads the growing file, each at an offset of its own: a slow client holds
nobody up, a leaving one stops nothing. The last piece is released only when the digest is verified.
"""

import asyncio
import math
import os
from collections.abc import Callable, Coroutine
from typing import Any

from edgeproxy.interfaces import BlobWriter, Kind, OnDisk, StoreFull, Urgency
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.errors import Refusal, TooManyRequests, Unavailable, UpstreamTimeout
from edgeproxy.oci.reference import Pinned

HELD_BACK = 64 * 1024
"""Bytes at a blob's end that nobody gets before the whole is verified."""
Spawn = Callable[[Coroutine[Any, Any, None], str], asyncio.Task[None]]
"""Starts a task that the daemon owns, under a name."""


class Spilled(Exception):
    """The disk took no more of this blob: what follows has to come past it."""


class Flight:
    """One download: its progress, and the waiting for it. Changed in plain functions, by `fetch` alone."""

    def __init__(self, kind: Kind, pinned: Pinned) -> None:
        self.kind = kind
        self.pinned = pinned
        self.urgency = Urgency.PREFETCH
        """Of whoever waits for it most urgently."""
        self.media_type = ""
        self.size: int | None = None
        self.released = 0
        self.body: bytes | None = None
        """The whole content, for manifests only."""
        self.brought_by: list[str] = []
        """Names of the upstreams that have answered."""
        self._writer: BlobWriter | None = None
        self._doubted: int | None = None
        self._landed = False
        self._over = False
        self._ended = False
        self._error: Exception | None = None
        self._moved = asyncio.Event()

    def __repr__(self) -> str:
        state = "failed" if self._error else "landed" if self._landed else "under way"
        return f"<Flight {self.pinned} {state} {self.released}/{self.size}>"

    # what fetch says

    def answered_by(self, upstream: str) -> None:
        if upstream not in self.brought_by:
            self.brought_by.append(upstream)

    def depart(self, writer: BlobWriter, size: int | None, media_type: str) -> None:
        """Upstream has answered."""
        self._writer, self.size, self.media_type = writer, size, media_type
        self.progress(writer.offset)

    def progress(self, written: int) -> None:
        end = written if self.size is None else min(written, self.size)
        known_rest = 0 if self.size is None else self.size - end
        end -= max(0, HELD_BACK - known_rest)
        if self._doubted is not None:
            end = min(end, self._doubted)
        self.released = max(self.released, end)
        self._wake()

    def doubt(self, offset: int | None) -> None:
        """What comes from this byte on is released only when all is verified; `None` is nothing."""
        self._doubted = offset

    def land(self, size: int, body: bytes | None = None) -> None:
        """All is here and verified."""
        self.size = self.released = size
        self.body = body
        self._landed = True
        self._wake()

    def fail(self, error: Exception) -> None:
        self._error = error
        self._wake()

    @property
    def failed(self) -> bool:
        return self._error is not None

    async def ended(self) -> None:
        """Wait until nothing moves any more, whether it has landed or failed."""
        while not self._ended:
            await self._moved.wait()

    def stop(self) -> None:
        """Nothing moves any more, whatever the state."""
        self._ended = True
        self._wake()
        if not self._landed and self._error is None:
            self.fail(UpstreamTimeout("the proxy is shutting down"))

    def over(self) -> None:
        """Nobody can board any more: the writer is closed."""
        self._over = True

    def spill(self, written: int) -> None:
        self.released = written
        self.fail(Spilled())

    # what readers ask

    async def departed(self) -> None:
        """Wait until upstream has answered. Raises the `Refusal` it failed with."""
        while self._writer is None and not self._landed:
            await self._next()

    async def landed(self) -> None:
        while not self._landed:
            await self._next()

    async def ready(self, offset: int) -> int:
        """Wait until there is something to read at `offset`; the offset up to which there is.

        Raises the `Refusal` the flight failed with, and `Spilled` where the disk is full.
        """
        while self.released <= offset and not self._landed:
            await self._next()
        return self.released

    def board(self) -> "Boarding | None":
        """The growing file, once departed; `None` when it has landed. Raises the `Refusal` the flight failed with."""
        if self._error is not None and not isinstance(self._error, Spilled):
            raise self._error
        if self._writer is None or self._over:
            return None
        return Boarding(self, self._writer.reader().fd)

    async def _next(self) -> None:
        if self._error is not None:
            raise self._error
        await self._moved.wait()

    def _wake(self) -> None:
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()


class Boarding:
    """One reader's hold on a flight: the growing file, open. Whoever has it closes it."""

    def __init__(self, flight: Flight, fd: int) -> None:
        self.flight = flight
        self.file = OnDisk(fd, flight.size or 0)

    def close(self) -> None:
        os.close(self.file.fd)


class Flights:
    """The downloads under way, one per digest at most."""

    def __init__(self, spawn: Spawn, patience: float, most: float = math.inf) -> None:
        """`patience`: seconds after which somebody who waits for upstream's first byte is told so.

        containerd leaves a mirror that sends no header within 30 s for good.
        `most`: downloads under way beyond which no client starts another one.
        """
        self._spawn = spawn
        self._patience = patience
        self._most = most
        self._under_way: dict[Digest, Flight] = {}

    def __len__(self) -> int:
        return len(self._under_way)

    def __iter__(self) -> Any:
        return iter(list(self._under_way.values()))

    def get(self, digest: Digest) -> Flight | None:
        return self._under_way.get(digest)

    def join(
        self,
        kind: Kind,
        pinned: Pinned,
        fetch: Callable[[Flight], Coroutine[Any, Any, None]],
        urgency: Urgency = Urgency.CLIENT,
    ) -> Flight:
        """The flight of this digest; started with `fetch` where there is none. Raises `TooManyRequests`."""
        flight = self._under_way.get(pinned.digest)
        if flight is None:
            if urgency is Urgency.CLIENT and len(self._under_way) >= self._most:
                raise TooManyRequests("too many downloads are under way", retry_after=5)
            flight = self._under_way[pinned.digest] = Flight(kind, pinned)
            task = self._spawn(self._fly(flight, fetch), f"fetch {pinned}")
            task.add_done_callback(lambda _: self._ended(flight))
        flight.urgency = min(flight.urgency, urgency)
        return flight

    async def departed(self, flight: Flight) -> None:
        await self._patiently(flight.departed())

    async def landed(self, flight: Flight) -> None:
        await self._patiently(flight.landed())

    async def ended(self, flight: Flight) -> None:
        await self._patiently(flight.ended())

    async def _patiently(self, wait: Coroutine[Any, Any, None]) -> None:
        try:
            async with asyncio.timeout(self._patience):
                await wait
        except TimeoutError as error:
            message = "upstream is slow to answer; the download goes on, ask again"
            raise UpstreamTimeout(message, retry_after=5) from error
        except Spilled as error:
            raise Unavailable("the disk is full, and upstream does not say how long this is") from error

    async def _fly(self, flight: Flight, fetch: Callable[[Flight], Coroutine[Any, Any, None]]) -> None:
        try:
            await fetch(flight)
        except (Refusal, Spilled) as error:
            flight.fail(error)
        except StoreFull as error:
            flight.fail(Unavailable(f"the disk is full: {error}"))
        except Exception as error:
            flight.fail(error)
            raise
        finally:
            self._ended(flight)

    def _ended(self, flight: Flight) -> None:
        """Also called for a flight that was stopped before it began."""
        if self._under_way.get(flight.pinned.digest) is flight:
            del self._under_way[flight.pinned.digest]
        flight.stop()

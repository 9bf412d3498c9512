"""What the disk does not take passes by it: each reader fetches the rest for itself, so that no pull breaks."""

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import aclosing

from edgeproxy.cache.flights import HELD_BACK, Flight
from edgeproxy.cache.upstreams import Upstreams, more_telling
from edgeproxy.interfaces import Link, Urgency
from edgeproxy.metrics import Traffic
from edgeproxy.oci.digest import Hasher
from edgeproxy.oci.errors import DigestMismatch, RangeInvalid, Refusal, unknown
from edgeproxy.oci.reference import Pinned

_PIECE = 1024 * 1024


class Overflow:
    """Goes on where a flight has spilled."""

    def __init__(self, upstreams: Upstreams, traffic: Traffic, link: Link) -> None:
        self._upstreams = upstreams
        self._traffic = traffic
        self._link = link

    async def __call__(self, flight: Flight, fd: int, position: int) -> AsyncGenerator[bytes, None]:
        """The bytes from `position` on; `fd` has those before. The last piece comes once the digest is verified.

        Raises the `Refusal` of upstream, or `DigestMismatch`.
        """
        reached = flight.released
        hasher = await _hash(flight.pinned.digest.hasher(), fd, reached)
        held = b""
        async with aclosing(self._rest(flight.pinned, reached)) as rest:
            async for chunk in rest:
                await asyncio.to_thread(hasher.update, chunk)
                reached += len(chunk)
                held += chunk
                if len(held) > HELD_BACK:
                    piece, held = held[:-HELD_BACK], held[-HELD_BACK:]
                    yield _from(position, piece, reached - len(held))
        if not flight.pinned.digest.matches(hasher):
            raise DigestMismatch(f"what upstream sent is not {flight.pinned.digest}")
        yield _from(position, held, reached)

    async def _rest(self, pinned: Pinned, start: int) -> AsyncGenerator[bytes, None]:
        """Upstream after upstream, each from the byte reached."""
        refusal = unknown("blobs", pinned)
        for upstream in self._upstreams.of(pinned.repository):
            try:
                async with upstream.open("blobs", pinned, start) as body:
                    skip = start - body.start
                    async for chunk in body.chunks():
                        self._traffic.received(pinned.repository.registry, len(chunk))
                        await self._link.admit(upstream.name, len(chunk), Urgency.CLIENT)
                        fresh, skip = chunk[skip:], max(0, skip - len(chunk))
                        start += len(fresh)
                        yield fresh
                return
            except RangeInvalid as error:
                raise DigestMismatch(f"{upstream.name} has less of {pinned} than came before") from error
            except Refusal as error:
                refusal = more_telling(refusal, error)
        raise refusal


async def _hash(hasher: Hasher, fd: int, size: int) -> Hasher:
    for offset in range(0, size, _PIECE):
        piece = await asyncio.to_thread(os.pread, fd, min(_PIECE, size - offset), offset)
        await asyncio.to_thread(hasher.update, piece)
    return hasher


def _from(position: int, piece: bytes, end: int) -> bytes:
    """What of a piece that ends at byte `end` lies at `position` or behind it."""
    return piece[max(0, position - (end - len(piece))) :]

"""A client's body, as a test says it."""

import asyncio
from dataclasses import dataclass, field

from edgeproxy.oci.errors import Refusal


@dataclass
class Said:
    """Implements `cache.uploads.Body`: the pieces, and then its end, or what breaks it off."""

    pieces: list[bytes]
    length: int | None = None
    breaks: Refusal | None = None
    hold: asyncio.Event | None = None
    """Waited for before the end."""
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once the pieces are read."""

    async def read(self) -> bytes:
        if self.pieces:
            return self.pieces.pop(0)
        self.reached.set()
        if self.hold is not None:
            await self.hold.wait()
        if self.breaks is not None:
            raise self.breaks
        return b""


def said(*pieces: bytes) -> Said:
    """With its length, as most clients have it."""
    return Said(list(pieces), sum(map(len, pieces)))

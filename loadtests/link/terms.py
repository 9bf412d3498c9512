"""What a link is like, and what it has carried; both travel as JSON over the link's control port."""

from dataclasses import dataclass
from typing import Literal

_LARGEST_PIECE, _SMALLEST_PIECE = 256 * 1024, 4 * 1024
_PIECE_SECONDS = 0.002
_UNLIMITED = 1e9
"""Bytes per second that a link without a rate is taken to carry, where a bound is wanted."""
_LARGEST_ROOM = 64 * 1024 * 1024
_JITTER = 0.05
"""Seconds by which a busy machine may be late without the line running dry."""


@dataclass
class Terms:
    """May be changed while the link runs. Down is from the server to the client, the way of all faults but `cut`."""

    delay: float = 0.0
    """Seconds one way, in both directions; a connection takes two of them to be set up."""
    rate: float | None = None
    """Bytes per second down, of each connection."""
    total: float | None = None
    """Bytes per second down, of all connections together."""
    up: float | None = None
    """Bytes per second up, of each connection."""
    fault: Literal["fin", "rst", "stall"] | None = None
    """What befalls a connection: it is ended, or nothing more comes while it stays open."""
    every: int = 0
    """Bytes down between two faults."""
    counting: Literal["connection", "link"] = "connection"
    """Whose bytes `every` counts; those of the link strike the connection that carries the last of them."""
    times: int | None = None
    """After so many faults there are no more of them."""
    resets: int = 0
    """Of every so many requests, the first has its connection reset behind the header of the answer."""
    unavailable: int = 0
    """Of every so many requests, the first is answered with 503 by the link itself."""
    about: str = "/blobs/"
    """Only GET requests whose target contains this are counted for `resets` and `unavailable`."""
    lie: int | None = None
    """The byte of each body, counted from 0, in which a bit is wrong; only bodies of more than `LIED_ABOUT` bytes."""
    cut: int | None = None
    """After so many bytes up, counted from when this was said, all connections there are are reset, once."""

    def piece(self) -> int:
        """Bytes handled at once: few enough that a rate is smooth and connections take turns."""
        rates = [rate for rate in (self.rate, self.total, self.up) if rate is not None]
        return max(_SMALLEST_PIECE, min([_LARGEST_PIECE, *(int(rate * _PIECE_SECONDS) for rate in rates)]))

    def room(self) -> int:
        """Bytes that may be on their way down a connection: as many as keep it full."""
        return self._room(min(self.rate or _UNLIMITED, self.total or _UNLIMITED))

    def room_up(self) -> int:
        """The same for the way up; without a rate of its own as many as down."""
        return self._room(self.up) if self.up else self.room()

    def _room(self, rate: float) -> int:
        return min(_LARGEST_ROOM, int(min(_UNLIMITED, rate) * (self.delay + _JITTER)) + 2 * self.piece())


LIED_ABOUT = 1_000_000


@dataclass
class Counts:
    """Since the link began."""

    connections: int = 0
    requests: int = 0
    carried: int = 0
    """Bytes handed to clients, headers included."""
    heard: int = 0
    """Bytes that clients have put on the link, headers included, also those that were lost on it."""
    cut: int = 0
    """Connections that `cut` has reset while a request was under way on them."""
    faults: int = 0
    """Connections ended or stalled at their byte."""
    resets: int = 0
    unavailable: int = 0
    lies: int = 0

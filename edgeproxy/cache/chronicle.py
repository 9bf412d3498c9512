"""What happened to content lately, for operators who ask why it is here, or is not."""

from collections import OrderedDict
from collections.abc import Collection, Sequence
from typing import Literal, NamedTuple

from edgeproxy.interfaces import Clock
from edgeproxy.oci.digest import Digest

What = Literal["fetched", "evicted", "lapsed", "purged"]
_MOST = 20_000
"""Digests; those of which nothing was told for longest are forgotten."""
_EACH = 8
"""Events of one; the oldest are forgotten."""


class Event(NamedTuple):
    time: float
    """Seconds since the epoch."""
    what: What
    detail: str
    """From where, or what for."""


class Chronicle:
    """In memory: since the start."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._events: OrderedDict[Digest, tuple[Event, ...]] = OrderedDict()

    def note(self, digests: Collection[Digest], what: What, detail: str) -> None:
        event = Event(self._clock.now(), what, detail)
        for digest in digests:
            self._events[digest] = (*self._events.pop(digest, ()), event)[-_EACH:]
        while len(self._events) > _MOST:
            self._events.popitem(last=False)

    def of(self, digest: Digest) -> Sequence[Event]:
        """The oldest first."""
        return self._events.get(digest, ())

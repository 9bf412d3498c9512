"""The cache as people see it: by repository, and what would leave next. Made behind, while somebody looks."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from heapq import nlargest

from edgeproxy.cache.eviction import Room
from edgeproxy.interfaces import Clock, Held
from edgeproxy.oci.digest import Digest
from edgeproxy.store.catalog import Catalog
from edgeproxy.store.threads import in_thread

_LARGEST = 12
_LEAVING = 10
_LOOKED = 60.0
"""Seconds for which one look counts as looking."""
_UNNAMED = "a blob that no image needs"


@dataclass
class Share:
    """Of one repository. What several show counts for each of them."""

    bytes: int = 0
    images: int = 0
    """Tags."""
    used: float = 0.0


@dataclass(frozen=True, slots=True)
class Leaving:
    """What would leave, by its name; `held` has the bytes that would be free."""

    name: str
    held: Held


@dataclass(frozen=True, slots=True)
class Found:
    blobs: int = 0
    repositories: Sequence[tuple[str, Share]] = ()
    """The largest first."""
    others: Share = field(default_factory=Share)
    """All the rest; `images` is how many repositories these are."""
    leaving: Sequence[Leaving] = ()
    """The next first."""


class Survey:
    """Reads the whole catalogue in a thread, so only as often as its job steps and only while somebody looks."""

    def __init__(
        self, catalog: Catalog, clock: Clock, room: Callable[[], Room], judging: Executor | None = None
    ) -> None:
        """`judging`: the one thread that the policy is asked in."""
        self._judging = judging
        self._catalog = catalog
        self._clock = clock
        self._room = room
        self._found = Found()
        self._looked = float("-inf")

    def look(self) -> Found:
        """What was found the last time; the first look finds nothing yet."""
        self._looked = self._clock.now()
        return self._found

    async def step(self) -> None:
        if self._clock.now() - self._looked < _LOOKED:
            await self.renew()

    async def renew(self) -> None:
        leaving = await in_thread(self._judging, lambda: self._room().next_to_leave(_LEAVING))
        self._found = await asyncio.to_thread(self._survey, leaving)

    def _survey(self, leaving: Sequence[Held]) -> Found:
        held = self._held()
        shares, names = defaultdict[str, Share](Share), dict[Digest, str]()
        for tag, record in self._catalog.all_tags():
            digest = record.descriptor.digest
            if digest in held:
                shares[str(tag.repository)].images += 1
                names.setdefault(digest, str(tag))
        self._add_bytes(held, shares, names)
        largest = nlargest(_LARGEST, shares.items(), key=lambda item: item[1].bytes)
        rest = [share for name, share in shares.items() if name not in dict(largest)]
        named = [Leaving(names.get(each.digest, _UNNAMED), each) for each in leaving]
        return Found(len(held), largest, Share(sum(each.bytes for each in rest), len(rest)), named)

    def _held(self) -> dict[Digest, Held]:
        found, after = dict[Digest, Held](), ""
        while page := self._catalog.all_held(after):
            found.update((each.digest, each) for each in page)
            after = page[-1].digest
        return found

    def _add_bytes(self, held: Mapping[Digest, Held], shares: dict[str, Share], names: dict[Digest, str]) -> None:
        for key, _ in self._catalog.scan("link/"):
            _, text, _, repository = key.split("/", 3)
            blob = held.get(Digest(text))
            if blob is not None:
                share = shares[repository]
                share.bytes += blob.size
                share.used = max(share.used, blob.used)
                names.setdefault(blob.digest, f"{repository}@{blob.digest}")


def reason(leaving: Held, now: float) -> str:
    """Why this one, in words."""
    times = "once" if leaving.uses == 1 else f"{leaving.uses} times"
    return f"used {times}, last {_ago(max(0.0, now - leaving.used))}"


def _ago(seconds: float) -> str:
    for length, word in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {word} ago"
    return "a moment ago"

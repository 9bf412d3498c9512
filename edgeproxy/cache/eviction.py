"""What leaves so that the rest fits: the byte budget, the free-space reserve, and the choice between images.

An image is evicted as a whole, and a layer stays as long as a kept manifest needs it. Open descriptors keep evicted
blobs readable, so nothing has to wait for a transfer to end.
"""

import asyncio
import heapq
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial

from edgeproxy.cache.chronicle import Chronicle, What
from edgeproxy.cache.flights import Spawn
from edgeproxy.cache.retention import Retention
from edgeproxy.interfaces import Clock, Held, Policy, StoreFull
from edgeproxy.metrics import Traffic
from edgeproxy.oci.digest import Digest
from edgeproxy.store.catalog import Catalog
from edgeproxy.store.disk import DiskStore
from edgeproxy.store.pushed import Pushed
from edgeproxy.store.threads import in_thread

log = logging.getLogger(__name__)
HIGH, LOW = 0.99, 0.97
"""Shares of the budget: above the first something leaves, and then until the second."""
_COUNTED = 30.0
"""Seconds for which the count of what has to stay is good enough for those who ask how much more fits."""
_PARTIALS_KEPT = 7 * 86400.0
"""Seconds for which the beginning of a broken download is worth its disk space."""
_SAMPLED = 16
"""Of so many candidates one tells how worth is spread; and seldom more than one of so many leaves at once."""


Worths = Callable[[Sequence[Held]], Sequence[float]]
"""What each of them is worth, judged together: the higher, the longer it stays."""


def to_evict(held: Sequence[Held], excess: int, worths: Worths) -> list[Digest]:
    """The digests to delete so that at least `excess` bytes are freed, least worth first; fewer if all else is pinned.

    Candidates are images, that is manifests no other held manifest needs, and blobs no held manifest needs. With an
    image go all of its parts that nothing kept needs.
    """
    images = _Images(held)
    candidates = _ranked(list(map(images.whole, images.roots())), worths)
    heapq.heapify(candidates)
    chosen: list[Digest] = []
    freed = 0
    while freed < excess and candidates:
        _, root = heapq.heappop(candidates)
        for part in images.remove(root):
            chosen.append(part)
            freed += images.held[part].size
    return chosen


def to_evict_singly(held: Sequence[Held], excess: int, worths: Worths) -> list[Digest]:
    """As `to_evict`, each blob by itself: an image that stays may lack parts that are not worth their room."""
    candidates, freed = _unprotected(held), 0
    chosen = list[Digest]()
    for place in _rising(worths(candidates)):
        if freed >= excess:
            break
        chosen.append(candidates[place].digest)
        freed += candidates[place].size
    return chosen


def _rising(worth: Sequence[float]) -> Iterator[int]:
    """The places of the lowest first, of equals the first one: sorted only as far as they are asked for, about."""
    sample = sorted(worth[::_SAMPLED])
    bar = sample[len(sample) // _SAMPLED] if sample else 0.0
    yield from sorted([place for place, each in enumerate(worth) if each < bar], key=worth.__getitem__)
    yield from sorted([place for place, each in enumerate(worth) if each >= bar], key=worth.__getitem__)


def over_time(held: Sequence[Held], over: Callable[[Sequence[Held]], Sequence[Digest]]) -> list[Digest]:
    """The images that are chosen by `over`, with what only they need; it is asked about all that are not pinned."""
    images = _Images(held)
    return [part for root in over(list(map(images.whole, images.roots()))) for part in images.remove(root)]


def next_to_leave(held: Sequence[Held], count: int, worths: Worths, *, singly: bool = False) -> list[Held]:
    """What would go, in its order: images, and blobs that no image needs, each with the bytes it takes alone."""
    images = _Images(held)
    candidates = _unprotected(held) if singly else list(map(images.whole, images.roots()))
    by_digest = {each.digest: each for each in candidates}
    return [by_digest[digest] for _, digest in heapq.nsmallest(count, _ranked(candidates, worths))]


def _ranked(candidates: Sequence[Held], worths: Worths) -> list[tuple[float, Digest]]:
    return [(worth, each.digest) for worth, each in zip(worths(candidates), candidates, strict=True)]


def staying(held: Sequence[Held]) -> int:
    """Bytes of what may not be evicted."""
    return _Images(held).staying()


def _unprotected(held: Sequence[Held]) -> Sequence[Held]:
    """What may leave by itself: the graph is looked at only where something is pinned."""
    pinned = [blob.digest for blob in held if blob.pinned]
    if not pinned:
        return held
    protected = _closure({blob.digest: blob for blob in held}, pinned)
    return [blob for blob in held if blob.digest not in protected]


class _Images:
    """The held blobs as a graph: who needs whom."""

    def __init__(self, held: Sequence[Held]) -> None:
        self.held = {blob.digest: blob for blob in held}
        self._needed_by = Counter(need for blob in held if blob.needs for need in set(blob.needs) & self.held.keys())
        self._protected = _closure(self.held, [blob.digest for blob in held if blob.pinned])

    def staying(self) -> int:
        return sum(self.held[digest].size for digest in self._protected)

    def roots(self) -> Iterator[Digest]:
        return (digest for digest in self.held if not self._needed_by[digest] and digest not in self._protected)

    def whole(self, root: Digest) -> Held:
        """The image as one: what it takes alone, and when any of its manifests was used last."""
        blob = self.held[root]
        if not blob.needs:
            return blob
        parts = [self.held[part] for part in _closure(self.held, [root])]
        own = sum(part.size for part in parts if self._needed_by[part.digest] <= 1)
        manifests = [part for part in parts if part.needs]
        return replace(blob, size=own, used=max(m.used for m in manifests), uses=max(m.uses for m in manifests))

    def remove(self, root: Digest) -> Iterator[Digest]:
        """The root, and with it every part that nothing needs any more."""
        leaving = [root]
        while leaving:
            digest = leaving.pop()
            yield digest
            for need in set(self.held[digest].needs) & self.held.keys():
                self._needed_by[need] -= 1
                if not self._needed_by[need] and need not in self._protected:
                    leaving.append(need)


def _closure(held: Mapping[Digest, Held], roots: Iterable[Digest]) -> set[Digest]:
    """These and all they need, as far as it is held."""
    found: set[Digest] = set()
    pending = list(roots)
    while pending:
        digest = pending.pop()
        if digest not in found and digest in held:
            found.add(digest)
            pending.extend(held[digest].needs)
    return found


def _unlinked(held: Sequence[Held], chosen: Collection[Digest]) -> set[Digest]:
    """What leaves, and what only that needed."""
    leaving = set(chosen)
    gone = leaving.union(*(blob.needs for blob in held if blob.needs and blob.digest in leaving))
    for blob in held:
        if blob.digest not in leaving:
            gone.discard(blob.digest)
            gone.difference_update(blob.needs)
    return gone


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes: of blobs held at most, and of the disk left free always."""

    budget: int
    reserve: int


class Room:
    """Holds the store within its limits."""

    def __init__(
        self,
        limits: Limits,
        store: DiskStore,
        catalog: Catalog,
        policy: Policy,
        retention: Retention,
        clock: Clock,
        spawn: Spawn,
        traffic: Traffic,
        chronicle: Chronicle,
        judging: Executor | None = None,
        inform: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """`judging`: the one thread that the policy and the retention are asked in; `inform` tells it what is new."""
        self._retention = retention
        self._chronicle = chronicle
        self._judging = judging
        self._inform = inform
        self.limits = limits
        self._store = store
        self._catalog = catalog
        self._pushed = Pushed(catalog)
        self._policy = policy
        self._clock = clock
        self._spawn = spawn
        self._traffic = traffic
        self._promised = 0
        self._evicting: asyncio.Future[int] | None = None
        self._staying = 0
        self._stayed = float("-inf")
        """When that was counted."""

    def used(self) -> int:
        """Bytes of blobs, of broken downloads that are kept to be resumed, and of uploads that are open."""
        partials = sum(stat.st_size for _, stat in self._store.idle_partials())
        return self._catalog.total() + partials + self._store.uploads.size()

    async def spare(self) -> int:
        """Bytes that could be kept if all went that may go: within the budget and on the disk, whichever is less."""
        now = self._clock.now()
        if not 0 <= now - self._stayed < _COUNTED:
            self._staying = staying(await asyncio.to_thread(self._held, now))
            self._stayed = now
        free, _ = self._store.free()
        within = self.limits.budget - self._staying - self._store.uploads.size()
        evictable = max(0, self._catalog.total() - self._staying)
        return max(0, min(within, free - self.limits.reserve + evictable) - self._promised)

    @property
    def begins_at(self) -> int:
        """Bytes of blobs beyond which something leaves."""
        return int(self.limits.budget * HIGH)

    def next_to_leave(self, count: int) -> list[Held]:
        """For the policy's thread: with many blobs it takes its time."""
        now, policy = self._clock.now(), self._policy
        return next_to_leave(self._held(now), count, lambda held: policy.worths(held, now), singly=policy.singly)

    async def remove(self, roots: Collection[Digest], *, dry: bool) -> int:
        """Bytes freed by these images, with what only they need; what is kept stays. `dry`: only say how many."""
        chosen, size, unlinked = await in_thread(self._judging, partial(self._parts_of, roots))
        if dry:
            return size
        return await self._delete(chosen, unlinked, "purged", "an operator wanted it gone")

    def _parts_of(self, roots: Collection[Digest]) -> tuple[list[Digest], int, set[Digest]]:
        held = self._held(self._clock.now())
        images = _Images(held)
        chosen = [part for root in set(images.roots()) & set(roots) for part in images.remove(root)]
        return chosen, sum(images.held[part].size for part in chosen), _unlinked(held, chosen)

    async def stays(self, digest: Digest) -> float:
        """Seconds after it was last asked for until an image goes, however much room there is."""
        return await in_thread(self._judging, partial(self._retention.ttl, digest))

    async def lapse(self) -> None:
        """Let go the images whose time is over, however much room there is."""
        if not self._retention.lets_go:
            return
        chosen, unlinked = await in_thread(self._judging, self._lapsed)
        if chosen:
            freed = await self._delete(chosen, unlinked, "lapsed", "nobody had asked for it for as long as it stays")
            self._traffic.lapsed += len(chosen)
            log.info("let go %d blobs that nobody asked for, %d bytes freed", len(chosen), freed)

    def _lapsed(self) -> tuple[list[Digest], set[Digest]]:
        now = self._clock.now()
        held = self._held(now)
        chosen = over_time(held, lambda images: self._retention.over(images, now))
        return chosen, _unlinked(held, chosen)

    async def _delete(self, chosen: Sequence[Digest], unlinked: Collection[Digest], what: What, why: str) -> int:
        """Bytes freed."""
        freed = await self._store.delete(chosen)
        await self._catalog.forget_links(unlinked)
        self._chronicle.note(chosen, what, why)
        return freed

    def expect(self, size: int) -> None:
        """A download of `size` bytes begins: make room behind it, so that it need not wait at its end."""
        if size <= self.limits.budget and self._excess(size, HIGH) > 0:
            self._spawn(self._behind(size), "make room")

    @asynccontextmanager
    async def kept(self, size: int) -> AsyncIterator[None]:
        """Room for `size` bytes that are to be kept, for as long as the block runs.

        Raises `StoreFull` where they do not fit even after everything that may go has gone.
        """
        self._promised += size
        try:
            while (excess := self._excess(0, 1.0)) > 0:
                if size > self.limits.budget or not await self._evict(max(excess, self._excess(0, LOW))):
                    raise StoreFull(f"no room for {size} bytes within {self.limits.budget}")
            yield
        finally:
            self._promised -= size

    async def caught_up(self) -> None:
        """Wait while room is being made for what has come: what is on its way stays little, however fast that is."""
        if self._promised and self._evicting is not None and not self._evicting.done() and self._excess(0, 1.0) > 0:
            await asyncio.wait([self._evicting])

    async def free_disk(self, size: int) -> None:
        """The disk refused `size` bytes: free at least as many. Raises `StoreFull` where nothing may go."""
        if not await self._evict(max(size, self._excess(0, LOW))):
            raise StoreFull("the disk is full, and nothing here may be evicted")

    async def tidy(self) -> None:
        """Back below the marks; and broken downloads nobody came back for leave."""
        await self._store.drop_idle_partials(0, keep_since=self._clock.now() - _PARTIALS_KEPT)
        await self._behind(0)

    async def close(self) -> None:
        """What was on its way stays to be resumed, as far as the budget has room for it."""
        await self._store.drop_idle_partials(max(0, self._excess(0, 1.0)))

    async def _behind(self, size: int) -> None:
        if self._excess(size, HIGH) > 0:
            await self._evict(self._excess(size, LOW))

    def _excess(self, expected: int, mark: float) -> int:
        free, _ = self._store.free()
        over = self.used() + self._promised + expected - int(self.limits.budget * mark)
        return max(over, self.limits.reserve + expected - free)

    async def _evict(self, excess: int) -> int:
        """Bytes freed. Who asks while an eviction is under way shares it."""
        if self._evicting is None or self._evicting.done():
            self._evicting = freed = asyncio.get_running_loop().create_future()
            freed.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may be waiting
            self._spawn(self._evict_into(freed, excess), "evict").add_done_callback(lambda _: freed.cancel())
        return await asyncio.shield(self._evicting)

    async def _evict_into(self, freed: asyncio.Future[int], excess: int) -> None:
        try:
            freed.set_result(await self._evict_now(excess))
        except Exception as error:
            freed.set_exception(error)
            raise

    async def _evict_now(self, excess: int) -> int:
        freed = await self._store.drop_idle_partials(excess)
        if freed >= excess:
            return freed
        if self._inform is not None:
            await self._inform()
        chosen, unlinked = await in_thread(self._judging, partial(self._choose, excess - freed))
        why = f"{excess} bytes were needed, and this was worth least"
        freed += await self._delete(chosen, unlinked, "evicted", why)
        self._traffic.evictions += len(chosen)
        if chosen:
            log.info("evicted %d blobs, %d bytes freed, to make room for %d", len(chosen), freed, excess)
        return freed

    def _choose(self, excess: int) -> tuple[list[Digest], set[Digest]]:
        """What to delete, and which links go with it: those of what leaves, and of what only that needed."""
        now = self._clock.now()
        held = self._held(now)
        choose = to_evict_singly if self._policy.singly else to_evict
        chosen = choose(held, excess, lambda some: self._policy.worths(some, now))
        return chosen, _unlinked(held, chosen)

    def _held(self, now: float) -> list[Held]:
        """All blobs; those that wait for their manifest, and what has to stay by its rule, count as pinned."""
        held: list[Held] = []
        while page := self._catalog.all_held(held[-1].digest if held else ""):
            held.extend(page)
        kept = self._pushed.kept(now) | self._retention.kept(held, now)
        return [replace(blob, pinned=blob.pinned or blob.digest in kept) for blob in held] if kept else held

"""Brings what is likely to be asked for, and looks at upstream for it: what nobody waits for, when nobody waits."""

import logging
from collections.abc import Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Protocol

from edgeproxy.cache.flights import Spawn
from edgeproxy.cache.prefetch import Choice
from edgeproxy.foreseen import Foresight, Look, Wish
from edgeproxy.interfaces import Clock
from edgeproxy.oci.errors import Refusal
from edgeproxy.oci.manifest import Descriptor
from edgeproxy.oci.reference import Reference
from edgeproxy.store.threads import in_thread

log = logging.getLogger(__name__)
_ROUND = 15.0
"""Seconds between two rounds of looks."""
_WAITING = 1000
"""Wishes that are still to be fulfilled at most: the oldest goes first."""


class Source(Protocol):
    """The cache, as far as it is brought ahead."""

    async def look(self, look: Look) -> None:
        """See what upstream has, where it may be bothered: the policy is told. Raises upstream's `Refusal`."""
        ...

    async def fulfil(self, wish: Wish, choice: Choice) -> None:
        """Bring what is chosen of it. Raises upstream's `Refusal`."""
        ...


class Foresee:
    def __init__(self, foresight: Foresight, judging: Executor, clock: Clock, spawn: Spawn, looks: int) -> None:
        """`judging`: the thread that `foresight` is asked in; `looks`: requests a minute that upstreams are asked."""
        self._foresight = foresight
        self._judging = judging
        self._clock = clock
        self._spawn = spawn
        self._looks = looks
        self._looked = clock.now()
        self._waiting: dict[Reference, tuple[Wish, float]] = {}
        """With when each is too late."""
        self._is_bringing = self.is_looking = False
        self.source: Source | None = None

    async def step(self) -> None:
        """Called every second or so."""
        now = self._clock.now()
        if now - self._looked >= _ROUND and not self.is_looking:
            most, self._looked = round(self._looks * min(60.0, now - self._looked) / 60.0), now
            looks = await in_thread(self._judging, partial(self._foresight.due, now, most)) if most else ()
            if looks:
                self.is_looking = True
                self._spawn(self._look_at(looks), "look for releases").add_done_callback(lambda _: self._have_looked())
        for wish in await in_thread(self._judging, partial(self._foresight.wishes, now)):
            self._wait(wish, now)
        if self._waiting and not self._is_bringing:
            self._is_bringing = True
            self._spawn(self._bring_all(), "bring ahead").add_done_callback(lambda _: self._have_brought())

    def _wait(self, wish: Wish, now: float) -> None:
        self._waiting.pop(wish.reference, None)
        if len(self._waiting) >= _WAITING:
            del self._waiting[next(iter(self._waiting))]
        self._waiting[wish.reference] = wish, now + wish.within

    def _have_looked(self) -> None:
        self.is_looking = False

    def _have_brought(self) -> None:
        self._is_bringing = False

    async def _look_at(self, looks: Sequence[Look]) -> None:
        assert self.source is not None
        for look in looks:
            try:
                await self.source.look(look)
            except Refusal as refusal:
                log.debug("what follows %s is not known: %s", look.tag, refusal.message)

    async def _bring_all(self) -> None:
        """The likeliest first, one after another."""
        while self._waiting:
            reference = max(self._waiting, key=lambda each: self._waiting[each][0].chance)
            wish, until = self._waiting.pop(reference)
            if self._clock.now() < until:
                await self._bring(wish)

    async def _bring(self, wish: Wish) -> None:
        assert self.source is not None
        log.debug("bring ahead %s: %.0f %% likely", wish.reference, 100 * wish.chance)
        try:
            await self.source.fulfil(wish, _Wished(wish, self._foresight, self._judging, self._clock))
        except Refusal as refusal:
            log.info("%s is not brought ahead: %s", wish.reference, refusal.message)


class _Wished:
    """Implements `cache.prefetch.Choice`."""

    def __init__(self, wish: Wish, foresight: Foresight, judging: Executor, clock: Clock) -> None:
        self._wish = wish
        self._foresight = foresight
        self._judging = judging
        self._clock = clock

    async def choose(self, lacking: Sequence[Descriptor]) -> Sequence[Descriptor]:
        now = self._clock.now()
        return await in_thread(self._judging, lambda: self._foresight.choose(self._wish, lacking, now))

    def came(self, blob: Descriptor) -> None:
        self._judging.submit(self._foresight.brought, blob, self._wish, self._clock.now())

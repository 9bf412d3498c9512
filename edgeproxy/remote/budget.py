"""The link's budget: bytes from upstreams wait here for their turn."""

import asyncio
from collections.abc import Callable, Mapping
from math import inf

from edgeproxy.interfaces import Clock, Urgency
from edgeproxy.metrics import Traffic
from edgeproxy.remote.turns import Line, Turns, Waiter
from edgeproxy.remote.windows import Terms, second_of_day
from edgeproxy.remote.yielding import Yielding

_CLIENT = Urgency.CLIENT  # looked up once: a member costs as much as the rest of the way
_NAMES = tuple(urgency.name.lower() for urgency in Urgency)
_BACKGROUND_BURST = 0.25
"""Seconds' worth of what background traffic may take at once."""
_LINES = tuple[Line, ...]


class Budget:
    """Implements `interfaces.Link`."""

    def __init__(
        self,
        site: Terms,
        upstreams: Mapping[str, Terms],
        clock: Clock,
        traffic: Traffic,
        local: Callable[[float], int] = second_of_day,
    ) -> None:
        """`upstreams` by name; who is not in it shares only the site's line."""
        now = clock.now()
        self._clock = clock
        self._traffic = traffic
        self._site = Line(site, now, local)
        self._upstreams = {name: Line(terms, now, local) for name, terms in upstreams.items() if terms.bind}
        self._background = Line(Terms(), now, local)
        self._shared = (self._site,) if site.bind else ()
        self._turns = Turns()
        self._yielding = Yielding(now)
        self._leader: Waiter | None = None
        """The one of those who wait that looks at the clock for all."""

    @property
    def rate(self) -> float:
        """Bytes per second that the site may take now; infinite without a bound."""
        self._site.advance(self._clock.now())
        return inf if self._site.rate is None else self._site.rate

    @property
    def background_rate(self) -> float:
        """Bytes per second that the clients leave to background traffic; infinite without a bound."""
        return self._yielding.limit

    async def admit(self, upstream: str, size: int, urgency: Urgency) -> None:
        now = self._clock.now()
        lines = self._lines(upstream, urgency, now)
        if lines and not self._turns.passes(lines, size, urgency, now):
            await self._wait(lines, size, urgency, now)
            now = self._clock.now()
        self._traffic.admitted[_NAMES[urgency]] += size
        if urgency is _CLIENT:
            self._yielding.to_client(upstream, size, now)
        else:
            self._yielding.to_background(size, now)

    def began(self, upstream: str, seconds: float, urgency: Urgency) -> None:
        if urgency is _CLIENT:
            self._yielding.began(upstream, seconds, self._clock.now())

    def _lines(self, upstream: str, urgency: Urgency, now: float) -> _LINES:
        own = self._upstreams.get(upstream) if self._upstreams else None
        lines = self._shared if own is None else (own, *self._shared)
        if urgency is _CLIENT:
            return lines
        self._bind_background(now)
        return (self._background, *lines)

    def _bind_background(self, now: float) -> None:
        if self._yielding.is_due(now):
            self._yielding.look(now)
        limit = self._yielding.limit
        if limit == inf:
            self._background.rate = None
        elif limit != self._background.rate:
            self._background.advance(now)
            self._background.bind(limit, limit * _BACKGROUND_BURST)

    async def _wait(self, lines: _LINES, size: int, urgency: Urgency, began: float) -> None:
        """One of those who wait leads: it sleeps and lets all pass whose turn has come. When it goes, another does."""
        woken = asyncio.Event()
        waiter = Waiter(lines, size, urgency, woken.set)
        self._turns.add(waiter)
        try:
            seconds = self._serve()
            while not waiter.admitted:
                if self._leader is None:
                    self._leader = waiter
                if self._leader is waiter:
                    await self._clock.sleep(seconds)
                    seconds = self._serve()
                else:
                    await woken.wait()
                    woken.clear()
        finally:
            self._leave(waiter)
            self._traffic.waited_for_link[_NAMES[urgency]] += max(0.0, self._clock.now() - began)

    def _serve(self) -> float:
        now = self._clock.now()
        self._bind_background(now)
        return self._turns.serve(now)

    def _leave(self, waiter: Waiter) -> None:
        if not waiter.admitted:
            self._turns.remove(waiter)
        if self._leader is waiter:
            self._leader = None
            following = self._turns.any()
            if following is not None:
                following.wake()

"""A clock that moves when a test says so."""

import asyncio
from dataclasses import dataclass, field


@dataclass
class ManualClock:
    """Implements `interfaces.Clock`."""

    time: float = 1_700_000_000.0
    rushes: bool = False
    """Whether a sleep moves the clock to its own end instead of waiting for a test to."""
    naps: list[float] = field(default_factory=list)
    """The seconds of every sleep so far."""
    _sleepers: list[tuple[float, asyncio.Event]] = field(default_factory=list)
    _lay_down: asyncio.Event = field(default_factory=asyncio.Event)

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        if self.rushes or seconds <= 0:
            self.advance(max(0.0, seconds))
            await asyncio.sleep(0)
            return
        sleeper = (self.time + seconds, asyncio.Event())
        self._sleepers.append(sleeper)
        self._lay_down.set()
        try:
            await sleeper[1].wait()
        finally:
            self._sleepers.remove(sleeper)

    def advance(self, seconds: float) -> None:
        """Move on, and wake whoever's time has come."""
        self.time += seconds
        for until, event in self._sleepers:
            if until <= self.time:
                event.set()

    @property
    def sleeping(self) -> int:
        """How many sleep and have not been woken."""
        return sum(not event.is_set() for _, event in self._sleepers)

    async def asleep(self, count: int = 1) -> None:
        """Wait until `count` sleep."""
        while self.sleeping < count:
            self._lay_down.clear()
            await self._lay_down.wait()

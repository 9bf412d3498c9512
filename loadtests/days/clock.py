"""A clock that is moved from outside: weeks pass as fast as they are asked for."""

import asyncio
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any


class SteppedClock:
    """Implements `interfaces.Clock`. Time stands still but for `move` and `wake`."""

    def __init__(self, begin: float, patient: Mapping[str, float] = MappingProxyType({})) -> None:
        """`begin`: seconds since the epoch. `patient`: tasks, by their names, that sleep so many times as long."""
        self._now = begin
        self._patient = patient
        self._sleeping: dict[asyncio.Future[None], float] = {}
        self._awake: set[asyncio.Task[Any]] = set()
        """Who was woken and has neither lain down again nor ended."""
        self._rested = asyncio.Event()

    def now(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        task, woken = asyncio.current_task(), asyncio.get_running_loop().create_future()
        assert task is not None
        self._rests(task)
        self._sleeping[woken] = self._now + seconds * self._patient.get(task.get_name(), 1.0)
        try:
            await woken
        finally:
            del self._sleeping[woken]
        self._awake.add(task)
        task.add_done_callback(self._rests)

    def move(self, to: float) -> None:
        """It is that late now; nobody is woken."""
        self._now = max(self._now, to)

    async def wake(self) -> None:
        """Wake whose time has come; returns when they sleep again, however long that takes them."""
        for woken, until in list(self._sleeping.items()):
            if until <= self._now and not woken.done():
                woken.set_result(None)
        await asyncio.sleep(0)
        while self._awake:
            self._rested.clear()
            await self._rested.wait()

    def _rests(self, task: asyncio.Task[Any]) -> None:
        self._awake.discard(task)
        self._rested.set()
        task.remove_done_callback(self._rests)

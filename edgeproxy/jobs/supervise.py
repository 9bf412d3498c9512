"""Who owns the tasks: one group in the daemon, and the loop that every job shares."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from edgeproxy.interfaces import Clock
from edgeproxy.metrics import Traffic

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Job:
    """Work that is repeated: `step` every `every` seconds, the first time after `delay`."""

    name: str
    step: Callable[[], Awaitable[None]]
    every: float
    delay: float = 0.0


class Supervisor:
    """Starts tasks; one that fails is logged and counted, and takes nothing else down."""

    def __init__(self, group: asyncio.TaskGroup, clock: Clock, traffic: Traffic) -> None:
        self._group = group
        self._clock = clock
        self._traffic = traffic
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = self._group.create_task(self._watched(work, name), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: work.close())  # a task that is cancelled before it begins never runs it
        return task

    def start(self, job: Job) -> None:
        self.spawn(self._repeat(job), job.name)

    def stop(self) -> None:
        for task in list(self._tasks):
            task.cancel()

    async def _watched(self, work: Coroutine[Any, Any, None], name: str) -> None:
        try:
            await work
        except Exception:
            self._traffic.failed_tasks += 1
            log.exception("%s failed", name)

    async def _repeat(self, job: Job) -> None:
        await self._clock.sleep(job.delay)
        while True:
            await self._watched(_run(job), job.name)
            await self._clock.sleep(job.every)


async def _run(job: Job) -> None:
    await job.step()

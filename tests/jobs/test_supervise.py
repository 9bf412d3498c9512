import asyncio
import gc
import logging
from collections.abc import Awaitable, Callable

import pytest

from edgeproxy.jobs.supervise import Job, Supervisor
from edgeproxy.metrics import Traffic
from tests.fakes.clock import ManualClock


class Steps:
    """A job's step that counts, and fails or waits where it is told to."""

    def __init__(self, fails: Callable[[int], bool] = lambda number: False) -> None:
        self.taken = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.entered = asyncio.Event()
        self._fails = fails

    async def step(self) -> None:
        self.taken += 1
        self.entered.set()
        await self.gate.wait()
        if self._fails(self.taken):
            raise ZeroDivisionError


async def under(
    test: Callable[[Supervisor, ManualClock], Awaitable[None]], *, failed: int = 0, stops: bool = True
) -> None:
    """Run with a supervisor; at the end everything it owns has ended."""
    clock, traffic = ManualClock(), Traffic()
    async with asyncio.TaskGroup() as group:
        supervisor = Supervisor(group, clock, traffic)
        await test(supervisor, clock)
        if stops:
            supervisor.stop()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert traffic.failed_tasks == failed


async def test_a_task_has_its_name_and_its_owner() -> None:
    async def test(supervisor: Supervisor, clock: ManualClock) -> None:
        steps = Steps()
        supervisor.spawn(steps.step(), "some work")
        assert "some work" in {task.get_name() for task in asyncio.all_tasks()}
        await steps.entered.wait()

    await under(test, stops=False)


async def test_a_task_that_fails_is_counted_logged_and_alone(caplog: pytest.LogCaptureFixture) -> None:
    async def test(supervisor: Supervisor, clock: ManualClock) -> None:
        bad, good = Steps(lambda number: True), Steps()
        good.gate.clear()
        supervisor.spawn(good.step(), "good")
        await asyncio.wait([supervisor.spawn(bad.step(), "bad")])
        good.gate.set()

    with caplog.at_level(logging.ERROR):
        await under(test, failed=1, stops=False)
    assert [record.message for record in caplog.records] == ["bad failed"]
    assert caplog.records[0].exc_info


async def test_a_job_begins_after_its_delay_and_repeats() -> None:
    async def test(supervisor: Supervisor, clock: ManualClock) -> None:
        steps = Steps()
        supervisor.start(Job("job", steps.step, every=10.0, delay=3.0))
        await clock.asleep()
        clock.advance(2.9)
        assert (steps.taken, clock.sleeping) == (0, 1)
        for taken, seconds in ((1, 0.1), (2, 10.0), (3, 10.0)):
            clock.advance(seconds)
            await clock.asleep()
            assert steps.taken == taken
        clock.advance(9.9)
        assert (steps.taken, clock.sleeping) == (3, 1)
        assert clock.naps == [3.0, 10.0, 10.0, 10.0]

    await under(test)


async def test_a_job_that_fails_is_counted_and_repeats() -> None:
    async def test(supervisor: Supervisor, clock: ManualClock) -> None:
        steps = Steps(lambda number: number in (1, 3))
        supervisor.start(Job("job", steps.step, every=10.0, delay=1.0))
        for taken in range(5):
            await clock.asleep()
            assert steps.taken == taken
            clock.advance(10.0)
        await clock.asleep()

    await under(test, failed=2)


async def test_a_long_step_is_not_overtaken_by_the_next() -> None:
    async def test(supervisor: Supervisor, clock: ManualClock) -> None:
        steps = Steps()
        steps.gate.clear()
        supervisor.start(Job("job", steps.step, every=1.0, delay=1.0))
        await clock.asleep()
        clock.advance(1.0)
        await steps.entered.wait()
        clock.advance(100.0)
        assert (steps.taken, clock.sleeping) == (1, 0)
        steps.gate.set()
        await clock.asleep()
        assert steps.taken == 1

    await under(test)


async def test_one_job_s_failure_is_not_another_s() -> None:
    async def test(supervisor: Supervisor, clock: ManualClock) -> None:
        bad, good = Steps(lambda number: True), Steps()
        for steps in (bad, good):
            supervisor.start(Job("job", steps.step, every=1.0, delay=1.0))
        for taken in range(4):
            await clock.asleep(2)
            assert bad.taken == good.taken == taken
            clock.advance(1.0)
        await clock.asleep(2)

    await under(test, failed=4)


async def test_stopping_ends_jobs_between_and_within_their_steps() -> None:
    async def test(supervisor: Supervisor, clock: ManualClock) -> None:
        within, between = Steps(), Steps()
        within.gate.clear()
        supervisor.start(Job("within", within.step, every=1.0, delay=1.0))
        supervisor.start(Job("between", between.step, every=1.0, delay=2.0))
        await clock.asleep(2)
        clock.advance(1.0)
        await within.entered.wait()

    await under(test)


async def test_stopping_what_has_not_begun_leaves_nothing_unawaited() -> None:
    async def test(supervisor: Supervisor, clock: ManualClock) -> None:
        steps = Steps()
        supervisor.spawn(steps.step(), "work")
        supervisor.start(Job("job", steps.step, every=1.0))

    await under(test)
    gc.collect()  # a coroutine that was never awaited says so now

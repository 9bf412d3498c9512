"""What `interfaces.Clock` promises, asked of the manual clock and of the real one."""

import asyncio

import pytest

from edgeproxy.clock import SystemClock
from edgeproxy.interfaces import Clock
from tests.fakes.clock import ManualClock


@pytest.fixture(params=[SystemClock, lambda: ManualClock(rushes=True)], ids=["real", "manual"])
def clock(request: pytest.FixtureRequest) -> Clock:
    made: Clock = request.param()
    return made


@pytest.mark.parametrize("seconds", [-1.0, 0.0, 0.001])
async def test_a_sleep_ends(clock: Clock, seconds: float) -> None:
    await clock.sleep(seconds)


async def test_a_rushing_clock_moves_by_what_is_slept() -> None:
    clock = ManualClock(rushes=True)
    before = clock.now()
    await clock.sleep(90.0)
    await clock.sleep(-1.0)
    assert clock.now() == before + 90.0
    assert clock.naps == [90.0, -1.0]


async def test_others_run_while_one_sleeps(clock: Clock) -> None:
    ran = asyncio.Event()
    other = asyncio.create_task(_set(ran))
    await clock.sleep(0.001)
    assert ran.is_set()
    await other


@pytest.mark.parametrize("make", [SystemClock, ManualClock])
async def test_a_sleeper_may_be_cancelled(make: type[SystemClock] | type[ManualClock]) -> None:
    sleeper = asyncio.create_task(make().sleep(3600))
    await asyncio.sleep(0)
    sleeper.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sleeper


async def test_advancing_wakes_those_whose_time_has_come() -> None:
    clock = ManualClock()
    short, long = asyncio.create_task(clock.sleep(5)), asyncio.create_task(clock.sleep(6))
    await clock.asleep(2)
    clock.advance(4.9)
    assert clock.sleeping == 2
    clock.advance(0.1)
    await short
    assert not long.done()
    assert clock.sleeping == 1
    clock.advance(1)
    await long


async def _set(event: asyncio.Event) -> None:
    event.set()

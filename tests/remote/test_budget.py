"""The waiting itself: what passes at once, who is woken, and who leaves."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from math import inf

import pytest

from edgeproxy.interfaces import Link, Urgency
from edgeproxy.metrics import Traffic
from edgeproxy.remote.budget import Budget
from edgeproxy.remote.windows import Terms, Window
from tests.fakes.clock import ManualClock

MB = 10**6
CLIENT, REPLICATION, PREFETCH = Urgency


def budget(clock: ManualClock, rate: int | None = None, burst: int | None = None, **upstreams: Terms) -> Budget:
    return Budget(Terms(rate, burst), upstreams, clock, Traffic(), lambda now: 0)


def passes_at_once(waiting: Coroutine[None, None, None]) -> bool:
    try:
        waiting.send(None)
    except StopIteration:
        return True
    waiting.close()
    return False


@asynccontextmanager
async def waiting(link: Link, *asked: tuple[Urgency, int]) -> AsyncIterator[list["asyncio.Task[None]"]]:
    """Tasks that wait, in this order; whatever is left of them is cancelled."""
    tasks = [asyncio.create_task(link.admit("hub", size, urgency)) for urgency, size in asked]
    await settle()
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def advance(clock: ManualClock, seconds: float) -> None:
    for _ in range(round(seconds / 0.01)):
        clock.advance(0.01)
        await settle()


@pytest.mark.parametrize("urgency", Urgency)
async def test_without_a_budget_all_passes_without_a_task_switch(urgency: Urgency) -> None:
    link = budget(ManualClock())
    assert all(passes_at_once(link.admit("hub", 100 * MB, urgency)) for _ in range(100))
    assert link.rate == inf


async def test_what_the_burst_covers_passes_without_a_task_switch() -> None:
    link = budget(ManualClock(), MB, MB)
    assert passes_at_once(link.admit("hub", MB // 2, CLIENT))
    assert passes_at_once(link.admit("hub", MB // 2, CLIENT))
    assert not passes_at_once(link.admit("hub", 1, CLIENT))


async def test_what_is_more_waits_for_its_time() -> None:
    clock = ManualClock()
    link = budget(clock, MB, MB)
    await link.admit("hub", MB, CLIENT)
    async with waiting(link, (CLIENT, MB // 2)) as (task,):
        await advance(clock, 0.45)
        assert not task.done()
        await advance(clock, 0.1)
        assert task.done()


async def test_the_more_urgent_overtakes_and_equals_keep_their_order() -> None:
    clock = ManualClock()
    link = budget(clock, MB, MB)
    await link.admit("hub", MB, CLIENT)
    asked = [(PREFETCH, 10**5), (REPLICATION, 10**5), (CLIENT, 10**5), (CLIENT, 10**5)]
    async with waiting(link, *asked) as (prefetch, replication, first, second):
        done = []
        for _ in range(800):
            await advance(clock, 0.01)
            done += [each for each in (prefetch, replication, first, second) if each.done() and each not in done]
        assert done == [first, second, replication, prefetch]


async def test_an_upstream_has_a_bound_of_its_own() -> None:
    clock = ManualClock()
    link = budget(clock, hub=Terms(MB, MB))
    await link.admit("hub", MB, CLIENT)
    async with waiting(link, (CLIENT, MB // 2)) as (task,):
        assert passes_at_once(link.admit("quay", 100 * MB, CLIENT))
        await advance(clock, 0.6)
        assert task.done()


async def test_a_window_that_begins_lets_those_pass_who_wait() -> None:
    clock = ManualClock(time=0.0)
    link = Budget(Terms(1000, 1, (Window(60, 120, None),)), {}, clock, Traffic(), int)
    await link.admit("hub", 10**9, CLIENT)
    async with waiting(link, (CLIENT, 10**9)) as (task,):
        await advance(clock, 59.0)
        assert (task.done(), link.rate) == (False, 1000)
        await advance(clock, 3.0)
        assert (task.done(), link.rate) == (True, inf)


@pytest.mark.parametrize("leaver", [0, 1, 2])
async def test_who_is_cancelled_leaves_and_the_others_go_on(leaver: int) -> None:
    clock = ManualClock()
    link = budget(clock, MB, MB)
    await link.admit("hub", MB, CLIENT)
    async with waiting(link, (CLIENT, MB // 10), (CLIENT, MB // 10), (PREFETCH, MB // 10)) as tasks:
        tasks[leaver].cancel()
        await settle()
        assert tasks[leaver].cancelled()
        assert clock.sleeping == 1
        await advance(clock, 0.5)
        assert all(task.done() for task in tasks)
    assert clock.sleeping == 0
    assert passes_at_once(link.admit("hub", MB // 10, CLIENT))


async def test_when_all_are_cancelled_nothing_is_left() -> None:
    clock = ManualClock()
    link = budget(clock, MB, MB)
    await link.admit("hub", MB, CLIENT)
    async with waiting(link, *[(urgency, MB) for urgency in Urgency] * 3):
        assert clock.sleeping == 1
    assert clock.sleeping == 0
    assert len(asyncio.all_tasks()) == 1
    clock.advance(1.0)
    assert passes_at_once(link.admit("hub", MB, CLIENT))


async def test_background_traffic_slows_down_when_a_client_comes() -> None:
    clock = ManualClock()
    link = budget(clock)
    for _ in range(100):
        await link.admit("hub", MB // 10, PREFETCH)
        clock.advance(0.1)
    assert link.background_rate == inf
    link.began("hub", 0.1, CLIENT)
    assert link.background_rate < MB / 4
    async with waiting(link, (PREFETCH, MB // 10), (PREFETCH, MB // 10)) as tasks:
        assert passes_at_once(link.admit("hub", 100 * MB, CLIENT))
        await advance(clock, 0.02)
        assert not tasks[1].done()
        await advance(clock, 2.0)
        assert tasks[1].done()


async def test_who_waits_for_its_own_bound_keeps_nobody_else_from_passing() -> None:
    clock = ManualClock()
    link = budget(clock, 100 * MB, 100 * MB, hub=Terms(1000, 1))
    await link.admit("hub", MB, PREFETCH)
    async with waiting(link, (PREFETCH, MB)) as (task,):
        assert passes_at_once(link.admit("quay", MB, CLIENT))
        assert not task.done()


async def test_another_s_slow_answer_is_nothing_to_yield_to() -> None:
    link = budget(ManualClock())
    link.began("hub", 10.0, PREFETCH)
    assert link.background_rate == inf


async def test_bytes_and_waits_are_counted_by_urgency() -> None:
    clock, traffic = ManualClock(), Traffic()
    link = Budget(Terms(MB, MB), {}, clock, traffic, lambda now: 0)
    await link.admit("hub", MB, CLIENT)
    async with waiting(link, (PREFETCH, MB // 2)):
        await advance(clock, 1.0)
    assert traffic.admitted == {"client": MB, "prefetch": MB // 2}
    assert traffic.waited_for_link == {"prefetch": pytest.approx(0.5, abs=0.3)}

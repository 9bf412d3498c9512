"""What was saved, by the day: as upstream's own log has it, across restarts and full disks."""

from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path

import pytest

from edgeproxy.cache.savings import Figures, Savings
from edgeproxy.metrics import Traffic
from edgeproxy.store.catalog import Catalog
from tests.fakes.clock import ManualClock

MIDNIGHT = datetime(2026, 3, 4).astimezone().timestamp()
HOUR, DAY = 3600.0, 86400.0


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(MIDNIGHT + HOUR)


@pytest.fixture
async def catalog(tmp_path: Path, clock: ManualClock) -> AsyncIterator[Catalog]:
    catalog = Catalog(tmp_path / "catalog", clock)
    yield catalog
    await catalog.close()


def answered(traffic: Traffic, outcome: str, size: int) -> None:
    traffic.requests["a.test", "blobs", outcome] += 1
    traffic.sent["a.test", "blobs", outcome] += size


async def test_each_day_has_its_own(catalog: Catalog, clock: ManualClock) -> None:
    traffic = Traffic()
    savings = Savings(catalog, traffic, clock)
    answered(traffic, "miss", 100)
    traffic.received("a.test", 100)
    await savings.carry_over()
    clock.advance(DAY)
    answered(traffic, "hit", 100)
    answered(traffic, "stale", 5)
    assert savings.days() == [("2026-03-04", Figures(1, 0, 100, 100)), ("2026-03-05", Figures(2, 2, 105, 0))]
    await savings.carry_over()
    assert savings.days() == [("2026-03-04", Figures(1, 0, 100, 100)), ("2026-03-05", Figures(2, 2, 105, 0))]


async def test_a_restart_goes_on_with_the_day(catalog: Catalog, clock: ManualClock) -> None:
    before = Traffic()
    savings = Savings(catalog, before, clock)
    answered(before, "hit", 7)
    await savings.carry_over()
    after = Traffic()
    savings = Savings(catalog, after, clock)
    answered(after, "hit", 3)
    assert savings.days()[-1][1] == Figures(2, 2, 10, 0)


async def test_old_days_are_forgotten(catalog: Catalog, clock: ManualClock) -> None:
    traffic = Traffic()
    savings = Savings(catalog, traffic, clock)
    for _ in range(2):
        answered(traffic, "hit", 7)
        await savings.carry_over()
        clock.advance(399 * DAY)
    await savings.forget_old()
    assert [key for key, _ in catalog.scan("saved/")] == ["saved/2027-04-07"]


async def test_minutes_have_no_gaps_and_an_end(catalog: Catalog, clock: ManualClock) -> None:
    traffic = Traffic()
    savings = Savings(catalog, traffic, clock)
    answered(traffic, "hit", 1)
    savings.look()
    clock.advance(180)
    answered(traffic, "miss", 2)
    assert [figures.served for _, figures in savings.minutes()] == [1, 0, 0, 2]
    clock.advance(118 * 60)
    assert len(savings.minutes()) == 120
    assert savings.minutes()[0][1] == Figures()
    clock.advance(30 * DAY)
    assert [figures.served for _, figures in savings.minutes()] == [0] * 120

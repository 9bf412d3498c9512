from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from edgeproxy.store.disk import DiskStore
from tests.fakes.clock import ManualClock
from tests.store.stores import opened


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(rushes=True)


@pytest.fixture
async def store(tmp_path: Path, clock: ManualClock) -> AsyncIterator[DiskStore]:
    async with opened(tmp_path, clock) as store:
        yield store

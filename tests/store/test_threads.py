import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from edgeproxy.store.threads import in_thread


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as threads:
        yield threads


def fail() -> None:
    raise ZeroDivisionError


async def test_what_the_thread_finds_comes_back(threads: ThreadPoolExecutor) -> None:
    assert await in_thread(threads, threading.current_thread) is not threading.current_thread()


async def test_what_the_thread_raises_comes_back(threads: ThreadPoolExecutor) -> None:
    with pytest.raises(ZeroDivisionError):
        await in_thread(threads, fail)


@pytest.mark.parametrize("fails", [False, True])
async def test_who_is_cancelled_goes_on_once_the_thread_has_ended(threads: ThreadPoolExecutor, fails: bool) -> None:
    entered, opened, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        entered.set()
        assert opened.wait(60)
        ended.set()
        if fails:
            raise ZeroDivisionError

    task = asyncio.create_task(in_thread(threads, work))
    await asyncio.to_thread(entered.wait)
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    opened.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()

"""Blocking work off the event loop, which ends before whoever asked for it goes on."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar

T = TypeVar("T")


async def in_thread(threads: Executor | None, act: Callable[[], T]) -> T:
    """Run `act` in one of `threads`, or of the event loop's.

    A thread cannot be cancelled: a task that is cancelled meanwhile waits for it to end, so that no file is closed and
    no row changed under its hands.
    """
    work = asyncio.get_running_loop().run_in_executor(threads, act)
    cancelled: asyncio.CancelledError | None = None
    while not work.done():
        try:
            await asyncio.wait([work])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        work.exception()  # seen; being cancelled is what the caller hears of
        raise cancelled
    return work.result()

"""A question about a tag that many wait for, and what becomes of it."""

import asyncio
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgeproxy.oci.errors import ManifestUnknown, Unavailable, UpstreamTimeout
from edgeproxy.oci.reference import Tag
from tests.cache.core import HERE, Core, Setting, running
from tests.fakes.shelf import Fault

TAG = Tag(HERE, "latest")


def held(core: Core) -> Fault:
    fault = Fault("resolve", hold=asyncio.Event())
    core.first.faults = [fault]
    return fault


@contextmanager
def recorded() -> Iterator[list[str]]:
    """What the event loop has to complain about: errors that nobody took."""
    complaints: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: complaints.append(str(context)))
    try:
        yield complaints
        gc.collect()
    finally:
        loop.set_exception_handler(None)


def release(fault: Fault) -> None:
    assert fault.hold is not None
    fault.hold.set()


@pytest.mark.parametrize("exists", [True, False])
async def test_however_many_ask_one_question_goes_up(tmp_path: Path, exists: bool) -> None:
    async with running(tmp_path) as core:
        image = core.first.image(HERE, "latest" if exists else "other")
        fault = held(core)
        asking = [asyncio.create_task(core.tags.resolve(TAG)) for _ in range(50)]
        await fault.reached.wait()
        release(fault)
        found = await asyncio.gather(*asking, return_exceptions=True)
        assert core.first.count("resolve") == 1
        for each in found:
            if isinstance(each, BaseException):
                assert isinstance(each, ManifestUnknown)
                assert not exists
            else:
                assert each.descriptor.digest == image.digest


async def test_two_tags_are_two_questions(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        for name in ("latest", "other"):
            core.first.image(HERE, name)
        await asyncio.gather(*[core.tags.resolve(Tag(HERE, name)) for name in ("latest", "other")])
        assert core.first.count("resolve") == 2


async def test_a_stale_tag_is_checked_once_at_a_time(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        core.first.image(HERE, "latest")
        await core.tags.resolve(TAG)
        core.clock.advance(301)
        fault = held(core)
        for _ in range(10):
            assert (await core.tags.resolve(TAG)).outcome.word == "stale"
        await fault.reached.wait()
        assert (await core.tags.resolve(TAG)).outcome.word == "stale"
        release(fault)
        await core.settled()
        assert core.first.count("resolve") == 2


async def test_who_leaves_stops_no_question(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        image = core.first.image(HERE, "latest")
        fault = held(core)
        first, second = [asyncio.create_task(core.tags.resolve(TAG)) for _ in range(2)]
        await fault.reached.wait()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        release(fault)
        assert (await second).descriptor.digest == image.digest
        assert core.first.count("resolve") == 1


async def test_who_loses_patience_is_told_and_the_question_goes_on(tmp_path: Path) -> None:
    async with running(tmp_path, Setting(patience=0.0)) as core:
        image = core.first.image(HERE, "latest")
        fault = held(core)
        with pytest.raises(UpstreamTimeout) as caught:
            await core.tags.resolve(TAG)
        assert caught.value.retry_after
        release(fault)
        await core.settled()
        assert (await core.tags.resolve(TAG)).descriptor.digest == image.digest
        assert core.first.count("resolve") == 1


async def test_a_question_nobody_waits_for_may_fail_in_silence(tmp_path: Path) -> None:
    with recorded() as complaints:
        async with running(tmp_path, Setting(patience=0.0)) as core:
            fault = held(core)
            fault.refusal = Unavailable("down")
            with pytest.raises(UpstreamTimeout):
                await core.tags.resolve(TAG)
            release(fault)
            await core.settled()
    assert complaints == []


async def test_stopping_in_the_middle_of_a_question_is_no_error(tmp_path: Path) -> None:
    with recorded() as complaints:
        async with running(tmp_path) as core:
            fault = held(core)
            asking = asyncio.create_task(core.tags.resolve(TAG))
            await fault.reached.wait()
            core.supervisor.stop()
            with pytest.raises((asyncio.CancelledError, UpstreamTimeout)):
                await asking
            await core.settled()
    assert complaints == []


async def test_a_check_that_nobody_waits_for_may_fail_in_silence(tmp_path: Path) -> None:
    with recorded() as complaints:
        async with running(tmp_path) as core:
            core.first.image(HERE, "latest")
            await core.tags.resolve(TAG)
            core.clock.advance(301)
            core.first.faults = [Fault(refusal=Unavailable("down"))]
            assert (await core.tags.resolve(TAG)).outcome.word == "stale"
            await core.settled()
    assert complaints == []


async def test_a_question_that_is_stopped_before_it_is_asked_keeps_nobody_waiting(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        asking = asyncio.create_task(core.tags.resolve(TAG))
        await asyncio.sleep(0)
        core.supervisor.stop()
        done, _ = await asyncio.wait([asking], timeout=5)  # only to fail rather than to hang
        assert done == {asking}
        with pytest.raises((asyncio.CancelledError, UpstreamTimeout)):
            await asking
        assert core.first.asked == []


async def test_a_bug_in_the_middle_of_a_question_is_told_as_what_it_is(tmp_path: Path) -> None:
    """Not as a cancellation, which says that the client has left."""
    async with running(tmp_path, failed_tasks=1) as core:
        core.first.image(HERE, "latest")
        fault = held(core)
        asking = asyncio.create_task(core.tags.resolve(TAG))
        await fault.reached.wait()
        fault.refusal = OSError("the store is on fire")
        release(fault)
        with pytest.raises(OSError, match="on fire"):
            await asking

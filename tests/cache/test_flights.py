"""Shared downloads: who waits, for what, and what is released when."""

import asyncio
import contextlib
import gc
import os
from pathlib import Path

import pytest

from edgeproxy.cache.flights import HELD_BACK, Boarding, Flight, Flights, Spilled
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.errors import BlobUnknown, DigestMismatch, Refusal, Unavailable, UpstreamTimeout
from edgeproxy.oci.reference import Pinned
from tests.cache.core import HERE, Core, Setting, running
from tests.fakes.shelf import Fault
from tests.store.stores import files_open_below

BODY = bytes(range(256)) * 2048
SIZE = len(BODY)
PINNED = Pinned(HERE, Digest.of(BODY))


def held_at(core: Core, at: int | None) -> Fault:
    """The upstream waits at a byte until the fault's event is set."""
    fault = Fault("open", hold=asyncio.Event(), at=at)
    core.first.blob(HERE, BODY)
    core.first.faults = [fault]
    return fault


def release(fault: Fault) -> None:
    assert fault.hold is not None
    fault.hold.set()


async def board(flight: Flight) -> Boarding:
    await flight.departed()
    boarding = flight.board()
    assert boarding is not None
    return boarding


# many passengers


@pytest.mark.parametrize("count", [1, 2, 50])
async def test_however_many_join_one_is_fetched(tmp_path: Path, count: int) -> None:
    async with running(tmp_path) as core:
        core.first.blob(HERE, BODY)
        answers = await asyncio.gather(*[core.get("blobs", PINNED) for _ in range(count)])
        assert [body for body, _ in answers] == [BODY] * count
        assert [outcome.word for _, outcome in answers] == ["miss"] + ["collapsed"] * (count - 1)
        assert core.first.count("open") == 1


async def test_two_blobs_fly_apart(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        pinned = [core.first.blob(HERE, BODY + bytes([number])) for number in range(2)]
        first, second = [core.fly(each) for each in pinned]
        assert first is not second
        assert len(core.flights) == 2
        assert list(core.flights) == [first, second]
        await core.settled()
        assert len(core.flights) == 0
        assert core.flights.get(pinned[0].digest) is None


async def test_a_leaving_client_stops_nothing(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        fault = held_at(core, 300_000)
        first, second = [asyncio.create_task(core.get("blobs", PINNED)) for _ in range(2)]
        await fault.reached.wait()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        release(fault)
        assert (await second)[0] == BODY
        assert core.first.count("open") == 1


async def test_what_all_clients_left_is_kept_all_the_same(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        fault = held_at(core, 300_000)
        only = asyncio.create_task(core.get("blobs", PINNED))
        await fault.reached.wait()
        only.cancel()
        with pytest.raises(asyncio.CancelledError):
            await only
        release(fault)
        await core.settled()
        body, outcome = await core.get("blobs", PINNED)
        assert (body, outcome.word, core.first.count("open")) == (BODY, "hit", 1)


async def test_each_reads_from_an_offset_of_its_own(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        fault = held_at(core, 300_000)
        flight = core.fly(PINNED)
        starts = [0, 1, 250_000, 299_999, 300_000, 400_000, SIZE - 1]
        readers = [asyncio.create_task(core.ride(await board(flight), start)) for start in starts]
        await fault.reached.wait()
        release(fault)
        assert await asyncio.gather(*readers) == [BODY[start:] for start in starts]


async def test_a_reader_beyond_what_is_here_waits(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        fault = held_at(core, 300_000)
        flight = core.fly(PINNED)
        await fault.reached.wait()
        assert await flight.ready(0) == flight.released == 300_000
        waiting = asyncio.create_task(flight.ready(300_000))
        await asyncio.sleep(0)
        assert not waiting.done()
        release(fault)
        assert await waiting > 300_000


# the last piece


async def test_the_last_piece_waits_for_the_whole(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        fault = held_at(core, SIZE - 1)
        flight = core.fly(PINNED)
        await fault.reached.wait()
        assert flight.released == SIZE - HELD_BACK
        release(fault)
        await flight.landed()
        assert flight.released == SIZE


async def test_nothing_of_the_last_piece_of_a_wrong_blob_gets_out(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        core.first.blob(HERE, BODY)
        core.first.faults = [Fault("open", body=BODY[:-1] + b"x")]
        flight = core.fly(PINNED)
        boarding = await board(flight)
        with pytest.raises(DigestMismatch):
            await core.ride(boarding)
        assert flight.released == SIZE - HELD_BACK


@pytest.mark.parametrize("size", [1, HELD_BACK, HELD_BACK + 1])
async def test_of_a_small_blob_little_gets_out_before_the_end(tmp_path: Path, size: int) -> None:
    async with running(tmp_path) as core:
        pinned = core.first.blob(HERE, BODY[:size])
        fault = Fault("open", hold=asyncio.Event(), at=size)
        core.first.faults = [fault]
        flight = core.fly(pinned)
        await fault.reached.wait()
        assert flight.released == max(0, size - HELD_BACK)
        release(fault)
        await flight.landed()


async def test_where_no_size_is_announced_the_last_piece_is_held_all_along(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        fault = held_at(core, 300_000)
        fault.announces = "nothing"
        flight = core.fly(PINNED)
        await fault.reached.wait()
        assert (flight.size, flight.released) == (None, 300_000 - HELD_BACK)
        release(fault)
        await flight.landed()
        assert (flight.size, flight.released) == (SIZE, SIZE)


async def test_a_beginning_left_by_a_crash_is_released_as_soon_as_upstream_answers(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        core.store.layout.partial_of(PINNED.digest).write_bytes(BODY[:300_000])
        fault = held_at(core, 300_000)
        flight = core.fly(PINNED)
        await fault.reached.wait()
        assert await flight.ready(0) == 300_000
        release(fault)


# ends


@pytest.mark.parametrize("refusal", [BlobUnknown("gone"), Unavailable("down")])
async def test_all_who_wait_hear_of_the_failure(tmp_path: Path, refusal: Refusal) -> None:
    async with running(tmp_path) as core:
        core.first.faults = [Fault("open", refusal=refusal)]
        flight = core.fly(PINNED)
        waits = [flight.departed(), flight.landed(), flight.ready(0), flight.ready(10**9)]
        found = await asyncio.gather(*waits, core.get("blobs", PINNED), return_exceptions=True)
        assert found == [refusal] * 5


async def test_a_bug_in_a_fetch_reaches_all_who_wait_and_is_counted(tmp_path: Path) -> None:
    async def fails(flight: Flight) -> None:
        raise OSError("the disk is on fire")

    async with running(tmp_path, failed_tasks=1) as core:
        flight = core.flights.join("blobs", PINNED, fails)
        found = await asyncio.gather(flight.departed(), flight.ready(0), return_exceptions=True)
        assert [str(error) for error in found] == ["the disk is on fire"] * 2
        assert len(core.flights) == 0


async def test_what_was_released_before_a_failure_stays_readable(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        fault = held_at(core, 300_000)
        flight = core.fly(PINNED)
        boarding = await board(flight)
        await fault.reached.wait()
        core.first.faults = [Fault("open", refusal=BlobUnknown("gone"))]
        fault.breaks = True
        release(fault)
        await core.settled()
        assert await flight.ready(0) == 300_000
        assert os.pread(boarding.file.fd, 300_000, 0) == BODY[:300_000]
        with pytest.raises(BlobUnknown):
            await flight.ready(300_000)
        boarding.close()


async def test_a_failed_download_can_be_tried_again(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        core.first.faults = [Fault("open", refusal=Unavailable("down"))]
        with pytest.raises(Unavailable):
            await core.get("blobs", PINNED)
        core.first.faults = []
        core.first.blob(HERE, BODY)
        assert (await core.get("blobs", PINNED))[0] == BODY


async def test_nobody_boards_a_flight_that_is_over(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        core.first.blob(HERE, BODY)
        flight = core.fly(PINNED)
        assert flight.board() is None
        await core.settled()
        assert flight.board() is None


@pytest.mark.parametrize("size", [0, 100_000])
def test_a_spilled_flight_says_how_far_it_came(size: int) -> None:
    async def spill() -> None:
        flight = Flight("blobs", PINNED)
        flight.spill(size)
        if size:
            assert await flight.ready(0) == size
        with pytest.raises(Spilled):
            await flight.ready(size)

    asyncio.run(spill())


@pytest.mark.parametrize("error", [None, Unavailable("down")])
def test_it_tells_what_it_is(error: Exception | None) -> None:
    async def tell() -> None:
        flight = Flight("blobs", PINNED)
        assert f"{PINNED} under way 0/None" in repr(flight)
        if error:
            flight.fail(error)
        else:
            flight.land(9)
        assert repr(flight).endswith("failed 0/None>" if error else "landed 9/9>")

    asyncio.run(tell())


# patience


async def test_who_loses_patience_is_told_and_the_flight_goes_on(tmp_path: Path) -> None:
    async with running(tmp_path, Setting(patience=0.0)) as core:
        fault = held_at(core, None)
        with pytest.raises(UpstreamTimeout) as caught:
            await core.get("blobs", PINNED)
        assert caught.value.retry_after
        await fault.reached.wait()
        assert len(core.flights) == 1
        release(fault)
        await core.settled()
        assert (await core.get("blobs", PINNED))[0] == BODY
        assert core.first.count("open") == 1


async def test_departed_waits_for_upstream_s_answer(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        fault = held_at(core, None)
        flight = core.fly(PINNED)
        with pytest.raises(UpstreamTimeout):
            await Flights(core.supervisor.spawn, patience=0.0).departed(flight)
        release(fault)
        await core.flights.departed(flight)
        assert flight.size == SIZE


async def test_patience_is_for_the_first_byte_only(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        fault = held_at(core, 300_000)
        flight = core.fly(PINNED)
        await fault.reached.wait()
        impatient = Flights(core.supervisor.spawn, patience=0.0)
        await impatient.departed(flight)
        with pytest.raises(UpstreamTimeout):
            await impatient.landed(flight)
        release(fault)


# shutting down


PLACES = pytest.mark.parametrize("at", [None, 0, 300_000, SIZE])


@PLACES
async def test_stopping_in_the_middle_leaves_nothing_open(tmp_path: Path, at: int | None) -> None:
    async with running(tmp_path) as core:
        fault = held_at(core, at)
        flight = core.fly(PINNED)
        await fault.reached.wait()
        core.supervisor.stop()
        with pytest.raises(UpstreamTimeout, match="shutting down"):
            await flight.landed()
        await core.settled()
        assert len(core.flights) == 0
        assert files_open_below(tmp_path, "blobs", "partial") == []
        assert core.store.growing == set()


@pytest.mark.parametrize("steps", [*range(12), 20, 40, 80])
async def test_stopping_at_any_moment_leaves_nothing_open(tmp_path: Path, steps: int) -> None:
    """However far the tasks and the store's threads came: what is left is nothing, a beginning, or the whole."""
    async with running(tmp_path) as core:
        core.first.blob(HERE, BODY)
        flight = core.fly(PINNED)
        for _ in range(steps):
            await asyncio.sleep(0)
        core.supervisor.stop()
        with contextlib.suppress(UpstreamTimeout):
            await asyncio.wait_for(flight.landed(), 5)  # only to fail rather than to hang
        await core.settled()
    gc.collect()  # a coroutine that was never awaited says so now
    async with running(tmp_path) as core:
        core.first.blob(HERE, BODY)
        assert (await core.get("blobs", PINNED))[0] == BODY


@PLACES
async def test_what_was_under_way_goes_on_after_a_restart(tmp_path: Path, at: int | None) -> None:
    async with running(tmp_path) as core:
        fault = held_at(core, at)
        core.fly(PINNED)
        await fault.reached.wait()
    async with running(tmp_path) as core:
        core.first.blob(HERE, BODY)
        assert (await core.get("blobs", PINNED))[0] == BODY
        opened = [question.start for question in core.first.asked if question.method == "open"]
        assert opened == ([] if at == SIZE else [at or 0])

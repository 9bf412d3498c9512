"""Chunks beside all else: downloads of the same blob, others that want room, a disk that fills up."""

import asyncio
import itertools
import os
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest

from edgeproxy.cache.chunks import ChunkedBlob
from edgeproxy.cache.uploads import UploadLimits
from edgeproxy.interfaces import Span
from edgeproxy.oci.chunks import LARGEST_CHUNK
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.errors import (
    DigestInvalid,
    InsufficientStorage,
    SizeInvalid,
    TooManyRequests,
    UploadBusy,
)
from edgeproxy.oci.reference import Pinned
from tests.cache.core import HERE, NEAR, Core, Setting, running
from tests.cache.test_cancelled import CancelledAt, is_sound
from tests.cache.test_chunks import BLOB, BODY, SIZE, WHOLE, chunk, left, push
from tests.fakes.bodies import said
from tests.fakes.shelf import Fault
from tests.store.disks import exhaust, small_disk
from tests.store.stores import keep


async def test_what_its_repository_shows_is_not_sent_and_waits_for_its_manifest(tmp_path: Path) -> None:
    async with running(tmp_path, Setting(budget=8000)) as core:
        cached = core.first.blob(HERE, BODY)
        await core.get("blobs", cached)
        await core.settled()
        assert await core.chunks.begin(WHOLE) is None
        with pytest.raises(InsufficientStorage):
            await core.uploads.whole(Pinned(HERE, Digest.of(b"o" * 5000)), said(b"o" * 5000))
        assert core.catalog.held(cached.digest) is not None


async def test_what_is_on_its_way_from_upstream_is_not_sent_as_well(tmp_path: Path) -> None:
    hold = asyncio.Event()
    async with running(tmp_path) as core:
        core.first.blob(HERE, BODY)
        core.first.blob(NEAR, BODY)
        core.first.faults.append(fault := Fault("open", hold=hold, at=1000))
        flight = core.fly(BLOB)
        await fault.reached.wait()
        with pytest.raises(UploadBusy) as busy:
            await core.chunks.begin(WHOLE)
        assert (busy.value.status, busy.value.retry_after) == (409, 5.0)
        elsewhere = ChunkedBlob(Pinned(NEAR, BLOB.digest), SIZE)
        await push(core, chunk(0, SIZE), whole=elsewhere)  # it has to prove that it has it, whoever fetches it
        hold.set()
        await flight.ended()
        assert await core.chunks.begin(WHOLE) is None
        await is_sound(core)


async def test_a_download_and_chunks_of_the_same_blob_do_not_disturb_each_other(tmp_path: Path) -> None:
    hold = asyncio.Event()
    async with running(tmp_path) as core:
        await core.chunks.begin(WHOLE)
        await core.chunks.put(WHOLE, chunk(3000, SIZE, bytes(SIZE)))
        core.first.blob(HERE, BODY)
        core.first.faults.append(fault := Fault("open", hold=hold, at=1000))
        reading = asyncio.create_task(core.get("blobs", BLOB))
        await fault.reached.wait()
        await core.chunks.put(WHOLE, chunk(0, 3000))
        hold.set()
        assert (await reading)[0] == BODY
        await core.settled()
        with pytest.raises(DigestInvalid):
            await core.chunks.finish(WHOLE)
        assert (await core.get("blobs", BLOB))[0] == BODY
        await is_sound(core)


# room


async def test_sessions_in_chunks_count_among_the_others(tmp_path: Path) -> None:
    async with running(tmp_path, Setting(uploads=UploadLimits(sessions=2, size=SIZE))) as core:
        core.uploads.begin(HERE)
        await core.chunks.begin(WHOLE)
        await core.chunks.begin(WHOLE)
        with pytest.raises(TooManyRequests):
            await core.chunks.begin(ChunkedBlob(BLOB, SIZE - 1))
        core.chunks.cancel(WHOLE)
        with pytest.raises(SizeInvalid):
            await core.chunks.begin(ChunkedBlob(BLOB, SIZE + 1))


async def test_what_can_never_fit_is_refused_before_anything_has_to_go(tmp_path: Path) -> None:
    async with running(tmp_path, Setting(budget=SIZE - 1)) as core:
        cached = await keep(core.store, b"c" * 1000)
        with pytest.raises(InsufficientStorage):
            await core.chunks.begin(WHOLE)
        assert (left(core), core.catalog.held(cached) is not None) == ([], True)


async def test_cached_content_makes_room_for_chunks(tmp_path: Path) -> None:
    async with running(tmp_path, Setting(budget=8000)) as core:
        cached = await keep(core.store, b"c" * 5000)
        await push(core, chunk(3000, SIZE), chunk(0, 3000))
        assert (core.catalog.held(cached), core.room.used()) == (None, SIZE)


async def test_the_budget_is_looked_at_while_chunks_come(tmp_path: Path) -> None:
    """Not for each of them, but every 16 MiB."""
    body = bytes(19_000_000)
    whole = ChunkedBlob(Pinned(HERE, Digest.of(body)), len(body))
    cuts = [*range(0, len(body), LARGEST_CHUNK), len(body)]
    async with running(tmp_path, Setting(budget=20_000_000)) as core:
        await core.catalog.pin(await keep(core.store, b"c" * 5_000_000), True)
        await core.chunks.begin(whole)
        for start, stop in itertools.pairwise(cuts[:-1]):
            await core.chunks.put(whole, chunk(start, stop, body, packed=True))
        with pytest.raises(InsufficientStorage):
            await core.chunks.put(whole, chunk(cuts[-2], len(body), body))
        assert await core.chunks.held(whole) == [Span(0, cuts[-2])]


async def test_where_no_room_can_be_made_what_came_stays(tmp_path: Path) -> None:
    async with running(tmp_path, Setting(budget=8000)) as core:
        await core.catalog.pin(pinned := await keep(core.store, b"c" * 5000), True)
        await core.chunks.begin(WHOLE)
        await core.chunks.put(WHOLE, chunk(0, 4000))
        await core.chunks.put(WHOLE, chunk(4000, SIZE))
        with pytest.raises(InsufficientStorage):
            await core.chunks.finish(WHOLE)
        assert await core.chunks.held(WHOLE) == [Span(0, SIZE)]
        assert core.catalog.link("blobs", BLOB) is None
        await core.catalog.pin(pinned, False)
        await core.chunks.finish(WHOLE)
        assert (await core.get("blobs", BLOB))[0] == BODY


async def test_a_disk_that_fills_up_in_between_loses_nothing(tmp_path: Path) -> None:
    body = os.urandom(2_000_000)
    whole = ChunkedBlob(Pinned(HERE, Digest.of(body)), len(body))
    with small_disk(tmp_path / "disk", 6_000_000) as disk:
        async with running(disk) as core:
            await core.chunks.begin(whole)
            await core.chunks.put(whole, chunk(0, 500_000, body))
            await core.chunks.put(whole, chunk(1_000_000, 1_500_000, body))
            await exhaust(core.store)
            for start in (500_000, 1_500_000):
                with pytest.raises(InsufficientStorage):
                    await core.chunks.put(whole, chunk(start, start + 500_000, body))
            assert await core.chunks.held(whole) == [Span(0, 500_000), Span(1_000_000, 1_500_000)]
        (disk / "filler").unlink()
        async with running(disk) as core:
            assert await core.chunks.held(whole) == [Span(0, 500_000), Span(1_000_000, 1_500_000)]
            await push(core, chunk(500_000, 1_000_000, body), chunk(1_500_000, 2_000_000, body), whole=whole)
            assert (await core.get("blobs", whole.blob))[0] == body


async def test_an_end_on_a_full_disk_can_be_asked_for_again(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 3_000_000) as disk:
        async with running(disk) as core:
            await core.chunks.begin(WHOLE)
            await core.chunks.put(WHOLE, chunk(0, SIZE))
            await exhaust(core.store)
            with suppress(InsufficientStorage):
                await core.chunks.finish(WHOLE)
            (disk / "filler").unlink()
            if await core.chunks.begin(WHOLE) is not None:
                await push(core, chunk(0, SIZE))
            assert (await core.get("blobs", BLOB))[0] == BODY
            await is_sound(core)


async def test_cancelled_at_each_await_it_can_be_sent_again(tmp_path: Path) -> None:
    async def replicate(core: Core) -> None:
        await core.chunks.begin(WHOLE)
        await core.chunks.put(WHOLE, chunk(2000, 3000, packed=True))
        await core.chunks.put(WHOLE, chunk(0, 2000))
        await core.chunks.put(WHOLE, chunk(3000, SIZE))
        await core.chunks.finish(WHOLE)

    for nth in count(1):
        async with running(tmp_path / str(nth), Setting(budget=12_000)) as core:
            await keep(core.store, b"c" * 10_000)
            cancelled = CancelledAt(nth)
            with suppress(asyncio.CancelledError):
                await asyncio.create_task(cancelled(replicate(core)))
            await core.settled()
            await is_sound(core)
            assert all(session.is_at_rest for session in core.store.uploads.sessions.values())
            if await core.chunks.begin(WHOLE) is not None:
                await replicate(core)
            assert (await core.get("blobs", BLOB))[0] == BODY
            assert (left(core), core.first.asked) == ([], [])
        if not cancelled.struck:
            break
    assert nth > 10

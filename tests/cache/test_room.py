"""The budget and the reserve, held over a real store."""

import asyncio
import os
import threading
from pathlib import Path

import pytest

from edgeproxy.cache.eviction import Limits
from edgeproxy.interfaces import StoreFull
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.manifest import Descriptor
from edgeproxy.oci.reference import Pinned
from edgeproxy.store.catalog import Link
from tests.cache.core import HERE, Core, Setting, running, until
from tests.store.disks import small_disk
from tests.store.stores import content, keep

KB = 1000
TEN = Setting(budget=10 * KB)


def body(number: int, size: int = KB) -> bytes:
    return number.to_bytes(4, "big") * (size // 4)


async def hold(core: Core, *numbers: int) -> list[Digest]:
    """Blobs of 1 KB, each used a day after the one before, and all of them long ago."""
    digests = []
    for number in numbers:
        digests.append(await keep(core.store, body(number)))
        core.clock.advance(86400)
    core.clock.advance(86400)
    return digests


async def bring(core: Core, number: int, size: int = KB) -> Digest:
    """Keep a blob within the limits, as a fetch does."""
    writer = await core.store.create(Digest.of(body(number, size)))
    try:
        await writer.write(body(number, size))
        async with core.room.kept(writer.offset):
            await writer.commit()
    finally:
        await writer.close(keep=False)
    return Digest.of(body(number, size))


def held(core: Core) -> set[Digest]:
    return {each.digest for each in core.catalog.all_held()}


async def test_what_fits_drives_nothing_out(tmp_path: Path) -> None:
    async with running(tmp_path, TEN) as core:
        digests = await hold(core, *range(9))
        digests.append(await bring(core, 9))
        assert held(core) == set(digests)
        assert core.traffic.evictions == 0


async def test_the_least_worth_makes_room_down_to_the_low_mark(tmp_path: Path) -> None:
    async with running(tmp_path, TEN) as core:
        digests = await hold(core, *range(10))
        digests.append(await bring(core, 10))
        assert held(core) == set(digests[2:])  # nine tenths of the budget
        assert core.traffic.evictions == 2
        assert await content(core.store, digests[0]) is None


async def test_the_budget_holds_however_many_keep_at_once(tmp_path: Path) -> None:
    async with running(tmp_path, TEN) as core:
        await hold(core, *range(10))
        most = 0

        async def watch(number: int) -> None:
            nonlocal most
            await bring(core, number)
            most = max(most, core.catalog.total())

        await asyncio.gather(*[watch(number) for number in range(100, 109)])
        assert most <= 10 * KB
        assert {Digest.of(body(number)) for number in range(100, 109)} <= held(core)


async def test_promises_count_until_they_are_kept(tmp_path: Path) -> None:
    async with running(tmp_path, TEN) as core:
        async with core.room.kept(6 * KB):
            with pytest.raises(StoreFull):
                async with core.room.kept(5 * KB):
                    pass
            async with core.room.kept(4 * KB):
                pass
        async with core.room.kept(10 * KB):
            pass


async def test_a_blob_larger_than_the_budget_is_refused_and_drives_nothing_out(tmp_path: Path) -> None:
    async with running(tmp_path, TEN) as core:
        digests = await hold(core, *range(5))
        with pytest.raises(StoreFull):
            await bring(core, 9, 11 * KB)
        assert held(core) == set(digests)
        assert core.store.layout.partials() == []


async def test_expecting_a_blob_larger_than_the_budget_drives_nothing_out(tmp_path: Path) -> None:
    async with running(tmp_path, TEN) as core:
        digests = await hold(core, *range(5))
        core.room.expect(11 * KB)
        await core.settled()
        assert held(core) == set(digests)


async def test_even_a_tiny_budget_holds(tmp_path: Path) -> None:
    async with running(tmp_path, Setting(budget=10)) as core:
        with pytest.raises(StoreFull):
            await bring(core, 1, 12)
        await bring(core, 2, 8)
        await bring(core, 3, 8)
        assert held(core) == {Digest.of(body(3, 8))}


async def test_what_is_pinned_is_never_driven_out(tmp_path: Path) -> None:
    async with running(tmp_path, TEN) as core:
        digests = await hold(core, *range(10))
        for digest in digests:
            await core.catalog.pin(digest, True)
        with pytest.raises(StoreFull):
            await bring(core, 10)
        assert held(core) == set(digests)
        await core.catalog.pin(digests[7], False)
        await bring(core, 10)
        assert held(core) == {*digests, Digest.of(body(10))} - {digests[7]}


async def test_broken_downloads_go_before_blobs(tmp_path: Path) -> None:
    async with running(tmp_path, TEN) as core:
        digests = await hold(core, *range(8))
        await leave(core, 50, 2 * KB)
        assert core.room.used() == 10 * KB
        digests.append(await bring(core, 9))
        assert held(core) == set(digests)
        assert core.store.layout.partials() == []


async def test_what_broken_downloads_freed_counts(tmp_path: Path) -> None:
    async with running(tmp_path, TEN) as core:
        digests = await hold(core, *range(9))
        await leave(core, 50, 2 * KB)
        digests.append(await bring(core, 9))  # 2 KB too many, and 3 KB above the low mark
        assert held(core) == set(digests[1:])


async def leave(core: Core, number: int, size: int, *, age: float = 0.0) -> None:
    """Half a download that was broken off."""
    file = core.store.layout.partial_of(Digest.of(body(number)))
    file.write_bytes(bytes(size))
    written = core.clock.now() - age
    os.utime(file, (written, written))


async def test_a_download_under_way_is_not_a_broken_one(tmp_path: Path) -> None:
    async with running(tmp_path, TEN) as core:
        writer = await core.store.create(Digest.of(body(1)))
        await writer.write(body(1))
        assert core.room.used() == 0
        await writer.close(keep=True)
        assert core.room.used() == KB


async def test_the_reserve_is_left_free(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        digests = await hold(core, 1, 2, 3)
        core.room.limits = Limits(budget=10**9, reserve=core.store.free()[1])  # the whole disk
        with pytest.raises(StoreFull):
            await bring(core, 4)
        assert held(core).isdisjoint(digests)


async def test_expecting_leaves_the_reserve_free(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 4_000_000) as disk:
        async with running(disk / "data") as core:
            digests = [await keep(core.store, body(number, 400_000)) for number in range(4)]
            core.clock.advance(86400)
            free, _ = core.store.free()
            core.room.limits = Limits(budget=10**9, reserve=free - 500_000)
            core.room.expect(490_000)
            await core.settled()
            assert held(core) == set(digests)
            core.room.expect(600_000)
            await core.settled()
            assert len(held(core)) == 3


async def test_expecting_makes_room_ahead(tmp_path: Path) -> None:
    async with running(tmp_path, TEN) as core:
        digests = await hold(core, *range(8))
        core.room.expect(1 * KB)
        await core.settled()
        assert held(core) == set(digests)
        core.room.expect(3 * KB)
        await core.settled()
        assert held(core) == set(digests[2:])


async def test_tidying_goes_back_below_the_low_mark(tmp_path: Path) -> None:
    async with running(tmp_path, TEN) as core:
        digests = await hold(core, *range(9))
        await core.room.tidy()
        assert held(core) == set(digests)
        digests += await hold(core, 9)
        await core.room.tidy()
        assert held(core) == set(digests[1:])


async def test_tidying_forgets_downloads_nobody_came_back_for(tmp_path: Path) -> None:
    async with running(tmp_path, TEN) as core:
        await leave(core, 1, 100, age=8 * 86400)
        await leave(core, 2, 100, age=6 * 86400)
        await core.room.tidy()
        assert [digest for digest, _ in core.store.layout.partials()] == [Digest.of(body(2))]


async def test_a_full_disk_is_freed_of_what_was_refused(tmp_path: Path) -> None:
    async with running(tmp_path, TEN) as core:
        digests = await hold(core, 1, 2, 3, 4)
        await core.room.free_disk(2 * KB)
        assert held(core) == set(digests[2:])
        for digest in digests[2:]:
            await core.catalog.pin(digest, True)
        with pytest.raises(StoreFull):
            await core.room.free_disk(1)


async def test_what_leaves_takes_its_links_along(tmp_path: Path) -> None:
    async with running(tmp_path, TEN) as core:
        gone, kept = await hold(core, 1, 2)
        links = [Link("blobs", HERE, Descriptor("", digest, KB)) for digest in (gone, kept)]
        await core.catalog.put_links(links)
        await core.room.free_disk(1)
        assert held(core) == {kept}
        assert core.catalog.link("blobs", Pinned(HERE, gone)) is None
        assert core.catalog.link("blobs", Pinned(HERE, kept)) is not None


async def test_links_that_a_kept_manifest_relies_on_stay(tmp_path: Path) -> None:
    async with running(tmp_path, TEN) as core:
        shared = Digest.of(b"a layer that is not held")
        old = await keep(core.store, body(1), (shared,))
        core.clock.advance(86400)
        new = await keep(core.store, body(2), (shared,))
        core.clock.advance(86400)
        await core.catalog.put_links([Link("blobs", HERE, Descriptor("", shared, KB))])
        await core.room.free_disk(1)
        assert held(core) == {new}
        assert core.catalog.link("blobs", Pinned(HERE, shared)) is not None
        await core.room.free_disk(1)
        assert old not in held(core)
        assert core.catalog.link("blobs", Pinned(HERE, shared)) is None


@pytest.mark.parametrize("steps", range(1, 6))
async def test_who_stops_waiting_for_room_leaves_no_promise(tmp_path: Path, steps: int) -> None:
    async with running(tmp_path, TEN) as core:
        digests = await hold(core, *range(10))
        waiting = asyncio.create_task(bring(core, 10))
        for _ in range(steps):
            await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        await core.settled()
        async with core.room.kept(10 * KB):
            assert held(core).isdisjoint(digests)


async def test_stopping_in_the_middle_of_an_eviction_leaves_no_task(tmp_path: Path) -> None:
    gate = threading.Event()
    async with running(tmp_path, TEN) as core:
        await hold(core, *range(10))
        busy = asyncio.create_task(core.catalog.change(lambda rows: gate.wait(60)))
        core.spawn(core.room.tidy(), "tidy")
        await until(lambda: "evict" in {task.get_name() for task in asyncio.all_tasks()})
        core.supervisor.stop()
        gate.set()
        await busy


async def test_what_can_still_be_kept_is_what_may_go_and_what_is_empty(tmp_path: Path) -> None:
    async with running(tmp_path, TEN) as core:
        assert await core.room.spare() == 10 * KB
        digests = await hold(core, *range(6))
        assert await core.room.spare() == 10 * KB
        image = await keep(core.store, body(20), (digests[0], digests[1]))
        await core.catalog.pin(image, True)
        assert await core.room.spare() == 10 * KB  # a count of some seconds ago is good enough
        core.clock.advance(30)
        assert await core.room.spare() == 7 * KB
        core.store.uploads.begin("open")
        async with core.store.uploads.writing("open") as writer:
            await writer.write(body(21))
            assert await core.room.spare() == 6 * KB
            async with core.room.kept(KB):
                assert await core.room.spare() == 5 * KB


async def test_the_disk_may_have_less_room_than_the_budget(tmp_path: Path) -> None:
    free = os.statvfs(tmp_path)
    size = free.f_bavail * free.f_frsize
    async with running(tmp_path, Setting(budget=10 * size, reserve=2 * size)) as core:
        assert await core.room.spare() == 0
    async with running(tmp_path, Setting(budget=10 * size)) as core:
        assert 0 < await core.room.spare() < 2 * size

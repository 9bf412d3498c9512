"""What is served when it cannot be kept."""

import asyncio
import contextlib
import json
import os
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from edgeproxy.cache.flights import HELD_BACK, Flight
from edgeproxy.interfaces import StoreFull
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.errors import DigestMismatch, Refusal, Unavailable
from edgeproxy.oci.reference import Pinned, Tag
from tests.cache.core import HERE, Core, Setting, running, until
from tests.fakes.shelf import Fault, image_index
from tests.store.disks import exhaust, fill, small_disk
from tests.store.stores import content, keep

BODY = bytes(range(256)) * 2048
SIZE = len(BODY)
PINNED = Pinned(HERE, Digest.of(BODY))


@asynccontextmanager
async def cramped(directory: Path, *old: bytes) -> AsyncIterator[Core]:
    """A core with some old blobs, on a disk with 100 KB free."""
    with small_disk(directory / "disk", 4 * 1024 * 1024) as disk:
        async with running(disk / "data") as core:
            for body in old:
                await keep(core.store, body)
            core.clock.advance(86400)
            core.first.blob(HERE, BODY)
            fill(disk, leave=100_000)
            yield core


OLD = [bytes([number]) * 300_000 for number in range(4)]


# a budget that is full


async def test_nothing_is_begun_while_room_is_made_for_what_has_come(tmp_path: Path) -> None:
    bodies = [bytes([number]) * 300_000 for number in range(8)]
    decided = threading.Event()
    with ThreadPoolExecutor(1) as judging, contextlib.ExitStack() as at_last:
        at_last.callback(decided.set)
        judging.submit(decided.wait)
        async with running(tmp_path, Setting(budget=1_000_000, judging=judging)) as core:

            async def pull() -> None:
                for body in bodies:
                    core.first.blob(HERE, body)
                    assert (await core.get("blobs", Pinned(HERE, Digest.of(body))))[0] == body

            pulling = asyncio.create_task(pull())
            await until(lambda: len(core.flights) == 2)
            for _ in range(4000):
                await core.store.run(lambda: None)
            begun = core.first.count("open")
            decided.set()
            assert begun <= 5, "three fit, one waits for room, and one may have begun before it did"
            await pulling
            await core.settled()
            assert core.catalog.total() <= 1_000_000
            assert core.traffic.evictions in (5, 6)  # one more where what was just kept still has its room promised


async def test_what_was_on_its_way_at_the_end_stays_only_within_the_budget(tmp_path: Path) -> None:
    async with running(tmp_path, Setting(budget=1_000_000)) as core:
        for number in range(4):
            writer = await core.store.create(Digest.of(bytes([number])))
            await writer.write(bytes(300_000))
            await writer.close(keep=True)
        await core.room.close()
        assert core.room.used() == 900_000


# a disk that is full


async def test_a_full_disk_makes_room_of_what_is_worth_least(tmp_path: Path) -> None:
    async with cramped(tmp_path, *OLD) as core:
        assert (await core.get("blobs", PINNED))[0] == BODY
        await core.settled()
        assert await content(core.store, PINNED.digest) == BODY
        assert core.traffic.evictions in (2, 3)  # 100 KB were free, and a file system's blocks are not bytes
        assert core.first.count("open") == 1


async def test_a_full_disk_makes_room_for_what_nobody_announced(tmp_path: Path) -> None:
    async with cramped(tmp_path, *OLD) as core:
        core.first.faults = [Fault("open", announces="nothing")]
        assert (await core.get("blobs", PINNED))[0] == BODY
        await core.settled()
        assert await content(core.store, PINNED.digest) == BODY
        assert core.first.count("open") == 1


async def test_where_nothing_may_go_the_rest_passes_through(tmp_path: Path) -> None:
    async with cramped(tmp_path) as core:
        assert (await core.get("blobs", PINNED))[0] == BODY
        await core.settled()
        assert (core.catalog.all_held(), core.store.layout.partials()) == ([], [])
        assert core.first.count("open") == 2
        assert core.traffic.mismatches == 0


async def test_what_is_pinned_does_not_go_for_it(tmp_path: Path) -> None:
    async with cramped(tmp_path, OLD[0]) as core:
        await core.catalog.pin(Digest.of(OLD[0]), True)
        assert (await core.get("blobs", PINNED))[0] == BODY
        assert await content(core.store, Digest.of(OLD[0])) == OLD[0]


async def test_each_reader_passes_by_itself(tmp_path: Path) -> None:
    async with cramped(tmp_path) as core:
        answers = await asyncio.gather(*[core.get("blobs", PINNED) for _ in range(5)])
        assert [body for body, _ in answers] == [BODY] * 5


async def test_wrong_content_that_passes_through_is_cut_short(tmp_path: Path) -> None:
    async with cramped(tmp_path) as core:
        core.first.faults = [Fault("open", times=1), Fault("open", body=BODY[:-1] + b"x")]
        with pytest.raises(DigestMismatch):
            await core.get("blobs", PINNED)


async def test_a_size_that_nobody_announced_is_no_bug_of_ours(tmp_path: Path) -> None:
    async with cramped(tmp_path) as core:
        core.first.faults = [Fault("open", announces="nothing")]
        with contextlib.suppress(Refusal):  # without a length there may be no way to send it
            assert (await core.get("blobs", PINNED))[0] == BODY


async def test_a_manifest_is_served_from_a_disk_without_a_single_byte(tmp_path: Path) -> None:
    async with cramped(tmp_path) as core:
        image = core.first.image(HERE, "latest")
        await exhaust(core.store)
        body, _ = await core.get("manifests", image)
        assert Digest.of(body) == image.digest


async def test_a_tag_is_answered_from_a_disk_without_a_single_byte(tmp_path: Path) -> None:
    async with cramped(tmp_path) as core:
        image = core.first.image(HERE, "latest")
        await exhaust(core.store)
        body, _ = await core.get("manifests", Tag(HERE, "latest"))
        assert Digest.of(body) == image.digest


async def test_another_repository_s_blob_is_served_from_a_disk_without_a_single_byte(tmp_path: Path) -> None:
    async with cramped(tmp_path, OLD[0]) as core:
        pinned = core.first.blob(HERE, OLD[0])
        await exhaust(core.store)
        assert (await core.get("blobs", pinned))[0] == OLD[0]


async def test_referrers_are_listed_from_a_disk_without_a_single_byte(tmp_path: Path) -> None:
    async with cramped(tmp_path) as core:
        core.first.subjects = {PINNED: image_index(*[{"digest": PINNED.digest}] * 100)}
        await exhaust(core.store)
        body, _ = await core.listings.referrers(PINNED, None)
        assert len(json.loads(body)["manifests"]) == 100


async def test_uses_wait_for_a_disk_with_room(tmp_path: Path) -> None:
    async with cramped(tmp_path, *OLD) as core:
        digests = [Digest.of(body) for body in OLD]
        for digest in digests:
            core.accesses.note(digest)
        await exhaust(core.store)
        with contextlib.suppress(StoreFull):
            await core.accesses.carry_over()
        (core.store.layout.data / "filler").unlink()
        await core.accesses.carry_over()
        held = [core.catalog.held(digest) for digest in digests]
        assert [each and each.uses for each in held] == [2] * len(OLD)


async def test_a_small_blob_is_served_from_a_disk_without_a_single_byte(tmp_path: Path) -> None:
    async with cramped(tmp_path) as core:
        pinned = core.first.blob(HERE, b"small")
        await exhaust(core.store)
        assert (await core.get("blobs", pinned))[0] == b"small"


# a budget that is full


async def test_what_the_budget_cannot_hold_is_served_all_the_same(tmp_path: Path) -> None:
    async with running(tmp_path, Setting(budget=SIZE - 1)) as core:
        core.first.blob(HERE, BODY)
        for tries in (1, 2):
            assert (await core.get("blobs", PINNED))[0] == BODY
            await core.settled()
            assert core.first.count("open") == tries
            assert (core.catalog.all_held(), core.store.layout.partials()) == ([], [])


async def test_a_manifest_the_budget_cannot_hold_is_served_all_the_same(tmp_path: Path) -> None:
    async with running(tmp_path, Setting(budget=10)) as core:
        image = core.first.image(HERE)
        body, _ = await core.get("manifests", image)
        assert Digest.of(body) == image.digest
        assert (core.catalog.all_held(), core.store.layout.partials()) == ([], [])


# passing through, for a flight that came so far


MIRRORED = Setting(mirrored=True)


@contextmanager
def spilled(directory: Path, written: int) -> Iterator[tuple[Flight, int]]:
    """A flight that the disk refused at byte `written`, and its file."""
    file = directory / "growing"
    file.write_bytes(BODY[:written])
    flight = Flight("blobs", PINNED)
    flight.size = SIZE
    flight.spill(written)
    fd = os.open(file, os.O_RDONLY)
    try:
        yield flight, fd
    finally:
        os.close(fd)


async def passed(core: Core, directory: Path, written: int, position: int, received: bytearray) -> None:
    with spilled(directory, written) as (flight, fd):
        async for piece in core.overflow(flight, fd, position):
            received += piece


WRITTEN = pytest.mark.parametrize("written", [0, 1, 100_000, SIZE - HELD_BACK, SIZE - 1])


@WRITTEN
@pytest.mark.parametrize("further", [0, 1, 100_000, SIZE])
@pytest.mark.parametrize("ignores_range", [False, True])
async def test_the_rest_comes_from_any_position(
    tmp_path: Path, written: int, further: int, ignores_range: bool
) -> None:
    async with running(tmp_path / "data") as core:
        core.first.blob(HERE, BODY)
        core.first.faults = [Fault("open", ignores_range=ignores_range)]
        position = min(written + further, SIZE - 1)
        received = bytearray()
        await passed(core, tmp_path, written, position, received)
        assert received == BODY[position:]
        assert core.first.asked[0].start == written


@WRITTEN
@pytest.mark.parametrize("wrong", [BODY[:-1] + b"x", BODY + b"x", BODY[:-1]], ids=["altered", "longer", "shorter"])
async def test_the_last_piece_of_wrong_content_does_not_pass(tmp_path: Path, written: int, wrong: bytes) -> None:
    async with running(tmp_path / "data") as core:
        core.first.blob(HERE, BODY)
        core.first.faults = [Fault("open", body=wrong)]
        received = bytearray()
        with pytest.raises((DigestMismatch, Unavailable)):
            await passed(core, tmp_path, written, written, received)
        assert written + len(received) < SIZE
        assert (BODY + b"x")[written:].startswith(received)


async def test_a_wrong_beginning_does_not_pass_either(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as core:
        core.first.blob(HERE, BODY)
        received = bytearray()
        with spilled(tmp_path, 1000) as (flight, fd):
            (tmp_path / "growing").write_bytes(b"x" * 1000)
            with pytest.raises(DigestMismatch):  # noqa: PT012 - the pieces before the error are wanted
                async for piece in core.overflow(flight, fd, 1000):
                    received += piece
        assert 1000 + len(received) == SIZE - HELD_BACK


async def test_a_break_on_the_way_through_is_told(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as core:
        core.first.blob(HERE, BODY)
        core.first.faults = [Fault("open", at=300_000, breaks=True)]
        received = bytearray()
        with pytest.raises(Unavailable) as caught:
            await passed(core, tmp_path, 1000, 1000, received)
        assert type(caught.value) is Unavailable
        assert BODY[1000 : 300_000 - HELD_BACK] == received


async def test_the_next_upstream_goes_on_where_the_first_breaks(tmp_path: Path) -> None:
    async with running(tmp_path / "data", MIRRORED) as core:
        core.first.blob(HERE, BODY)
        core.second.blob(HERE, BODY)
        core.first.faults = [Fault("open", at=300_000, breaks=True)]
        received = bytearray()
        await passed(core, tmp_path, 1000, 1000, received)
        assert received == BODY[1000:]
        assert [question.start for question in core.second.asked] == [300_000]


async def test_the_next_upstream_lets_it_through_where_the_first_refuses(tmp_path: Path) -> None:
    async with running(tmp_path / "data", MIRRORED) as core:
        core.second.blob(HERE, BODY)
        received = bytearray()
        await passed(core, tmp_path, 1000, 1000, received)
        assert received == BODY[1000:]


async def test_a_reader_that_has_enough_leaves_nothing_open(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as core:
        core.first.blob(HERE, BODY)
        with spilled(tmp_path, 1000) as (flight, fd):
            pieces = core.overflow(flight, fd, 1000)
            assert isinstance(pieces, AsyncGenerator)
            assert BODY[1000:].startswith(await anext(pieces))
            assert core.first.reading == 1
            await pieces.aclose()
            assert core.first.reading == 0


async def test_a_reader_that_leaves_on_the_way_through_leaves_nothing(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as core:
        core.first.blob(HERE, BODY)
        fault = Fault("open", hold=asyncio.Event(), at=300_000)
        core.first.faults = [fault]
        reader = asyncio.create_task(passed(core, tmp_path, 1000, 1000, bytearray()))
        await fault.reached.wait()
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader

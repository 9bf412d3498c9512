"""Files that are still growing."""

import asyncio
import os
import threading
from pathlib import Path

import pytest

from edgeproxy.interfaces import OnDisk
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.errors import DigestMismatch
from edgeproxy.store.disk import DiskStore
from tests.fakes.clock import ManualClock
from tests.store.stores import content, files_open_below, opened, read

BODY = bytes(range(256)) * 20
DIGEST = Digest.of(BODY)


async def test_a_growing_file_is_read_below_its_offset(store: DiskStore) -> None:
    writer = await store.create(DIGEST)
    await writer.write(BODY[:1000])
    first = writer.reader()
    assert first.size == writer.offset == 1000
    await writer.write(BODY[1000:])
    assert os.pread(first.fd, len(BODY), 0) == BODY
    await writer.commit()
    await store.delete([DIGEST])
    assert read(first.fd, len(BODY)) == BODY


async def test_each_reader_closes_its_own(store: DiskStore) -> None:
    writer = await store.create(DIGEST)
    await writer.write(BODY)
    first, second = writer.reader(), writer.reader()
    os.close(first.fd)
    await writer.close(keep=False)
    assert read(second.fd, len(BODY)) == BODY


@pytest.mark.parametrize("cuts", [[], [1], [1000, 1000], [1, 2, 3, len(BODY) - 1]])
async def test_an_attempt_goes_on_where_the_last_was_suspended(store: DiskStore, cuts: list[int]) -> None:
    start = 0
    for stop in [*cuts, len(BODY)]:
        writer = await store.create(DIGEST)
        assert writer.offset == start
        await writer.write(BODY[start:stop])
        start = stop
        if stop < len(BODY):
            await writer.close(keep=True)
    await writer.verify()
    await writer.commit()
    assert await content(store, DIGEST) == BODY


async def test_an_attempt_goes_on_where_a_process_was_killed(tmp_path: Path, clock: ManualClock) -> None:
    async with opened(tmp_path, clock) as store:
        store.layout.partial_of(DIGEST).write_bytes(BODY[:777])
    async with opened(tmp_path, clock) as store:
        writer = await store.create(DIGEST)
        assert writer.offset == 777
        assert read(writer.reader().fd, 777) == BODY[:777]
        await writer.write(BODY[777:])
        await writer.verify()
        await writer.commit()
        assert await content(store, DIGEST) == BODY


async def test_a_long_beginning_is_hashed_as_well(store: DiskStore) -> None:
    body = BODY * 500  # more than is read at once
    digest = Digest.of(body)
    store.layout.partial_of(digest).write_bytes(body[:-1])
    writer = await store.create(digest)
    with pytest.raises(DigestMismatch):
        await writer.verify()
    await writer.write(body[-1:])
    await writer.verify()
    await writer.close(keep=False)


async def test_a_wrong_beginning_is_noticed(store: DiskStore) -> None:
    store.layout.partial_of(DIGEST).write_bytes(b"x" * 1000)
    writer = await store.create(DIGEST)
    await writer.write(BODY[1000:])
    with pytest.raises(DigestMismatch):
        await writer.verify()
    await writer.close(keep=False)


async def test_what_is_not_worth_keeping_is_freed(store: DiskStore) -> None:
    writer = await store.create(DIGEST)
    await writer.write(BODY)
    await writer.close(keep=False)
    assert store.layout.partials() == []
    writer = await store.create(DIGEST)
    assert writer.offset == 0
    await writer.close(keep=True)
    assert store.layout.partials() == []  # an attempt that got nothing


async def test_closing_twice_closes_nothing_else(store: DiskStore) -> None:
    """Descriptors are numbers, and a number that was freed is handed out again."""
    for ends_well in (True, False):
        writer = await store.create(DIGEST)
        await writer.write(BODY)
        await (writer.commit() if ends_well else writer.close(keep=True))
        found = await store.open(DIGEST)
        assert isinstance(found, OnDisk)
        await writer.close(keep=False)
        assert read(found.fd, found.size) == BODY


async def test_a_writer_is_known_as_long_as_it_is_open(store: DiskStore) -> None:
    writer = await store.create(DIGEST)
    await writer.write(BODY)
    assert store.growing == {DIGEST}
    assert store.idle_partials() == []
    await writer.close(keep=True)
    assert store.growing == set()
    assert [(digest, stat.st_size) for digest, stat in store.idle_partials()] == [(DIGEST, len(BODY))]
    writer = await store.create(DIGEST)
    await writer.commit()
    assert store.growing == set()
    assert store.idle_partials() == []


async def test_a_partial_that_cannot_be_read_leaves_nothing_open(store: DiskStore) -> None:
    os.mkfifo(store.layout.partial_of(DIGEST))  # opens, but has no offsets to read at
    with pytest.raises(OSError, match="seek"):
        await store.create(DIGEST)
    assert store.growing == set()
    assert files_open_below(store.layout.data, "partial") == []


async def test_a_file_that_somebody_took_away_is_freed_already(store: DiskStore) -> None:
    writer = await store.create(DIGEST)
    await writer.write(BODY)
    store.layout.partial_of(DIGEST).unlink()
    await writer.close(keep=False)
    assert store.growing == set()


# those nobody came back for


async def leave(store: DiskStore, ages: dict[bytes, float]) -> None:
    """Partial files of 100 bytes each, by the time of their last write."""
    for body, written in ages.items():
        file = store.layout.partial_of(Digest.of(body))
        file.write_bytes(bytes(100))
        os.utime(file, (written, written))


def left(store: DiskStore) -> set[Digest]:
    return {digest for digest, _ in store.layout.partials()}


@pytest.mark.parametrize(("excess", "freed"), [(0, 0), (1, 100), (100, 100), (101, 200), (1000, 300)])
async def test_the_oldest_leave_until_enough_is_freed(store: DiskStore, excess: int, freed: int) -> None:
    await leave(store, {b"b": 20.0, b"a": 10.0, b"c": 30.0})
    assert await store.drop_idle_partials(excess) == freed
    assert left(store) == {Digest.of(body) for body in [b"a", b"b", b"c"][freed // 100 :]}


async def test_all_that_are_too_old_leave(store: DiskStore) -> None:
    await leave(store, {b"a": 10.0, b"b": 20.0, b"c": 30.0})
    assert await store.drop_idle_partials(0, keep_since=20.0) == 100
    assert left(store) == {Digest.of(b"b"), Digest.of(b"c")}


class Hesitant(set[str]):
    """Lets a thread that looks whether a digest is in it wait before it goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.looked, self.go_on = threading.Event(), threading.Event()

    def __contains__(self, digest: object) -> bool:
        found = super().__contains__(digest)
        if threading.current_thread() is not threading.main_thread():
            self.looked.set()
            assert self.go_on.wait(60)
        return found


async def test_one_that_is_taken_up_again_meanwhile_stays(store: DiskStore) -> None:
    await leave(store, {BODY: 5.0})
    store.growing = growing = Hesitant()
    dropping = asyncio.create_task(store.drop_idle_partials(10**9))
    looking = asyncio.create_task(asyncio.to_thread(growing.looked.wait))
    await asyncio.wait([dropping, looking], return_when=asyncio.FIRST_COMPLETED)
    writer = await store.create(DIGEST)
    growing.go_on.set()
    growing.looked.set()
    await asyncio.gather(dropping, looking)
    await writer.write(BODY)
    try:
        await writer.commit()
    finally:
        await writer.close(keep=False)
    assert store.catalog.held(DIGEST) is not None


async def test_one_that_is_written_stays(store: DiskStore) -> None:
    await leave(store, {b"a": 10.0, BODY: 5.0})
    writer = await store.create(DIGEST)
    assert await store.drop_idle_partials(10**9, keep_since=10**12) == 100
    assert left(store) == {DIGEST}
    await writer.close(keep=False)

"""On a file system that really has no room left."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from edgeproxy.interfaces import StoreFull
from edgeproxy.oci.digest import Digest
from edgeproxy.store.disk import DiskStore
from edgeproxy.store.partial import map_of
from tests.fakes.clock import ManualClock
from tests.store.disks import exhaust, fill, small_disk
from tests.store.stores import content, keep, opened

ROOM = 256 * 1024
BODY = bytes(range(256)) * 2048


@pytest.fixture
async def cramped(tmp_path: Path, clock: ManualClock) -> AsyncIterator[DiskStore]:
    """A store with `ROOM` bytes free."""
    with small_disk(tmp_path / "disk", 2 * 1024 * 1024) as disk:
        async with opened(disk / "data", clock) as store:
            fill(disk, leave=ROOM)
            yield store


async def test_a_write_that_does_not_fit_leaves_the_file_as_it_was(cramped: DiskStore) -> None:
    digest = Digest.of(BODY)
    writer = await cramped.create(digest)
    await writer.write(BODY[:1000])
    with pytest.raises(StoreFull):
        await writer.write(BODY[1000:])
    assert writer.offset == 1000
    assert cramped.layout.partial_of(digest).stat().st_size == 1000
    await writer.close(keep=False)


async def test_a_write_goes_on_once_there_is_room(cramped: DiskStore) -> None:
    digest = Digest.of(BODY)
    writer = await cramped.create(digest)
    await writer.write(BODY[:1000])
    with pytest.raises(StoreFull):
        await writer.write(BODY[1000:])
    (cramped.layout.data.parent / "filler").unlink()
    await writer.write(BODY[1000:])
    await writer.verify()
    await writer.commit()
    assert await content(cramped, digest) == BODY


async def test_a_commit_without_room_for_its_row_is_full(cramped: DiskStore) -> None:
    writer = await cramped.create(Digest.of(b"small"))
    await writer.write(b"small")
    await exhaust(cramped)
    try:
        with pytest.raises((StoreFull, OSError)):
            await writer.commit([Digest.of(bytes([number])) for number in range(100)])
    finally:
        await writer.close(keep=False)
    assert cramped.catalog.held(Digest.of(b"small")) is None
    assert list(cramped.layout.files()) == []


async def test_the_catalogue_says_that_it_is_full(cramped: DiskStore) -> None:
    await exhaust(cramped)
    with pytest.raises(StoreFull):
        await cramped.catalog.change(lambda rows: rows.put("key", "x" * 100_000))


async def test_a_full_disk_can_be_emptied(cramped: DiskStore) -> None:
    digests = [await keep(cramped, bytes([number]) * 10_000) for number in range(5)]
    await exhaust(cramped)
    assert await cramped.delete(digests) == 50_000
    assert (cramped.catalog.total(), cramped.catalog.all_held()) == (0, [])


async def test_a_map_without_room_is_none(cramped: DiskStore) -> None:
    """Else it would say that nothing of what is here is here."""
    digest, left = Digest.of(BODY), cramped.layout.partial_of(Digest.of(BODY))
    writer = await cramped.create(digest)
    await writer.write(BODY[:1000])
    await exhaust(cramped)
    with pytest.raises(StoreFull):
        await writer.write(BODY[2000:3000], 2000)
    assert list(cramped.layout.partial.iterdir()) == [left]
    (cramped.layout.data / "filler").unlink()
    await writer.write(BODY[1000:1500])
    await writer.write(BODY[2000:3000], 2000)
    assert map_of(left).read_text() == "0 1500\n2000 3000\n"
    await writer.close(keep=False)

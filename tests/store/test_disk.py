import os
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeproxy.interfaces import Held, InMemory, OnDisk
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.errors import DigestMismatch
from edgeproxy.store.disk import DiskStore
from edgeproxy.store.rows import Rows
from tests.fakes.clock import ManualClock
from tests.store.stores import SMALL, content, files_open_below, keep, opened, read

TINY, LARGE = b"tiny", bytes(range(256)) * 100
BODIES = pytest.mark.parametrize("body", [b"", TINY, bytes(SMALL), bytes(SMALL + 1), LARGE], ids=len)


@BODIES
async def test_what_is_kept_is_read_back(store: DiskStore, body: bytes) -> None:
    digest = await keep(store, body)
    assert await content(store, digest) == body


async def test_what_was_never_brought_is_not_here(store: DiskStore) -> None:
    assert await store.open(Digest.of(TINY)) is None
    assert store.recall(Digest.of(TINY)) is None


@BODIES
async def test_blobs_outlive_the_process(tmp_path: Path, clock: ManualClock, body: bytes) -> None:
    async with opened(tmp_path, clock) as first:
        digest = await keep(first, body)
    async with opened(tmp_path, clock) as second:
        assert second.recall(digest) is None
        assert await content(second, digest) == body


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
async def test_every_algorithm_has_its_files(store: DiskStore, algorithm: str) -> None:
    digest = Digest.of(LARGE, algorithm)
    writer = await store.create(digest)
    await writer.write(LARGE)
    await writer.verify()
    await writer.commit()
    assert Path(store.layout.blob(digest)).read_bytes() == LARGE
    assert await content(store, digest) == LARGE


async def test_nothing_is_visible_until_it_is_whole(store: DiskStore) -> None:
    digest = Digest.of(LARGE)
    writer = await store.create(digest)
    await writer.write(LARGE)
    await writer.verify()
    assert await store.open(digest) is None
    assert (store.catalog.held(digest), store.catalog.total()) == (None, 0)
    await writer.commit()
    assert (await content(store, digest), store.catalog.total()) == (LARGE, len(LARGE))


async def test_a_commit_makes_file_and_row(store: DiskStore, clock: ManualClock) -> None:
    layer = Digest.of(b"layer")
    digest = await keep(store, LARGE, (layer,))
    file = Path(store.layout.blob(digest))
    assert (file.read_bytes(), file.stat().st_mode & 0o777) == (LARGE, 0o600)
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert list(store.layout.partial.iterdir()) == []
    assert store.catalog.held(digest) == Held(digest, len(LARGE), clock.now(), clock.now(), needs=(layer,))


async def test_wrong_content_does_not_pass(store: DiskStore) -> None:
    writer = await store.create(Digest.of(b"right"))
    await writer.write(b"wrong")
    with pytest.raises(DigestMismatch):
        await writer.verify()
    await writer.close(keep=False)
    assert list(store.layout.partial.iterdir()) == []


# reading


async def test_a_large_blob_comes_as_an_open_file(store: DiskStore) -> None:
    found = await store.open(await keep(store, LARGE))
    assert isinstance(found, OnDisk)
    assert found.size == len(LARGE)
    assert not os.get_inheritable(found.fd)
    assert read(found.fd, found.size) == LARGE


async def test_an_open_file_outlives_the_blob(store: DiskStore) -> None:
    digest = await keep(store, LARGE)
    found = await store.open(digest)
    assert isinstance(found, OnDisk)
    assert await store.delete([digest]) == len(LARGE)
    assert await store.open(digest) is None
    assert read(found.fd, found.size) == LARGE


async def test_a_small_blob_is_hot_once_it_is_kept(store: DiskStore) -> None:
    digest = await keep(store, TINY)
    assert store.recall(digest) == TINY
    assert await store.open(digest) == InMemory(TINY)
    assert store.recall(await keep(store, bytes(SMALL))) is not None
    assert store.recall(await keep(store, bytes(SMALL + 1))) is None


@pytest.mark.parametrize("body", [b"", TINY, bytes(SMALL)], ids=len)
async def test_a_small_blob_is_hot_once_it_was_read(tmp_path: Path, clock: ManualClock, body: bytes) -> None:
    async with opened(tmp_path, clock) as first:
        digest = await keep(first, body)
    async with opened(tmp_path, clock) as second:
        assert second.recall(digest) is None
        assert await second.open(digest) == InMemory(body)
        assert second.recall(digest) == body


async def test_without_memory_every_blob_is_a_file(tmp_path: Path, clock: ManualClock) -> None:
    async with opened(tmp_path, clock, memory=0) as store:
        digest = await keep(store, TINY)
        assert store.recall(digest) is None
        assert isinstance(found := await store.open(digest), OnDisk)
        assert read(found.fd, found.size) == TINY


def _loop(file: Path) -> None:
    file.symlink_to(file)


def _unreachable(file: Path) -> None:
    file.parent.rmdir()
    file.parent.touch()


@pytest.mark.parametrize("broken", [_loop, _unreachable])
async def test_a_failing_disk_is_not_a_miss(store: DiskStore, broken: Callable[[Path], None]) -> None:
    digest = Digest.of(LARGE)
    file = Path(store.layout.blob(digest))
    file.parent.mkdir(parents=True)
    broken(file)
    with pytest.raises(OSError, match=r"symbolic links|Not a directory") as caught:
        await store.open(digest)
    assert not isinstance(caught.value, FileNotFoundError)
    assert files_open_below(store.layout.data, "blobs") == []


# deleting


async def test_a_deletion_frees_what_was_accounted_for(store: DiskStore) -> None:
    first, second, kept = [await keep(store, body) for body in (TINY, LARGE, b"kept")]
    assert await store.delete([first, second, Digest.of(b"never here")]) == len(TINY) + len(LARGE)
    assert [await content(store, digest) for digest in (first, second, kept)] == [None, None, b"kept"]
    assert [held.digest for held in store.catalog.all_held()] == [kept]
    assert store.catalog.total() == len(b"kept")
    assert await store.delete([first]) == 0


async def test_a_deleted_blob_is_not_remembered(store: DiskStore) -> None:
    digest = await keep(store, TINY)
    await store.delete([digest])
    assert store.recall(digest) is None
    assert store.memory.size == 0


async def test_a_file_without_a_row_is_deleted_too(store: DiskStore) -> None:
    digest = await keep(store, TINY)
    await store.catalog.change(lambda rows: rows.delete(f"blob/{digest}"))
    assert await store.delete([digest]) == 0
    assert not Path(store.layout.blob(digest)).exists()


async def test_a_row_without_a_file_is_deleted_too(store: DiskStore) -> None:
    digest = await keep(store, TINY)
    Path(store.layout.blob(digest)).unlink()
    assert await store.delete([digest]) == len(TINY)
    assert (store.catalog.held(digest), store.catalog.total()) == (None, 0)


async def test_a_blob_can_come_back(store: DiskStore) -> None:
    for _ in range(2):
        digest = await keep(store, LARGE)
        assert await content(store, digest) == LARGE
        await store.delete([digest])
    await keep(store, LARGE)
    assert store.catalog.total() == len(LARGE)


async def test_one_is_deleted_while_another_is_kept(store: DiskStore) -> None:
    """The file and its row change together, whatever else waits for the catalogue's writer."""
    seen: list[tuple[bool, bool]] = []
    digest = await keep(store, LARGE)

    def look(rows: Rows) -> None:
        seen.append((os.path.exists(store.layout.blob(digest)), rows.get(f"blob/{digest}") is not None))

    await store.catalog.change(look)
    await store.delete([digest])
    await store.catalog.change(look)
    assert seen == [(True, True), (False, False)]

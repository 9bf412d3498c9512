"""Files that are named at their end."""

import os
from pathlib import Path

import pytest

from edgeproxy.oci.digest import Digest
from edgeproxy.oci.errors import DigestMismatch
from edgeproxy.store.disk import DiskStore
from tests.fakes.clock import ManualClock
from tests.store.stores import content, files_open_below, opened

BODY = bytes(range(256)) * 20
NAME = "some-name"


@pytest.mark.parametrize("digest", [Digest.of(BODY), Digest.of(BODY, "sha512")])
async def test_it_becomes_what_it_is_named(store: DiskStore, digest: Digest) -> None:
    store.uploads.begin(NAME)
    async with store.uploads.writing(NAME) as writer:
        await writer.write(BODY[:1000])
    assert (store.uploads.sessions[NAME].size, store.uploads.size()) == (1000, 1000)
    assert files_open_below(store.layout.data, "uploads") == []
    async with store.uploads.writing(NAME) as writer:
        assert (writer.offset, store.growing) == (1000, {NAME})
        await writer.write(BODY[1000:])
        assert store.uploads.size() == len(BODY)
        await writer.name(digest)
        await writer.verify()
        await writer.commit()
    assert await content(store, digest) == BODY
    assert (len(store.uploads), list(store.layout.uploads.iterdir()), store.growing) == (0, [], set())


async def test_a_name_that_is_wrong_is_noticed_and_not_remembered(store: DiskStore) -> None:
    store.uploads.begin(NAME)
    async with store.uploads.writing(NAME) as writer:
        await writer.write(BODY)
        for algorithm in ("sha256", "sha512"):
            await writer.name(Digest.of(b"other", algorithm))
            with pytest.raises(DigestMismatch):
                await writer.verify()
    async with store.uploads.writing(NAME) as writer:
        await writer.name(Digest.of(BODY))
        await writer.verify()


async def test_one_without_a_byte_is_one_all_the_same(tmp_path: Path, clock: ManualClock) -> None:
    async with opened(tmp_path, clock) as store:
        store.uploads.begin(NAME)
        async with store.uploads.writing(NAME):
            pass
        assert store.uploads.sessions[NAME].size == 0
    async with opened(tmp_path, clock) as store:
        async with store.uploads.writing(NAME) as writer:
            await writer.name(Digest.of(b""))
            await writer.verify()
            await writer.commit()
        assert await content(store, Digest.of(b"")) == b""


async def test_it_is_gone_on_with_by_another_process(tmp_path: Path, clock: ManualClock) -> None:
    async with opened(tmp_path, clock) as store:
        store.uploads.begin(NAME)
        async with store.uploads.writing(NAME) as writer:
            await writer.write(BODY[:777])
    os.utime(tmp_path / "uploads" / NAME, (5.0, 5.0))
    async with opened(tmp_path, clock) as store:
        assert (store.uploads.sessions[NAME].size, store.uploads.sessions[NAME].touched) == (777, 5.0)
        async with store.uploads.writing(NAME) as writer:
            await writer.write(BODY[777:])
            await writer.name(Digest.of(BODY))
            await writer.verify()
        assert store.uploads.sessions[NAME].touched == clock.now()


async def test_a_writer_that_fails_leaves_the_session_as_far_as_it_came(store: DiskStore) -> None:
    store.uploads.begin(NAME)

    async def fails() -> None:
        async with store.uploads.writing(NAME) as writer:
            await writer.write(BODY[:10])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fails()
    assert (store.uploads.sessions[NAME].size, store.uploads.sessions[NAME].writer) == (10, None)


async def test_a_name_is_taken_once(store: DiskStore) -> None:
    store.uploads.begin(NAME)
    with pytest.raises(FileExistsError):
        store.uploads.begin(NAME)
    store.uploads.drop(NAME)
    store.uploads.begin(NAME)


async def test_uploads_are_not_swept_away_with_broken_downloads(store: DiskStore) -> None:
    store.uploads.begin(NAME)
    async with store.uploads.writing(NAME) as writer:
        await writer.write(BODY)
    assert await store.drop_idle_partials(10**9, keep_since=10**12) == 0
    assert store.uploads.size() == len(BODY)


async def test_a_file_that_cannot_be_opened_loses_nothing(tmp_path: Path, clock: ManualClock) -> None:
    async with opened(tmp_path, clock) as store:
        store.uploads.begin(NAME)
        async with store.uploads.writing(NAME) as writer:
            await writer.write(BODY[:10])
    async with opened(tmp_path, clock) as store:
        (tmp_path / "uploads").rename(tmp_path / "moved")
        (tmp_path / "uploads").symlink_to("uploads")
        with pytest.raises(OSError, match="symbolic"):
            async with store.uploads.writing(NAME):
                pass
        (tmp_path / "uploads").unlink()
        (tmp_path / "moved").rename(tmp_path / "uploads")
        assert store.uploads.sessions[NAME].size == 10

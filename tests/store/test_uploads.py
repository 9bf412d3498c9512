"""Files that are named at their end."""

import asyncio
import os
from pathlib import Path

import pytest

from edgeproxy.interfaces import Span
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.errors import DigestMismatch
from edgeproxy.store.disk import DiskStore
from edgeproxy.store.partial import map_of
from edgeproxy.store.uploads import Occupied
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


# shared by several


async def test_several_share_one_writer_which_the_last_closes(store: DiskStore) -> None:
    store.uploads.begin(NAME)
    async with store.uploads.sharing(NAME) as (session, first):
        async with store.uploads.sharing(NAME) as (same, second):
            assert (same is session, second is first, session.users) == (True, True, 2)
            await second.write(BODY[1000:2000], 1000)
        assert not session.is_at_rest
        await first.write(BODY[:1000])
        assert session.size == 2000
    assert (session.is_at_rest, session.size, files_open_below(store.layout.data, "uploads")) == (True, 2000, [])


async def test_those_who_come_at_once_wait_for_the_same_opening(tmp_path: Path, clock: ManualClock) -> None:
    async with opened(tmp_path, clock) as store:
        store.uploads.begin(NAME)
        async with store.uploads.writing(NAME) as writer:
            await writer.write(BODY)
    async with opened(tmp_path, clock) as store:
        here = asyncio.Barrier(10)

        async def look() -> int:
            async with store.uploads.sharing(NAME) as (_, writer):
                await here.wait()
                return writer.offset

        assert await asyncio.gather(*(look() for _ in range(10))) == [len(BODY)] * 10


async def test_whoever_leaves_before_it_is_open_takes_nothing_with_him(tmp_path: Path, clock: ManualClock) -> None:
    async with opened(tmp_path, clock) as store:
        store.uploads.begin(NAME)
        async with store.uploads.writing(NAME) as writer:
            await writer.write(BODY)

    async def look(store: DiskStore) -> int:
        async with store.uploads.sharing(NAME) as (_, writer):
            return writer.offset

    async with opened(tmp_path, clock) as store:
        first, second = (asyncio.create_task(look(store)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        assert await second == len(BODY)
        assert first.cancelled()
        assert (store.uploads.sessions[NAME].is_at_rest, store.uploads.size()) == (True, len(BODY))


async def test_a_gap_takes_no_room(tmp_path: Path, clock: ManualClock) -> None:
    """The last bytes of a blob of 50 GB are not 50 GB: neither while they are written nor after a restart."""
    far = 50 * 10**9
    async with opened(tmp_path, clock) as store:
        store.uploads.begin(NAME)
        async with store.uploads.sharing(NAME) as (session, writer):
            await writer.write(BODY, far)
            await writer.write(BODY[:100])
            assert session.size == len(BODY) + 100
        assert store.uploads.size() == len(BODY) + 100
    async with opened(tmp_path, clock) as store:
        assert len(BODY) + 100 <= store.uploads.size() <= len(BODY) + 3 * 4096
        async with store.uploads.sharing(NAME) as (_, writer):
            assert writer.spans == [Span(0, 100), Span(far, far + len(BODY))]


async def test_what_was_hashed_is_there_whatever_the_map_lacks(store: DiskStore) -> None:
    """A map that was begun while the first bytes were being written does not know of them."""
    store.uploads.begin(NAME)
    async with store.uploads.sharing(NAME) as (_, writer):
        await writer.write(BODY[:1000])
        await writer.write(BODY[2000:3000], 2000)
    map_of(store.layout.uploads / NAME).write_text("0 400\n2000 3000\n")
    async with store.uploads.sharing(NAME) as (_, writer):
        assert writer.spans == [Span(0, 1000), Span(2000, 3000)]
        await writer.write(BODY[1000:2000], 1000)
        await writer.write(BODY[3000:], 3000)
        await writer.name(Digest.of(BODY))
        await writer.verify()


async def test_a_map_that_is_left_says_how_far_the_hash_has_come(tmp_path: Path, clock: ManualClock) -> None:
    async with opened(tmp_path, clock) as store:
        store.uploads.begin(NAME)
        async with store.uploads.sharing(NAME) as (_, writer):
            await writer.write(BODY[:1000])
            await writer.write(BODY[2000:3000], 2000)
            map_of(store.layout.uploads / NAME).write_text("0 400\n2000 3000\n")
    async with opened(tmp_path, clock) as store, store.uploads.sharing(NAME) as (_, writer):
        assert writer.spans == [Span(0, 1000), Span(2000, 3000)]


async def test_who_shares_what_has_ended_is_in_nobodys_way(store: DiskStore) -> None:
    store.uploads.begin(NAME)
    async with store.uploads.sharing(NAME) as (old, writer):
        await writer.write(BODY)
        async with store.uploads.sharing(NAME) as (_, same):
            await same.close(keep=False)
            store.uploads.forget(NAME)
        store.uploads.begin(NAME)
        async with store.uploads.sharing(NAME) as (new, fresh):
            assert (new is old, fresh.offset) == (False, 0)
            await fresh.write(BODY[:10])
    assert (store.uploads.sessions[NAME] is new, store.uploads.size()) == (True, 10)


async def test_who_would_be_at_the_same_bytes_waits() -> None:
    occupied, order, go = Occupied(), list[str](), asyncio.Event()

    async def at(name: str, span: Span, *, until: asyncio.Event | None = None) -> None:
        async with occupied.alone(span):
            order.append(name)
            if until is not None:
                await until.wait()
        order.append(f"{name} ends")

    async with asyncio.TaskGroup() as group:
        group.create_task(at("first", Span(0, 10), until=go))
        group.create_task(at("overlaps", Span(9, 20)))
        leaves = group.create_task(at("leaves", Span(0, 1)))
        group.create_task(at("beside", Span(10, 12)))
        group.create_task(at("all", Span(0, 100)))
        for _ in range(5):
            await asyncio.sleep(0)
        assert order == ["first", "beside", "beside ends"]
        leaves.cancel()
        go.set()
    assert order[3] == "first ends"
    assert sorted(order[4:]) == ["all", "all ends", "overlaps", "overlaps ends"]
    assert order.index("all ends") < order.index("overlaps") or order.index("overlaps ends") < order.index("all")

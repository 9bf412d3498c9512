"""Blobs that clients push: sessions, and what becomes of them."""

import asyncio
import os
from contextlib import AsyncExitStack, suppress
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeproxy.cache.uploads import UploadLimits
from edgeproxy.interfaces import Span
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.errors import (
    BlobUploadInvalid,
    BlobUploadUnknown,
    DigestInvalid,
    InsufficientStorage,
    RangeInvalid,
    SizeInvalid,
    TooManyRequests,
    UploadBusy,
)
from edgeproxy.oci.manifest import OCI_MANIFEST
from edgeproxy.oci.reference import Pinned, Repository, Tag
from edgeproxy.store.catalog import Seen
from tests.cache.core import HERE, NEAR, THERE, Core, Setting, running
from tests.cache.test_cancelled import CancelledAt, is_sound
from tests.fakes.bodies import Said, said
from tests.fakes.shelf import image_manifest
from tests.store.disks import small_disk
from tests.store.stores import files_open_below, keep

BODY = bytes(range(256)) * 20
DIGEST = Digest.of(BODY)
BLOB = Pinned(HERE, DIGEST)
UNKNOWN = "00000000-0000-0000-0000-000000000000"


def left(core: Core) -> list[str]:
    """The files of uploads."""
    return sorted(os.listdir(core.store.layout.uploads))


async def push(core: Core, blob: Pinned, body: bytes) -> None:
    await core.uploads.whole(blob, said(body))


@pytest.mark.parametrize("digest", [DIGEST, Digest.of(BODY, "sha512")])
@pytest.mark.parametrize("cuts", [[], [len(BODY)], [1000, 1000], [1, 2, 4000]])
async def test_chunks_become_a_blob(tmp_path: Path, cuts: list[int], digest: Digest) -> None:
    async with running(tmp_path) as core:
        identity = core.uploads.begin(HERE)
        start = 0
        for stop in cuts:
            assert await core.uploads.append(HERE, identity, said(BODY[start:stop]), Span(start, stop)) == stop
            assert core.uploads.offset(HERE, identity) == stop
            start = stop
        await core.uploads.finish(Pinned(HERE, digest), identity, said(BODY[start:]))
        assert (await core.get("blobs", Pinned(HERE, digest)))[0] == BODY
        assert core.catalog.total() == len(BODY)
        assert core.traffic.pushed == {"docker.io": len(BODY)}
        assert (left(core), len(core.store.uploads), core.first.asked) == ([], 0, [])


async def test_what_was_hashed_when_it_was_written_is_not_read_again(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        identity = core.uploads.begin(HERE)
        await core.uploads.append(HERE, identity, said(BODY[:1000]))
        (file,) = core.store.layout.uploads.iterdir()
        file.write_bytes(b"x" * 1000)
        await core.uploads.finish(BLOB, identity, said(BODY[1000:]))


async def test_a_session_outlives_the_process(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        identity, empty = core.uploads.begin(HERE), core.uploads.begin(HERE)
        await core.uploads.append(HERE, identity, said(BODY[:1000]))
    async with running(tmp_path) as core:
        assert core.uploads.offset(HERE, identity) == 1000
        assert core.uploads.offset(HERE, empty) == 0
        assert core.room.used() == 1000
        await core.uploads.append(HERE, identity, said(BODY[1000:2000]), Span(1000, 2000))
        await core.uploads.finish(BLOB, identity, said(BODY[2000:]))
        assert (await core.get("blobs", BLOB))[0] == BODY


async def test_wrong_content_ends_the_session_and_leaves_nothing(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        identity = core.uploads.begin(HERE)
        await core.uploads.append(HERE, identity, said(BODY[1:]))
        with pytest.raises(DigestInvalid):
            await core.uploads.finish(BLOB, identity, said())
        with pytest.raises(BlobUploadUnknown):
            core.uploads.offset(HERE, identity)
        assert (left(core), core.catalog.held(DIGEST), core.catalog.link("blobs", BLOB)) == ([], None, None)
        with pytest.raises(DigestInvalid):
            await push(core, BLOB, b"other")
        assert left(core) == []


async def test_an_upload_is_known_under_its_own_repository_only(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        identity = core.uploads.begin(HERE)
        for repository, asked in ((NEAR, identity), (HERE, UNKNOWN), (HERE, ""), (HERE, "../" + identity)):
            with pytest.raises(BlobUploadUnknown):
                core.uploads.offset(repository, asked)
            with pytest.raises(BlobUploadUnknown):
                await core.uploads.append(repository, asked, said(b"x"))
            with pytest.raises(BlobUploadUnknown):
                await core.uploads.finish(Pinned(repository, DIGEST), asked, said(BODY))
            with pytest.raises(BlobUploadUnknown):
                core.uploads.cancel(repository, asked)
        core.uploads.cancel(HERE, identity)
        with pytest.raises(BlobUploadUnknown):
            core.uploads.offset(HERE, identity)
        assert left(core) == []


async def test_only_one_writes_to_a_session_at_a_time(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        identity = core.uploads.begin(HERE)
        slow = Said([BODY[:1000]], hold=asyncio.Event())
        writing = asyncio.create_task(core.uploads.append(HERE, identity, slow))
        await slow.reached.wait()
        assert core.uploads.offset(HERE, identity) == 1000
        with pytest.raises(UploadBusy):
            await core.uploads.append(HERE, identity, said(b"x"))
        with pytest.raises(UploadBusy):
            await core.uploads.finish(BLOB, identity, said(b"x"))
        with pytest.raises(UploadBusy):
            core.uploads.cancel(HERE, identity)
        core.clock.advance(10**6)
        await core.uploads.expire()
        assert slow.hold is not None
        slow.hold.set()
        assert await writing == 1000
        await core.uploads.finish(BLOB, identity, said(BODY[1000:]))


async def test_what_arrived_before_the_client_left_stays(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        identity = core.uploads.begin(HERE)
        with pytest.raises(BlobUploadInvalid, match="gone"):
            await core.uploads.append(HERE, identity, Said([BODY[:1000]], breaks=BlobUploadInvalid("gone")))
        slow = Said([BODY[1000:2000]], hold=asyncio.Event())
        writing = asyncio.create_task(core.uploads.finish(BLOB, identity, slow))
        await slow.reached.wait()
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        assert core.uploads.offset(HERE, identity) == 2000
        await core.uploads.finish(BLOB, identity, said(BODY[2000:]), Span(2000, len(BODY)))


async def test_of_a_blob_in_one_go_nothing_stays_where_the_client_left(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        with pytest.raises(BlobUploadInvalid):
            await core.uploads.whole(BLOB, Said([BODY[:1000]], breaks=BlobUploadInvalid("gone")))
        assert left(core) == []


@pytest.mark.parametrize("length", [None, 100])
@pytest.mark.parametrize("claim", [Span(0, 100), Span(999, 1099), Span(1001, 1101)])
async def test_a_chunk_that_does_not_follow_is_not_written(tmp_path: Path, claim: Span, length: int | None) -> None:
    async with running(tmp_path) as core:
        identity = core.uploads.begin(HERE)
        await core.uploads.append(HERE, identity, said(BODY[:1000]))
        for ask in (
            core.uploads.append(HERE, identity, Said([bytes(100)], length), claim),
            core.uploads.finish(BLOB, identity, Said([bytes(100)], length), claim),
        ):
            with pytest.raises(RangeInvalid, match="at byte 1000"):
                await ask
        await core.uploads.finish(BLOB, identity, said(BODY[1000:]))


@pytest.mark.parametrize(("sent", "length", "kept"), [(99, 99, 0), (101, 101, 0), (99, None, 99), (101, None, 0)])
async def test_a_chunk_is_as_long_as_its_range(tmp_path: Path, sent: int, length: int | None, kept: int) -> None:
    async with running(tmp_path) as core:
        identity = core.uploads.begin(HERE)
        with pytest.raises(RangeInvalid):
            await core.uploads.append(HERE, identity, Said([BODY[:sent]], length), Span(0, 100))
        assert core.uploads.offset(HERE, identity) == kept


STEP = st.tuples(st.integers(0, 1500), st.none() | st.integers(-1, 1), st.booleans(), st.booleans())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(STEP, max_size=12))
async def test_whatever_chunks_come_the_blob_is_right(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, int | None, bool, bool]]
) -> None:
    """A chunk is taken where it follows what is there, and otherwise changes nothing; clients and processes leave."""
    there, data = 0, tmp_path_factory.mktemp("uploads")
    async with AsyncExitStack() as stack:
        core = await stack.enter_async_context(running(data))
        identity = core.uploads.begin(HERE)
        for size, shift, client_leaves, process_ends in steps:
            body = BODY[there : there + size]
            claim = (
                None if shift is None or not body else Span(max(0, there + shift), max(0, there + shift) + len(body))
            )
            breaks = BlobUploadInvalid("gone") if client_leaves else None
            with suppress(RangeInvalid, BlobUploadInvalid):
                await core.uploads.append(HERE, identity, Said([body] if body else [], breaks=breaks), claim)
            there += len(body) if claim is None or claim.start == there else 0
            assert core.uploads.offset(HERE, identity) == there
            if process_ends:
                await stack.aclose()
                core = await stack.enter_async_context(running(data))
        await core.uploads.finish(
            BLOB, identity, said(BODY[there:]), Span(there, len(BODY)) if there < len(BODY) else None
        )
        assert (await core.get("blobs", BLOB))[0] == BODY


# limits


async def test_so_many_uploads_and_no_more(tmp_path: Path) -> None:
    async with running(tmp_path, Setting(uploads=UploadLimits(sessions=20))) as core:
        open_before = len(os.listdir("/proc/self/fd"))
        begun, refused = [], 0
        for _ in range(10_000):
            try:
                begun.append(core.uploads.begin(HERE))
            except TooManyRequests as refusal:
                assert refusal.retry_after
                refused += 1
        assert (len(begun), refused, len(left(core))) == (20, 9_980, 20)
        for identity in begun:
            await core.uploads.append(HERE, identity, said(b"x"))
        assert len(os.listdir("/proc/self/fd")) == open_before
        assert files_open_below(tmp_path, "uploads") == []
        core.uploads.cancel(HERE, begun[0])
        core.uploads.begin(HERE)


@pytest.mark.parametrize("length", [None, 1001])
async def test_a_blob_is_so_long_and_no_longer(tmp_path: Path, length: int | None) -> None:
    async with running(tmp_path, Setting(uploads=UploadLimits(size=1000))) as core:
        await push(core, Pinned(HERE, Digest.of(BODY[:1000])), BODY[:1000])
        identity = core.uploads.begin(HERE)
        with pytest.raises(SizeInvalid):
            await core.uploads.append(HERE, identity, Said([BODY[:600], BODY[600:1001]], length))
        assert core.room.used() == 1000


async def test_an_upload_that_is_left_alone_ends(tmp_path: Path) -> None:
    async with running(tmp_path, Setting(uploads=UploadLimits(age=100.0))) as core:
        old, new = core.uploads.begin(HERE), core.uploads.begin(HERE)
        core.clock.advance(60.0)
        await core.uploads.append(HERE, new, said(b"x"))
        core.clock.advance(60.0)
        await core.uploads.expire()
        with pytest.raises(BlobUploadUnknown):
            core.uploads.offset(HERE, old)
        assert core.uploads.offset(HERE, new) == 1
    assert len(list((tmp_path / "uploads").iterdir())) == 1


# room


async def test_cached_content_makes_room_for_what_is_pushed(tmp_path: Path) -> None:
    async with running(tmp_path, Setting(budget=8000)) as core:
        cached = await keep(core.store, b"c" * 5000)
        identity = core.uploads.begin(HERE)
        await core.uploads.append(HERE, identity, said(BODY[:4000]))
        assert core.room.used() == 9000
        await core.uploads.finish(BLOB, identity, said(BODY[4000:]))
        assert core.catalog.held(cached) is None
        assert core.room.used() == len(BODY)


async def test_where_no_room_can_be_made_the_session_ends(tmp_path: Path) -> None:
    async with running(tmp_path, Setting(budget=8000)) as core:
        await core.catalog.pin(await keep(core.store, b"c" * 5000), True)
        with pytest.raises(InsufficientStorage):
            await push(core, BLOB, BODY)
        identity = core.uploads.begin(HERE)
        await core.uploads.append(HERE, identity, said(BODY))
        with pytest.raises(InsufficientStorage):
            await core.uploads.append(HERE, identity, said(b"more"))
        assert (left(core), core.catalog.held(DIGEST), core.room.used()) == ([], None, 5000)
        assert core.catalog.link("blobs", BLOB) is None


async def test_a_full_disk_makes_room_or_says_so(tmp_path: Path) -> None:
    body = os.urandom(3_000_000)
    blob = Pinned(HERE, Digest.of(body))
    with small_disk(tmp_path / "disk", 4_000_000) as disk:
        async with running(disk) as core:
            cached = await keep(core.store, bytes(1_500_000))
            await core.uploads.whole(blob, said(body[:1_500_000], body[1_500_000:]))
            assert core.catalog.held(cached) is None
            more = os.urandom(1_500_000)
            with pytest.raises(InsufficientStorage):
                await push(core, Pinned(HERE, Digest.of(more)), more)
            assert left(core) == []
            assert (await core.get("blobs", blob))[0] == body


async def test_what_waits_for_its_manifest_is_not_evicted_for_so_long(tmp_path: Path) -> None:
    async with running(tmp_path, Setting(budget=8000, uploads=UploadLimits(age=100.0))) as core:
        await push(core, BLOB, BODY)
        other = Pinned(HERE, Digest.of(b"o" * 5000))
        with pytest.raises(InsufficientStorage):
            await push(core, other, b"o" * 5000)
        core.clock.advance(100.0)
        await push(core, other, b"o" * 5000)
        assert (core.catalog.held(DIGEST), core.catalog.link("blobs", BLOB)) == (None, None)
        await core.uploads.expire()
        assert [key for key, _ in core.catalog.scan("keep/")] == [f"keep/{other.digest}"]


# whose it is


async def test_a_repository_that_is_pushed_to_is_private(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        await core.catalog.put_seen(NEAR, True, 5.0)
        for repository in (HERE, NEAR):
            await push(core, Pinned(repository, DIGEST), BODY)
        assert core.catalog.seen(HERE) == Seen(False, 0.0)
        assert core.catalog.seen(NEAR) == Seen(True, 5.0)


async def test_a_pushed_blob_is_shown_by_its_repository_only(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        await push(core, BLOB, BODY)
        assert core.catalog.link("blobs", Pinned(NEAR, DIGEST)) is None
        assert not await core.uploads.mount(Pinned(NEAR, DIGEST), THERE)
        assert not await core.uploads.mount(Pinned(HERE, Digest.of(b"none")), NEAR)
        assert await core.uploads.mount(BLOB, NEAR)
        assert core.catalog.seen(NEAR) == Seen(False, 0.0)
        assert (await core.get("blobs", Pinned(NEAR, DIGEST)))[0] == BODY
        assert core.first.asked == []


async def test_a_mounted_blob_waits_for_its_manifest_as_well(tmp_path: Path) -> None:
    async with running(tmp_path, Setting(budget=8000)) as core:
        cached = core.first.blob(HERE, BODY)
        await core.get("blobs", cached)
        await core.settled()
        assert await core.uploads.mount(cached, Repository("docker.io", "mine/app"))
        with pytest.raises(InsufficientStorage):
            await push(core, Pinned(HERE, Digest.of(b"o" * 5000)), b"o" * 5000)


async def test_a_manifest_that_is_pushed_as_a_blob_stays_a_manifest(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        manifest = await keep(core.store, BODY, (Digest.of(b"layer"),))
        await core.catalog.pin(manifest, True)
        await push(core, BLOB, BODY)
        held = core.catalog.held(manifest)
        assert held is not None
        assert (held.needs, held.pinned, core.catalog.total()) == ((Digest.of(b"layer"),), True, len(BODY))


async def test_cancelled_at_each_await_it_can_be_pushed_again(tmp_path: Path) -> None:
    """Whatever is left is whole, or is gone on with."""
    image = image_manifest(BODY, [b"layer"])
    tag, layer = Tag(HERE, "1.0"), Pinned(HERE, Digest.of(b"layer"))

    async def push_image(core: Core) -> None:
        identity = core.uploads.begin(HERE)
        await core.uploads.append(HERE, identity, said(BODY[:1000]), Span(0, 1000))
        await core.uploads.finish(BLOB, identity, said(BODY[1000:]))
        await push(core, layer, b"layer")
        await core.manifests.put(tag, image, OCI_MANIFEST)

    for nth in count(1):
        async with running(tmp_path / str(nth), Setting(budget=12_000)) as core:
            await keep(core.store, b"c" * 10_000)
            cancelled = CancelledAt(nth)
            with suppress(asyncio.CancelledError):
                await asyncio.create_task(cancelled(push_image(core)))
            await core.settled()
            await is_sound(core)
            assert all(session.writer is None for session in core.store.uploads.sessions.values())
            record = core.catalog.tag(tag)
            if record is not None:
                assert (await core.get("manifests", tag))[0] == image
            await push_image(core)
            assert (await core.get("blobs", BLOB))[0] == BODY
            assert core.first.asked == []
        if not cancelled.struck:
            break
    assert nth > 10

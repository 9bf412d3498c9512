"""Blobs that arrive in chunks, in any order and several at a time."""

import asyncio
import itertools
import os
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeproxy.cache.chunks import Chunk, ChunkedBlob, session_of
from edgeproxy.cache.uploads import UploadLimits
from edgeproxy.interfaces import Span
from edgeproxy.oci.chunks import LARGEST_CHUNK, write_checksum
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.errors import (
    BlobUnknown,
    BlobUploadInvalid,
    BlobUploadUnknown,
    DigestInvalid,
    RangeInvalid,
    RequestInvalid,
    SizeInvalid,
    UploadBusy,
)
from edgeproxy.oci.reference import Pinned
from tests.cache.core import HERE, NEAR, Core, Setting, running, until
from tests.cache.test_cancelled import is_sound

BODY = bytes(range(256)) * 20
SIZE = len(BODY)
BLOB = Pinned(HERE, Digest.of(BODY))
WHOLE = ChunkedBlob(BLOB, SIZE)


def chunk(start: int, stop: int, body: bytes = BODY, *, packed: bool = False) -> Chunk:
    sent = body[start:stop]
    if packed:
        sent = zstandard.ZstdCompressor().compress(sent)
    return Chunk(Span(start, stop), giving(sent), "zstd" if packed else "", write_checksum(sent))


def giving(body: bytes, go: asyncio.Event | None = None) -> Callable[[], Awaitable[bytes]]:
    async def receive() -> bytes:
        if go is not None:
            await go.wait()
        return body

    return receive


def left(core: Core) -> list[str]:
    """The files of uploads."""
    return sorted(os.listdir(core.store.layout.uploads))


async def push(core: Core, *chunks: Chunk, whole: ChunkedBlob = WHOLE) -> None:
    """Begin, send these, and end."""
    await core.chunks.begin(whole)
    for each in chunks:
        await core.chunks.put(whole, each)
    await core.chunks.finish(whole)


def test_an_id_says_what_it_is_of_and_where() -> None:
    for digest in (BLOB.digest, Digest.of(BODY, "sha512")):
        whole = ChunkedBlob(Pinned(HERE, digest), 12)
        assert session_of(HERE, whole.identity) == whole
        assert ChunkedBlob(Pinned(NEAR, digest), 12).name != whole.name
        assert ChunkedBlob(Pinned(HERE, digest), 13).name != whole.name
        assert len(f"{whole.name}.map") < 255
    for other in (
        "",
        "00000000-0000-0000-0000-000000000000",
        "sha256-00-1",
        f"../{WHOLE.identity}",
        WHOLE.identity[:-5],
    ):
        assert session_of(HERE, other) is None


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
async def test_chunks_in_any_order_become_a_blob(tmp_path: Path, order: tuple[int, ...], algorithm: str) -> None:
    whole = ChunkedBlob(Pinned(HERE, Digest.of(BODY, algorithm)), SIZE)
    edges = [(0, 1000), (1000, 3000), (3000, SIZE)]
    async with running(tmp_path) as core:
        assert await core.chunks.begin(whole) == []
        for number in order:
            await core.chunks.put(whole, chunk(*edges[number], packed=number == 1))
        assert await core.chunks.held(whole) == [Span(0, SIZE)]
        with pytest.raises(BlobUnknown):
            await core.get("blobs", whole.blob)
        core.first.asked.clear()
        await core.chunks.finish(whole)
        assert (await core.get("blobs", whole.blob))[0] == BODY
        assert (left(core), len(core.store.uploads), core.first.asked) == ([], 0, [])
        assert core.traffic.pushed == {"docker.io": SIZE}
        assert 0 < core.traffic.carried["docker.io"] < SIZE


async def test_the_empty_blob(tmp_path: Path) -> None:
    empty = ChunkedBlob(Pinned(HERE, Digest.of(b"")), 0)
    async with running(tmp_path) as core:
        await push(core, whole=empty)
        assert (await core.get("blobs", empty.blob))[0] == b""


async def test_it_is_gone_on_with_after_a_restart_without_asking_first(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        await core.chunks.begin(WHOLE)
        await core.chunks.put(WHOLE, chunk(0, 1000))
        await core.chunks.put(WHOLE, chunk(2000, 3000))
        assert core.room.used() == 2000
    async with running(tmp_path) as core:
        await core.chunks.put(WHOLE, chunk(3000, SIZE))
        assert await core.chunks.held(WHOLE) == [Span(0, 1000), Span(2000, SIZE)]
        assert await core.chunks.begin(WHOLE) == [Span(0, 1000), Span(2000, SIZE)]
        await core.chunks.put(WHOLE, chunk(1000, 2000))
        await core.chunks.finish(WHOLE)
        assert (await core.get("blobs", BLOB))[0] == BODY


async def test_whoever_asks_twice_is_answered_twice(tmp_path: Path) -> None:
    """The first answer may have been lost on the line."""
    async with running(tmp_path) as core:
        for _ in range(2):
            assert await core.chunks.begin(WHOLE) == []
        for _ in range(2):
            await core.chunks.put(WHOLE, chunk(0, SIZE))
        for _ in range(2):
            await core.chunks.finish(WHOLE)
        assert await core.chunks.begin(WHOLE) is None
        assert core.traffic.pushed == {"docker.io": SIZE}
        assert core.traffic.carried == {"docker.io": 2 * SIZE}
        with pytest.raises(BlobUploadUnknown):
            await core.chunks.put(WHOLE, chunk(0, SIZE))


async def test_ends_at_once_are_one_end(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        await core.chunks.begin(WHOLE)
        await core.chunks.put(WHOLE, chunk(0, SIZE))
        await asyncio.gather(*(core.chunks.finish(WHOLE) for _ in range(5)))
        await is_sound(core)
        assert (await core.get("blobs", BLOB))[0] == BODY


async def test_the_same_chunk_at_once_is_written_once(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        await core.chunks.begin(WHOLE)
        await asyncio.gather(*(core.chunks.put(WHOLE, chunk(0, SIZE)) for _ in range(5)))
        assert core.traffic.pushed == {"docker.io": SIZE}
        await core.chunks.finish(WHOLE)


async def test_what_is_held_is_not_written_again(tmp_path: Path) -> None:
    """Not even where it comes otherwise: whoever was first is right, or the digest says that he is not."""
    wrong = bytes(SIZE)
    async with running(tmp_path) as core:
        await core.chunks.begin(WHOLE)
        await core.chunks.put(WHOLE, chunk(1000, 2000))
        await core.chunks.put(WHOLE, chunk(3000, 4000))
        await core.chunks.put(WHOLE, chunk(1200, 1800, wrong))
        for start, stop in ((500, 1500), (1500, 3500), (0, SIZE)):
            sent = bytearray(BODY)
            for held in await core.chunks.held(WHOLE):
                sent[held.start : held.stop] = bytes(held.length)
            await core.chunks.put(WHOLE, chunk(start, stop, bytes(sent)))
        await core.chunks.finish(WHOLE)
        assert (await core.get("blobs", BLOB))[0] == BODY


async def test_who_is_second_is_answered_once_the_bytes_are_there(tmp_path: Path) -> None:
    """And writes them where the first one could not."""
    go = asyncio.Event()
    async with running(tmp_path) as core:
        await core.chunks.begin(WHOLE)
        session = core.store.uploads.sessions[WHOLE.name]

        async def first() -> None:
            async with session.occupied.alone(Span(0, 100)):
                await go.wait()

        writing = asyncio.create_task(first())
        await asyncio.sleep(0)
        second = asyncio.create_task(core.chunks.put(WHOLE, chunk(50, 150)))
        await core.chunks.put(WHOLE, chunk(150, SIZE))
        ending = asyncio.create_task(core.chunks.finish(WHOLE))
        await until(lambda: session.users == 2)
        assert not second.done()
        go.set()
        await writing
        await second
        with pytest.raises(RangeInvalid, match="50 bytes are missing"):
            await ending
        assert await core.chunks.held(WHOLE) == [Span(50, SIZE)]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
async def test_any_chunks_that_cover_it_are_the_blob(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """In any order, with overlaps, some packed, some at once, over restarts."""
    cuts = sorted(data.draw(st.sets(st.integers(1, SIZE - 1), max_size=8)))
    cover = list(itertools.pairwise([0, *cuts, SIZE]))
    ends = st.tuples(st.integers(0, SIZE), st.integers(0, SIZE)).filter(lambda each: each[0] != each[1])
    more = [(min(each), max(each)) for each in data.draw(st.lists(ends, max_size=6))]
    waves = data.draw(st.permutations([*cover, *more]))
    sizes = data.draw(st.lists(st.integers(1, 4), min_size=len(waves), max_size=len(waves)))
    restarts = data.draw(st.sets(st.integers(0, len(waves)), max_size=3))
    path = tmp_path_factory.mktemp("chunks")
    sent = 0
    async with AsyncExitStack() as stack:
        core = await stack.enter_async_context(running(path))
        await core.chunks.begin(WHOLE)
        for number, size in enumerate(sizes):
            wave, sent = waves[sent : sent + size], sent + size
            await asyncio.gather(*(core.chunks.put(WHOLE, chunk(*each, packed=number % 2 == 1)) for each in wave))
            if number in restarts:
                await stack.aclose()
                core = await stack.enter_async_context(running(path))
        assert await core.chunks.held(WHOLE) == [Span(0, SIZE)]
        await core.chunks.finish(WHOLE)
        assert (await core.get("blobs", BLOB))[0] == BODY
        assert left(core) == []


# what is refused


@pytest.mark.parametrize(
    ("sent", "refusal"),
    [
        (chunk(SIZE - 1, SIZE + 1, BODY + b"x"), RangeInvalid),
        (chunk(SIZE, SIZE + 1, BODY + b"x"), RangeInvalid),
        (Chunk(Span(0, 10), giving(BODY[:9]), "", write_checksum(BODY[:9])), BlobUploadInvalid),
        (Chunk(Span(0, 10), giving(BODY[:11]), "", write_checksum(BODY[:11])), BlobUploadInvalid),
        (Chunk(Span(0, 10), giving(BODY[:10]), "zstd", write_checksum(BODY[:10])), BlobUploadInvalid),
        (Chunk(Span(0, 10), giving(BODY[:10]), "", write_checksum(BODY[:11])), DigestInvalid),
        (Chunk(Span(0, 10), giving(BODY[:10]), "", ""), RequestInvalid),
        (Chunk(Span(0, 10), giving(BODY[:10]), "gzip", write_checksum(BODY[:10])), BlobUploadInvalid),
    ],
    ids=range(8),
)
async def test_a_chunk_that_is_refused_changes_nothing(tmp_path: Path, sent: Chunk, refusal: type[Exception]) -> None:
    async with running(tmp_path) as core:
        await core.chunks.begin(WHOLE)
        with pytest.raises(refusal):
            await core.chunks.put(WHOLE, sent)
        assert await core.chunks.held(WHOLE) == []
        await push(core, chunk(0, SIZE))


async def test_a_chunk_is_so_long_and_no_longer(tmp_path: Path) -> None:
    body = bytes(LARGEST_CHUNK + 1)
    whole = ChunkedBlob(Pinned(HERE, Digest.of(body)), len(body))
    async with running(tmp_path) as core:
        await core.chunks.begin(whole)
        with pytest.raises(SizeInvalid):
            await core.chunks.put(whole, chunk(0, len(body), body))
        await push(core, chunk(1, len(body), body, packed=True), chunk(0, 1, body), whole=whole)


async def test_while_something_is_missing_it_does_not_end(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        await core.chunks.begin(WHOLE)
        for start, stop in ((1, 1000), (1001, SIZE), (0, 1)):
            with pytest.raises(RangeInvalid, match="missing"):
                await core.chunks.finish(WHOLE)
            await core.chunks.put(WHOLE, chunk(start, stop))
        assert await core.chunks.held(WHOLE) == [Span(0, 1000), Span(1001, SIZE)]
        await push(core, chunk(1000, 1001))


async def test_what_is_wrong_at_its_end_is_forgotten(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        for wrong in (bytes(SIZE), BODY[:-1] + b"x"):
            with pytest.raises(DigestInvalid):
                await push(core, chunk(1000, SIZE, wrong), chunk(0, 1000, wrong))
            assert (left(core), core.room.used(), core.catalog.link("blobs", BLOB)) == ([], 0, None)
            for ask in (core.chunks.held(WHOLE), core.chunks.put(WHOLE, chunk(0, 10)), core.chunks.finish(WHOLE)):
                with pytest.raises(BlobUploadUnknown):
                    await ask
        await push(core, chunk(0, SIZE))


async def test_who_waited_for_an_end_that_was_wrong_is_told(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        await core.chunks.begin(WHOLE)
        await core.chunks.put(WHOLE, chunk(0, SIZE, bytes(SIZE)))
        session, alone, ended = core.store.uploads.sessions[WHOLE.name], asyncio.Event(), asyncio.Event()

        async def first() -> None:
            """Has all of it for itself, and finds it wrong."""
            async with core.store.uploads.sharing(WHOLE.name) as (_, writer), session.occupied.alone(Span(0, SIZE)):
                alone.set()
                await ended.wait()
                await writer.close(keep=False)
                core.store.uploads.forget(WHOLE.name)

        ending = asyncio.create_task(first())
        await alone.wait()
        waiting = [core.chunks.put(WHOLE, chunk(0, SIZE)), core.chunks.finish(WHOLE)]
        tasks = [asyncio.create_task(each) for each in waiting]
        await until(lambda: session.users == 3)
        for _ in range(20):  # what is unpacked in a thread gets as far as it can
            await core.store.run(lambda: None)
        ended.set()
        await ending
        for task in tasks:
            with pytest.raises(BlobUploadUnknown):
                await task
        await push(core, chunk(0, SIZE))


async def test_a_session_is_of_one_repository(tmp_path: Path) -> None:
    """Nobody learns, or is shown, what was sent to another one."""
    elsewhere = ChunkedBlob(Pinned(NEAR, BLOB.digest), SIZE)
    async with running(tmp_path) as core:
        await core.chunks.begin(WHOLE)
        await core.chunks.put(WHOLE, chunk(0, SIZE))
        for ask in (
            core.chunks.held(elsewhere),
            core.chunks.put(elsewhere, chunk(0, 1)),
            core.chunks.finish(elsewhere),
        ):
            with pytest.raises(BlobUploadUnknown):
                await ask
        with pytest.raises(BlobUploadUnknown):
            core.chunks.cancel(elsewhere)
        assert await core.chunks.begin(elsewhere) == []
        await core.chunks.finish(WHOLE)
        assert await core.chunks.begin(elsewhere) == []
        with pytest.raises(RangeInvalid):
            await core.chunks.finish(elsewhere)
        assert core.catalog.link("blobs", elsewhere.blob) is None
        await push(core, chunk(0, SIZE), whole=elsewhere)
        assert await core.chunks.begin(elsewhere) is None


async def test_what_a_download_brought_is_nothing_to_go_on_with(tmp_path: Path) -> None:
    """A part of it is here for another repository only."""
    async with running(tmp_path) as core:
        writer = await core.store.create(BLOB.digest)
        await writer.write(BODY[:3000])
        await writer.close(keep=True)
        assert await core.chunks.begin(WHOLE) == []


async def test_a_session_is_given_up(tmp_path: Path) -> None:
    go = asyncio.Event()
    async with running(tmp_path) as core:
        await core.chunks.begin(WHOLE)
        await core.chunks.put(WHOLE, chunk(2000, 3000))
        arriving = chunk(0, 1000)
        writing = asyncio.create_task(
            core.chunks.put(WHOLE, Chunk(arriving.span, giving(BODY[:1000], go), "", arriving.checksum))
        )
        await until(lambda: core.store.uploads.sessions[WHOLE.name].writer is not None)
        with pytest.raises(UploadBusy):
            core.chunks.cancel(WHOLE)
        core.clock.advance(10**6)
        await core.uploads.expire()
        go.set()
        await writing
        assert len(left(core)) == 2
        core.chunks.cancel(WHOLE)
        assert left(core) == []
        with pytest.raises(BlobUploadUnknown):
            await core.chunks.held(WHOLE)


async def test_one_that_is_left_alone_ends_with_its_map(tmp_path: Path) -> None:
    async with running(tmp_path, Setting(uploads=UploadLimits(age=100.0))) as core:
        await core.chunks.begin(WHOLE)
        await core.chunks.put(WHOLE, chunk(2000, 3000))
        core.clock.advance(99.0)
        await core.uploads.expire()
        assert await core.chunks.held(WHOLE) == [Span(2000, 3000)]
        core.clock.advance(100.0)
        await core.uploads.expire()
        assert left(core) == []

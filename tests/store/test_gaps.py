"""A growing blob with gaps."""

import asyncio
import itertools
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeproxy.interfaces import Span
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.errors import DigestMismatch
from edgeproxy.store.disk import DiskStore
from edgeproxy.store.partial import map_of, merged
from tests.fakes.clock import ManualClock
from tests.store.stores import content, opened

BODY = bytes(range(256)) * 40
SIZE = len(BODY)
DIGEST = Digest.of(BODY)


async def test_what_is_ahead_counts_when_the_gap_is_closed(store: DiskStore) -> None:
    writer = await store.create(DIGEST)
    await writer.write(BODY[5000:6000], 5000)
    await writer.write(BODY[2000:3000], 2000)
    assert (writer.offset, writer.ahead) == (0, [Span(2000, 3000), Span(5000, 6000)])
    with pytest.raises(DigestMismatch):
        await writer.verify()
    await writer.write(BODY[:2000])
    assert (writer.offset, writer.ahead) == (3000, [Span(5000, 6000)])
    await writer.write(BODY[3000:5000], 3000)
    await writer.write(BODY[6000:], 6000)
    await writer.verify()
    await writer.commit()
    assert await content(store, DIGEST) == BODY
    assert list(store.layout.partial.iterdir()) == []


async def test_writes_at_once_are_hashed_in_order(store: DiskStore) -> None:
    writer = await store.create(DIGEST)
    pieces = [BODY[at : at + 512] for at in range(0, SIZE, 512)]
    await asyncio.gather(*(writer.write(piece, number * 512) for number, piece in reversed(list(enumerate(pieces)))))
    await writer.verify()
    assert (writer.offset, writer.ahead) == (SIZE, [])
    await writer.close(keep=False)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.sets(st.integers(1, SIZE - 1), max_size=12), data=st.data())
async def test_in_any_order_over_any_number_of_restarts(
    tmp_path_factory: pytest.TempPathFactory, cuts: set[int], data: st.DataObject
) -> None:
    edges = [0, *sorted(cuts), SIZE]
    spans = data.draw(st.permutations(list(itertools.pairwise(edges))))
    restarts = data.draw(st.sets(st.integers(0, len(spans) - 1)))
    async with opened(tmp_path_factory.mktemp("gaps"), ManualClock()) as store:
        writer = await store.create(DIGEST)
        for number, (start, stop) in enumerate(spans):
            if number in restarts:
                here = (writer.offset, list(writer.ahead))
                await writer.close(keep=True)
                writer = await store.create(DIGEST)
                assert (writer.offset, list(writer.ahead)) == here
            await writer.write(BODY[start:stop], start)
        await writer.verify()
        await writer.commit()
        assert await content(store, DIGEST) == BODY


async def test_after_a_kill_what_was_noted_is_here(tmp_path: Path) -> None:
    async with opened(tmp_path, ManualClock()) as store:
        writer = await store.create(DIGEST)
        await writer.write(BODY[:1000])
        await writer.write(BODY[4000:5000], 4000)
        await writer.write(BODY[1000:1500])
        left = {file.name: file.read_bytes() for file in store.layout.partial.iterdir()}
        await writer.close(keep=False)
        for name, body in left.items():
            (store.layout.partial / name).write_bytes(body)
        with open(map_of(store.layout.partial_of(DIGEST)), "ab") as file:
            file.write(b"9000 95")  # torn
        writer = await store.create(DIGEST)
        assert (writer.offset, writer.ahead) == (1500, [Span(4000, 5000)])
        await writer.close(keep=False)
        assert list(store.layout.partial.iterdir()) == []


async def test_a_map_without_its_file_says_nothing(store: DiskStore) -> None:
    map_of(store.layout.partial_of(DIGEST)).write_text("0 100\n200 300\n")
    writer = await store.create(DIGEST)
    assert (writer.offset, writer.ahead) == (0, [])
    await writer.write(BODY)
    await writer.commit()
    assert list(store.layout.partial.iterdir()) == []


async def test_a_map_says_no_more_than_its_file_has(store: DiskStore) -> None:
    map_of(store.layout.partial_of(DIGEST)).write_text("0 100\n200 300\n400 500\n")
    store.layout.partial_of(DIGEST).write_bytes(BODY[:250])
    writer = await store.create(DIGEST)
    assert (writer.offset, writer.ahead) == (100, [Span(200, 250)])
    await writer.close(keep=False)


async def test_without_a_gap_no_map_is_left(store: DiskStore) -> None:
    writer = await store.create(DIGEST)
    await writer.write(BODY[100:200], 100)
    await writer.write(BODY[:100])
    await writer.close(keep=True)
    assert [file.name for file in store.layout.partial.iterdir()] == [store.layout.partial_of(DIGEST).name]
    writer = await store.create(DIGEST)
    assert (writer.offset, writer.ahead) == (200, [])
    await writer.close(keep=False)


async def test_rewound_it_starts_again(store: DiskStore) -> None:
    writer = await store.create(DIGEST)
    await writer.write(b"x" * 100)
    await writer.write(b"y" * 100, 500)
    reader = writer.reader()
    await writer.rewind()
    assert (writer.offset, writer.ahead) == (0, [])
    await writer.write(BODY)
    await writer.verify()
    assert os.pread(reader.fd, SIZE, 0) == BODY  # who reads it goes on reading
    os.close(reader.fd)
    await writer.commit()


async def test_idle_ones_leave_with_their_maps(store: DiskStore) -> None:
    writer = await store.create(DIGEST)
    await writer.write(BODY[100:200], 100)
    await writer.close(keep=True)
    assert len(list(store.layout.partial.iterdir())) == 2
    assert await store.drop_idle_partials(1) == 200
    assert list(store.layout.partial.iterdir()) == []


def test_merged() -> None:
    assert merged([Span(5, 7), Span(0, 2), Span(2, 3), Span(6, 9), Span(4, 4)]) == [Span(0, 3), Span(5, 9)]

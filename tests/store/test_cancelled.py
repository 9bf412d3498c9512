"""Whoever is cancelled while a thread works for it goes on once the thread has ended, and leaves nothing open."""

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest

from edgeproxy.oci.digest import Digest, Hasher
from edgeproxy.store.disk import DiskStore
from tests.store.stores import content, files_open_below

BODY = bytes(range(256)) * 20


class Gate:
    """Holds a thread of the store where it gives bytes to a digest's hasher."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.opened = threading.Event()

    def hold(self) -> None:
        self.entered.set()
        assert self.opened.wait(60)

    def digest(self, body: bytes) -> Digest:
        gate = self

        class GatedHasher:
            def __init__(self, hasher: Hasher) -> None:
                self.hexdigest, self._update, self.copy = hasher.hexdigest, hasher.update, hasher.copy

            def update(self, data: bytes | memoryview, /) -> None:
                self._update(data)
                gate.hold()

        class GatedDigest(Digest):
            def hasher(self) -> Hasher:
                return GatedHasher(super().hasher())

        return GatedDigest.of(body)


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.opened.set()


async def cancel_within(work: Coroutine[Any, Any, object], gate: Gate) -> None:
    """Cancel, twice, while a thread is in the middle of the work, and only then let the thread go on."""
    task = asyncio.create_task(work)
    await asyncio.to_thread(gate.entered.wait)
    for _ in range(2):
        task.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not task.done()
    gate.opened.set()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_creating(store: DiskStore, gate: Gate) -> None:
    store.layout.partial_of(Digest.of(BODY)).write_bytes(BODY[:100])
    await cancel_within(store.create(gate.digest(BODY)), gate)
    assert files_open_below(store.layout.data, "partial") == []
    assert store.growing == set()
    assert store.layout.partial_of(Digest.of(BODY)).read_bytes() == BODY[:100]


async def test_writing(store: DiskStore, gate: Gate) -> None:
    writer = await store.create(gate.digest(BODY))
    await cancel_within(writer.write(BODY), gate)
    await writer.close(keep=True)
    assert files_open_below(store.layout.data, "partial") == []
    again = await store.create(Digest.of(BODY))
    assert again.offset in (0, len(BODY))
    await again.write(BODY[again.offset :])
    await again.verify()
    await again.commit()
    assert await content(store, Digest.of(BODY)) == BODY


@pytest.mark.parametrize("keep", [True, False])
async def test_committing_behind_another_change(store: DiskStore, gate: Gate, keep: bool) -> None:
    digest = Digest.of(BODY)
    writer = await store.create(digest)
    await writer.write(BODY)
    busy = asyncio.create_task(store.catalog.change(lambda rows: gate.hold()))
    committing = asyncio.create_task(writer.commit())
    await asyncio.to_thread(gate.entered.wait)
    committing.cancel()  # while it syncs the file, or while it waits for the catalogue's writer
    gate.opened.set()
    with pytest.raises(asyncio.CancelledError):
        await committing
    await busy
    await writer.close(keep=keep)
    assert files_open_below(store.layout.data, "partial", "blobs") == []
    await store.catalog.change(lambda rows: None)  # behind whatever the commit left in the writer's queue
    here = await content(store, digest) == BODY
    assert (store.catalog.held(digest) is not None) == here
    assert [found for found, _ in store.idle_partials()] == ([digest] if keep and not here else [])


async def test_deleting(store: DiskStore, gate: Gate) -> None:
    digest = Digest.of(BODY)
    writer = await store.create(digest)
    await writer.write(BODY)
    await writer.commit()
    busy = asyncio.create_task(store.catalog.change(lambda rows: gate.hold()))
    await cancel_within(store.delete([digest]), gate)
    await busy
    await store.catalog.change(lambda rows: None)
    here = await content(store, digest) == BODY
    assert (store.catalog.held(digest) is not None) == here

"""What a crash left is mended."""

import asyncio
import os
import shutil
from pathlib import Path

import pytest

from edgeproxy.interfaces import Held
from edgeproxy.jobs.sweep import Sweep
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.manifest import LARGEST_MANIFEST, OCI_MANIFEST, Descriptor
from edgeproxy.oci.reference import Pinned, Repository, Tag
from edgeproxy.store.catalog import Link, TagRecord
from edgeproxy.store.disk import DiskStore
from edgeproxy.store.pushed import Pushed
from tests.fakes.clock import ManualClock
from tests.fakes.shelf import image_manifest
from tests.store.stores import content, keep, opened

HERE = Repository("docker.io", "library/nginx")
DAY = 86400.0


@pytest.fixture
def sweep(store: DiskStore, clock: ManualClock) -> Sweep:
    return Sweep(store, store.catalog, clock)


async def stray(store: DiskStore, body: bytes, written: float = 1000.0) -> Digest:
    """A file that was renamed to its place just before the crash."""
    digest = Digest.of(body)
    file = Path(store.layout.blob(digest))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(body)
    os.utime(file, (written, written))
    return digest


async def test_a_file_without_a_row_gets_one(store: DiskStore, sweep: Sweep) -> None:
    digest = await stray(store, b"stray", 1000.0)
    await sweep.step()
    assert store.catalog.held(digest) == Held(digest, 5, 1000.0, 1000.0)
    assert store.catalog.total() == 5
    assert await content(store, digest) == b"stray"


async def test_a_row_without_a_file_goes(store: DiskStore, sweep: Sweep) -> None:
    gone, kept = await keep(store, b"gone"), await keep(store, b"kept")
    Path(store.layout.blob(gone)).unlink()
    await sweep.step()
    assert [held.digest for held in store.catalog.all_held()] == [kept]
    assert store.catalog.total() == len(b"kept")


async def test_what_is_sound_is_left_as_it_is(store: DiskStore, sweep: Sweep, clock: ManualClock) -> None:
    digest = await keep(store, b"sound", (Digest.of(b"layer"),))
    await store.catalog.pin(digest, True)
    await store.catalog.add_uses({digest: (5, clock.now())})
    before = store.catalog.held(digest)
    for _ in range(2):
        await sweep.step()
    assert store.catalog.held(digest) == before
    assert store.catalog.total() == len(b"sound")


async def test_an_empty_store_has_nothing_to_mend(store: DiskStore, sweep: Sweep) -> None:
    await sweep.step()
    assert store.catalog.all_held() == []


async def test_more_than_a_page_is_mended(store: DiskStore, sweep: Sweep) -> None:
    bodies = [str(number).encode() for number in range(1201)]
    strays = {await stray(store, body): body for body in bodies}
    await sweep.step()
    assert {held.digest for held in store.catalog.all_held(limit=2000)} == set(strays)
    assert store.catalog.total() == sum(map(len, bodies))
    shutil.rmtree(store.layout.blobs / "sha256")
    await sweep.step()
    assert (store.catalog.all_held(), store.catalog.total()) == ([], 0)


async def test_a_catalogue_that_was_lost_is_made_again(tmp_path: Path, clock: ManualClock) -> None:
    async with opened(tmp_path, clock) as store:
        digests = {await keep(store, body) for body in (b"one", b"two")}
    shutil.rmtree(tmp_path / "catalog")
    async with opened(tmp_path, clock) as store:
        assert store.catalog.total() == 0
        await Sweep(store, store.catalog, clock).step()
        assert {held.digest for held in store.catalog.all_held()} == digests
        assert store.catalog.total() == 6


async def test_an_adopted_manifest_still_needs_its_layers(store: DiskStore, sweep: Sweep) -> None:
    digest = await stray(store, image_manifest(b"{}", [b"layer"]))
    await sweep.step()
    held = store.catalog.held(digest)
    assert held is not None
    assert set(held.needs) == {Digest.of(b"{}"), Digest.of(b"layer")}


async def test_what_is_too_long_for_a_manifest_is_none(store: DiskStore, sweep: Sweep) -> None:
    manifest = image_manifest(b"{}", [b"layer"])
    longest = await stray(store, manifest.ljust(LARGEST_MANIFEST))
    longer = await stray(store, manifest.ljust(LARGEST_MANIFEST + 1))
    await sweep.step()
    needs = {held.digest: len(held.needs) for held in store.catalog.all_held()}
    assert needs == {longest: 2, longer: 0}


async def test_what_is_no_blob_of_ours_is_left_alone(store: DiskStore, sweep: Sweep) -> None:
    digest = await stray(store, b"stray")
    beside = Path(store.layout.blob(digest)).parent / "README"
    beside.write_text("not a blob")
    (store.layout.blobs / "sha256" / "file").touch()
    await sweep.step()
    assert store.catalog.held(digest) is not None
    assert beside.exists()


@pytest.mark.parametrize(("days", "held", "remains"), [(31, False, False), (29, False, True), (31, True, True)])
async def test_tags_that_lead_nowhere_are_forgotten_in_the_end(
    store: DiskStore, sweep: Sweep, clock: ManualClock, days: int, held: bool, remains: bool
) -> None:
    manifest = image_manifest(b"{}", [])
    tag = Tag(HERE, "latest")
    record = TagRecord(Descriptor(OCI_MANIFEST, Digest.of(manifest), len(manifest)), clock.now(), clock.now())
    await store.catalog.put_tag(tag, record)
    if held:
        await keep(store, manifest)
    clock.advance(days * DAY)
    await sweep.step()
    assert store.catalog.tag(tag) == (record if remains else None)


async def test_a_blob_that_is_deleted_meanwhile_gets_no_row(tmp_path: Path) -> None:
    clock = ManualClock()
    async with opened(tmp_path, clock) as store:
        digest = await stray(store, b"stray")
        sweep = Sweep(store, store.catalog, clock)
        found = list(store.layout.files())
        await store.delete([digest])
        await store.catalog.change(lambda rows: sweep._add(found, rows))
        assert store.catalog.held(digest) is None


@pytest.mark.parametrize(("days", "known"), [(29, True), (31, False)])
async def test_that_something_was_deleted_is_remembered_for_a_month(
    store: DiskStore, sweep: Sweep, clock: ManualClock, days: int, known: bool
) -> None:
    blob = Pinned(HERE, await keep(store, b"blob"))
    await store.catalog.put_links([Link("blobs", HERE, Descriptor("", blob.digest, 4))])
    await Pushed(store.catalog).remove_blob(blob, clock.now() - days * DAY)
    await sweep.step()
    assert store.catalog.is_gone("blobs", blob) == known


async def test_it_lets_requests_breathe_between_pages(tmp_path: Path) -> None:
    clock = ManualClock()
    async with opened(tmp_path, clock) as store:
        await keep(store, b"blob")
        task = asyncio.create_task(Sweep(store, store.catalog, clock).step())
        for _ in range(2):
            await clock.asleep()
            assert not task.done()
            clock.advance(1.0)
        await task


async def test_it_may_be_stopped_between_pages(tmp_path: Path) -> None:
    clock = ManualClock()
    async with opened(tmp_path, clock) as store:
        for number in range(600):
            await stray(store, str(number).encode())
        task = asyncio.create_task(Sweep(store, store.catalog, clock).step())
        await clock.asleep()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(store.catalog.all_held()) == 500

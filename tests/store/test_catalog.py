import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from edgeproxy.interfaces import Held
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.manifest import OCI_MANIFEST, Descriptor
from edgeproxy.oci.reference import Pinned, Repository, Tag
from edgeproxy.store.catalog import Catalog, Link, TagRecord, add_held, put_held
from edgeproxy.store.rows import Rows
from tests.fakes.clock import ManualClock

HERE = Repository("docker.io", "library/nginx")
THERE = Repository("ghcr.io", "library/nginx")
DIGEST, OTHER = Digest.of(b"one"), Digest.of(b"other")
TAG = Tag(HERE, "latest")
RECORD = TagRecord(Descriptor(OCI_MANIFEST, DIGEST, 3), 1000.5, 900.25)
MOVED = RECORD._replace(descriptor=Descriptor(OCI_MANIFEST, OTHER, 5))
LINK = Link("blobs", HERE, Descriptor("type", DIGEST, 3))
TRICKY = ["a", "a-b", "a.b", "a/b", "a/b/c", "a1", "a__b", "a_b", "ab", "b"]


@asynccontextmanager
async def opened(directory: Path, clock: ManualClock) -> AsyncIterator[Catalog]:
    catalog = Catalog(directory, clock)
    try:
        yield catalog
    finally:
        await catalog.close()


@pytest.fixture
async def catalog(tmp_path: Path, clock: ManualClock) -> AsyncIterator[Catalog]:
    async with opened(tmp_path, clock) as catalog:
        yield catalog


@pytest.fixture
async def another(tmp_path: Path, clock: ManualClock) -> AsyncIterator[Catalog]:
    """Another process's catalogue, as far as SQLite is concerned."""
    async with opened(tmp_path, clock) as catalog:
        yield catalog


async def name(catalog: Catalog, path: str, tag: str = "latest", registry: str = "docker.io") -> None:
    await catalog.put_tag(Tag(Repository(registry, path), tag), RECORD)


async def hold(catalog: Catalog, held: Held) -> None:
    await catalog.change(lambda rows: add_held(rows, held))


async def test_nothing_is_known_at_first(catalog: Catalog) -> None:
    assert catalog.tag(TAG) is None
    assert catalog.link("blobs", Pinned(HERE, DIGEST)) is None
    assert catalog.held(DIGEST) is None
    assert catalog.referrers(Pinned(HERE, DIGEST)) is None
    assert (catalog.total(), catalog.tags(HERE), catalog.repositories(), catalog.all_held()) == (0, [], [], [])


async def test_a_tag_is_remembered_as_it_was_put(catalog: Catalog) -> None:
    await catalog.put_tag(TAG, RECORD)
    assert catalog.tag(TAG) == RECORD
    assert catalog.tag(Tag(HERE, "late")) is None
    assert catalog.tag(Tag(THERE, "latest")) is None


async def test_a_link_is_of_one_repository_and_one_kind(catalog: Catalog) -> None:
    await catalog.put_links([LINK])
    assert catalog.link("blobs", Pinned(HERE, DIGEST)) == LINK.descriptor
    assert catalog.link("manifests", Pinned(HERE, DIGEST)) is None
    assert catalog.link("blobs", Pinned(THERE, DIGEST)) is None
    assert catalog.link("blobs", Pinned(HERE, OTHER)) is None


async def test_referrers_are_remembered_by_repository(catalog: Catalog) -> None:
    await catalog.put_referrers(Pinned(HERE, DIGEST), 1000.5, b'{"manifests":[]}')
    assert catalog.referrers(Pinned(HERE, DIGEST)) == (1000.5, b'{"manifests":[]}')
    assert catalog.referrers(Pinned(THERE, DIGEST)) is None


async def test_links_and_referrers_of_a_digest_are_forgotten_everywhere(catalog: Catalog) -> None:
    kept = LINK._replace(descriptor=Descriptor("type", OTHER, 5))
    await catalog.put_links([LINK, LINK._replace(repository=THERE), LINK._replace(kind="manifests"), kept])
    await catalog.put_referrers(Pinned(HERE, DIGEST), 1.0, b"{}")
    await catalog.forget_links([DIGEST])
    for repository in (HERE, THERE):
        assert catalog.link("blobs", Pinned(repository, DIGEST)) is None
    assert catalog.link("manifests", Pinned(HERE, DIGEST)) is None
    assert catalog.referrers(Pinned(HERE, DIGEST)) is None
    assert catalog.link("blobs", Pinned(HERE, OTHER)) is not None


async def test_a_blob_is_accounted_for_as_it_was_put(catalog: Catalog) -> None:
    held = Held(DIGEST, 3, 10.5, 20.25, 7, True, (OTHER,))
    await hold(catalog, held)
    assert catalog.held(DIGEST) == held
    assert catalog.all_held() == [held]


async def test_uses_are_added_and_the_last_use_never_moves_back(catalog: Catalog) -> None:
    await hold(catalog, Held(DIGEST, 3, 10.0, 20.0, 7, True, (OTHER,)))
    await catalog.add_uses({DIGEST: (2, 30.0), OTHER: (1, 30.0)})
    assert catalog.held(DIGEST) == Held(DIGEST, 3, 10.0, 30.0, 9, True, (OTHER,))
    await catalog.add_uses({DIGEST: (1, 25.0)})
    assert catalog.held(DIGEST) == Held(DIGEST, 3, 10.0, 30.0, 10, True, (OTHER,))
    assert catalog.held(OTHER) is None


async def test_a_pin_changes_nothing_else(catalog: Catalog) -> None:
    await hold(catalog, Held(DIGEST, 3, 10.0, 20.0, 7, False, (OTHER,)))
    await catalog.pin(DIGEST, True)
    assert catalog.held(DIGEST) == Held(DIGEST, 3, 10.0, 20.0, 7, True, (OTHER,))
    await catalog.pin(DIGEST, False)
    assert catalog.held(DIGEST) == Held(DIGEST, 3, 10.0, 20.0, 7, False, (OTHER,))
    await catalog.pin(OTHER, True)
    assert catalog.held(OTHER) is None


async def test_a_pin_outlives_a_blob_that_is_brought_in_again(catalog: Catalog) -> None:
    await hold(catalog, Held(DIGEST, 3, 10.0, 10.0, pinned=True))
    await hold(catalog, Held(DIGEST, 3, 20.0, 20.0))
    held = catalog.held(DIGEST)
    assert held is not None
    assert held.pinned


# lists


async def test_tags_of_one_repository_are_listed_in_order(catalog: Catalog) -> None:
    tags = ["latest", "1.9", "1.10", "1", "_x", "A", "z" * 128]
    for tag in tags:
        await name(catalog, "a", tag)
    for neighbour in TRICKY[1:]:
        await name(catalog, neighbour, "not-mine")
    assert catalog.tags(Repository("docker.io", "a")) == sorted(tags)


async def test_more_tags_than_a_scan_has_rows_are_all_listed(catalog: Catalog) -> None:
    tags = [f"t{number:05}" for number in range(2500)]

    def put(rows: Rows) -> None:
        for tag in tags:
            rows.put(f"tag/{HERE} {tag}", "[]")

    await catalog.change(put)
    assert catalog.tags(HERE) == tags


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
async def test_repositories_are_paged_through_in_lexical_order(catalog: Catalog, limit: int) -> None:
    names = [("docker.io", path) for path in TRICKY] + [("docker.io:5000", "a"), ("docker.iow", "a"), ("c-r", "a")]
    for registry, path in reversed(names):
        for tag in ("1", "2", "a-b"):
            await name(catalog, path, tag, registry)
    found: list[str] = []
    while page := catalog.repositories(found[-1] if found else "", limit):
        assert len(page) == limit or len(found) + len(page) == len(names)
        found += page
    assert found == sorted(f"{registry}/{path}" for registry, path in names)


async def test_repositories_follow_a_name_that_is_not_here(catalog: Catalog) -> None:
    for path in ("a", "c"):
        await name(catalog, path)
    assert catalog.repositories("docker.io/b") == ["docker.io/c"]
    assert catalog.repositories("docker.io/c") == []


async def test_blobs_are_paged_through_in_order(catalog: Catalog) -> None:
    digests = sorted(Digest.of(bytes([number])) for number in range(7))
    for digest in digests:
        await hold(catalog, Held(digest, 1, 0.0, 0.0))
    found: list[Held] = []
    while page := catalog.all_held(found[-1].digest if found else "", 3):
        assert len(page) <= 3
        found += page
    assert [held.digest for held in found] == digests


# belief


async def test_a_tag_is_believed_for_a_second_at_most(catalog: Catalog, another: Catalog, clock: ManualClock) -> None:
    await catalog.put_tag(TAG, RECORD)
    assert catalog.tag(TAG) == RECORD
    await another.put_tag(TAG, MOVED)
    clock.advance(0.99)
    assert catalog.tag(TAG) == RECORD
    clock.advance(0.01)
    assert catalog.tag(TAG) == MOVED


async def test_a_link_is_believed_for_a_second_at_most(catalog: Catalog, another: Catalog, clock: ManualClock) -> None:
    pinned = Pinned(HERE, DIGEST)
    assert catalog.link("blobs", pinned) is None
    await another.put_links([LINK])
    clock.advance(0.99)
    assert catalog.link("blobs", pinned) is None
    clock.advance(0.01)
    assert catalog.link("blobs", pinned) == LINK.descriptor


async def test_a_clock_that_was_set_back_prolongs_no_belief(
    catalog: Catalog, another: Catalog, clock: ManualClock
) -> None:
    assert catalog.tag(TAG) is None
    await another.put_tag(TAG, RECORD)
    clock.advance(-3600)
    assert catalog.tag(TAG) == RECORD


async def test_what_was_believed_is_forgotten_at_a_write(catalog: Catalog, another: Catalog) -> None:
    assert (catalog.tag(TAG), catalog.link("blobs", Pinned(HERE, DIGEST))) == (None, None)
    await another.put_tag(TAG, RECORD)
    await another.put_links([LINK])
    await catalog.put_tag(Tag(THERE, "latest"), RECORD)
    assert catalog.tag(TAG) == RECORD
    assert catalog.link("blobs", Pinned(HERE, DIGEST)) == LINK.descriptor


async def test_own_writes_are_seen_at_once(catalog: Catalog) -> None:
    for record in (RECORD, MOVED):
        await catalog.put_tag(TAG, record)
        assert catalog.tag(TAG) == record


async def test_accounts_are_read_afresh(catalog: Catalog, another: Catalog) -> None:
    assert (catalog.total(), catalog.held(DIGEST)) == (0, None)
    held = Held(DIGEST, 3, 0.0, 0.0)
    await hold(another, held)
    assert (catalog.total(), catalog.held(DIGEST)) == (3, held)


# writing


async def test_a_change_that_fails_changes_nothing(catalog: Catalog) -> None:
    def act(rows: Rows) -> None:
        add_held(rows, Held(DIGEST, 3, 0.0, 0.0))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await catalog.change(act)
    assert (catalog.total(), catalog.held(DIGEST)) == (0, None)


async def test_changes_of_two_processes_do_not_get_lost(catalog: Catalog, another: Catalog) -> None:
    await hold(catalog, Held(DIGEST, 3, 0.0, 0.0, 0))

    async def use(one: Catalog) -> None:
        for _ in range(20):
            await one.add_uses({DIGEST: (1, 1.0)})

    await asyncio.gather(use(catalog), use(another))
    assert catalog.held(DIGEST) == Held(DIGEST, 3, 0.0, 1.0, 40)


async def test_who_stops_waiting_for_a_change_leaves_it_whole(catalog: Catalog) -> None:
    change = asyncio.create_task(hold(catalog, Held(DIGEST, 3, 0.0, 0.0)))
    await asyncio.sleep(0)
    change.cancel()
    with pytest.raises(asyncio.CancelledError):
        await change
    await catalog.change(lambda rows: None)  # behind it in the writer's queue
    assert (catalog.total(), catalog.held(DIGEST)) in [(3, Held(DIGEST, 3, 0.0, 0.0)), (0, None)]


async def test_only_named_fields_of_a_blob_change(catalog: Catalog) -> None:
    held = Held(DIGEST, 3, 10.0, 20.0, 7, True, (OTHER,))
    await hold(catalog, held)
    await catalog.change(lambda rows: put_held(rows, held, used=30.0))
    assert catalog.held(DIGEST) == Held(DIGEST, 3, 10.0, 30.0, 7, True, (OTHER,))

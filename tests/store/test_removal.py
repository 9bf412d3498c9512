"""What deletions leave of the rows."""

import pytest

from edgeproxy.interfaces import Kind, TagState
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.manifest import OCI_INDEX, Child, Descriptor
from edgeproxy.oci.reference import Pinned, Repository, Tag
from edgeproxy.store.catalog import Link, TagRecord
from edgeproxy.store.disk import DiskStore
from edgeproxy.store.pushed import Pushed
from edgeproxy.store.removal import Removal, TagFate
from edgeproxy.store.versions import TagStates
from tests.store.stores import keep
from tests.store.writes import HERE, LAYER, NEAR, OWN, TAG, VERSION, publication, stored, writes

GONE = Removal(writes(None), 2.0)
PINNED = Pinned(HERE, OWN.digest)


def is_pinned(store: DiskStore, digest: Digest = OWN.digest) -> bool:
    held = store.catalog.held(digest)
    assert held is not None
    return held.pinned


async def test_a_pushed_tag_is_deleted_for_good_and_its_manifest_may_leave(store: DiskStore) -> None:
    await stored(store)
    pushed = Pushed(store.catalog)
    await pushed.publish(publication(), 1.0)
    deleted = TagState(None, VERSION)
    assert await pushed.remove_tag(TAG, GONE) == TagFate(True, True, deleted)
    await store.catalog.put_tag(TAG, TagRecord(OWN, 3.0, 3.0))  # upstream says
    assert store.catalog.tag(TAG) is None
    assert store.catalog.is_deleted(TAG)
    assert store.catalog.repositories() == []
    assert store.catalog.link("manifests", PINNED) == OWN
    assert not is_pinned(store)
    assert await pushed.remove_tag(TAG, GONE) == TagFate(False)
    await pushed.publish(publication(), 4.0)
    assert store.catalog.tag(TAG) == TagRecord(OWN, 4.0, 4.0, pushed=True)
    assert not store.catalog.is_deleted(TAG)
    assert is_pinned(store)


async def test_a_tag_of_upstream_s_only_is_forgotten(store: DiskStore) -> None:
    await store.catalog.put_tag(TAG, TagRecord(OWN, 1.0, 1.0))
    assert await Pushed(store.catalog).remove_tag(TAG, GONE) == TagFate(True)
    assert store.catalog.tag(TAG) is None
    assert not store.catalog.is_deleted(TAG)
    await store.catalog.put_tag(TAG, TagRecord(OWN, 2.0, 2.0))
    assert store.catalog.tag(TAG) is not None


async def test_a_deletion_of_another_site_s_counts_for_what_was_never_here(store: DiskStore) -> None:
    await store.catalog.put_tag(TAG, TagRecord(OWN, 1.0, 1.0))
    for name in ("1.0", "2.0"):
        tag = Tag(HERE, name)
        assert (await Pushed(store.catalog).remove_tag(tag, GONE._replace(forced=True))).news
        assert store.catalog.tag(tag) is None
    states = TagStates(store.catalog)
    assert states.states(HERE) == {"1.0": TagState(None, VERSION), "2.0": TagState(None, VERSION)}
    assert states.deleted(HERE) == {"1.0", "2.0"}
    assert states.states(NEAR) == {}
    assert states.repositories() == [HERE]


@pytest.mark.parametrize("other", [Tag(HERE, "2.0"), Tag(NEAR, "1.0"), None])
async def test_what_another_tag_or_repository_keeps_stays(store: DiskStore, other: Tag | None) -> None:
    await stored(store)
    await stored(store, NEAR)
    pushed = Pushed(store.catalog)
    await pushed.publish(publication(), 1.0)
    if other is not None:
        await pushed.publish(publication(other), 1.0)
    await pushed.remove_tag(TAG, GONE)
    assert is_pinned(store) == (other is not None)
    if other is not None:
        await pushed.remove_tag(other, GONE)
        assert not is_pinned(store)


async def test_what_was_replaced_by_a_deletion_that_did_not_know_of_it_is_kept_by_digest(store: DiskStore) -> None:
    await stored(store)
    pushed = Pushed(store.catalog)
    await pushed.publish(publication(), 1.0)
    await pushed.remove_tag(TAG, Removal(writes(None, conflict=True), 2.0, forced=True))
    assert store.catalog.tag(TAG) is None
    assert is_pinned(store)
    assert store.catalog.link("manifests", PINNED) == OWN


async def test_a_manifest_whose_tag_lost_is_kept_by_digest(store: DiskStore) -> None:
    await stored(store)
    winner = Descriptor("a/b", Digest.of(b"winner"), 6)
    done = await Pushed(store.catalog).publish(publication(merge=writes(winner)), 1.0)
    assert done.holds == TagState(winner, VERSION)
    assert store.catalog.tag(TAG) is None
    assert is_pinned(store)
    assert store.catalog.link("manifests", PINNED) == OWN


async def test_what_is_out_of_date_is_not_kept(store: DiskStore) -> None:
    await stored(store)
    pushed = Pushed(store.catalog)
    await pushed.publish(publication(), 1.0)
    await pushed.remove_manifest(PINNED, GONE)
    done = await pushed.publish(publication(merge=lambda known: None), 3.0)
    assert done.holds == TagState(None, VERSION)
    assert not is_pinned(store)
    assert store.catalog.link("manifests", PINNED) is None


async def test_what_is_known_but_not_here_any_more_is_taken_again(store: DiskStore) -> None:
    await stored(store)
    pushed = Pushed(store.catalog)
    await pushed.publish(publication(), 1.0)
    await store.catalog.change(lambda rows: rows.delete(f"tag/{HERE} 1.0"))
    await store.catalog.forget_links([OWN.digest])
    done = await pushed.publish(publication(merge=lambda known: None), 3.0)
    assert not done.news
    assert store.catalog.tag(TAG) == TagRecord(OWN, 3.0, 3.0, pushed=True)
    assert store.catalog.link("manifests", PINNED) == OWN


async def test_an_index_takes_its_manifests_along(store: DiskStore) -> None:
    await stored(store)
    pushed = Pushed(store.catalog)
    await pushed.publish(publication(None), 1.0)
    index = Descriptor(OCI_INDEX, await keep(store, b"index", (OWN.digest,)), 5)
    new = publication(merge=writes(index))._replace(descriptor=index, children=[Child("manifests", OWN)])
    await pushed.publish(new, 1.0)
    assert is_pinned(store, index.digest)
    await pushed.remove_tag(TAG, GONE)
    assert not is_pinned(store, index.digest)
    assert not is_pinned(store)


async def test_a_manifest_is_deleted_with_its_tags_in_its_repository(store: DiskStore) -> None:
    subject = Digest.of(b"subject")
    for repository in (HERE, NEAR):
        await stored(store, repository)
        await Pushed(store.catalog).publish(publication(Tag(repository, "1.0"), subject=subject), 1.0)
    await store.catalog.put_tag(Tag(HERE, "upstream"), TagRecord(OWN, 1.0, 1.0))
    await store.catalog.put_referrers(PINNED, 1.0, b"{}")
    pushed = Pushed(store.catalog)
    assert await pushed.remove_manifest(PINNED, GONE._replace(subject=subject))
    assert store.catalog.tags(HERE) == []
    assert store.catalog.tags(NEAR) == ["1.0"]
    assert TagStates(store.catalog).deleted(HERE) == {"1.0"}
    assert store.catalog.link("manifests", PINNED) is None
    assert store.catalog.link("manifests", Pinned(NEAR, OWN.digest)) == OWN
    assert store.catalog.referrers(PINNED) is None
    await store.catalog.put_links([Link("manifests", HERE, OWN)])
    assert pushed.referrers(Pinned(HERE, subject)) == []
    assert len(pushed.referrers(Pinned(NEAR, subject))) == 1
    assert is_pinned(store)
    assert await pushed.remove_manifest(Pinned(NEAR, OWN.digest), GONE)
    assert not is_pinned(store)
    assert not await pushed.remove_manifest(Pinned(NEAR, OWN.digest), GONE)


@pytest.mark.parametrize("kind", ["manifests", "blobs"])
async def test_that_something_was_deleted_is_known_until_it_is_shown_again(store: DiskStore, kind: Kind) -> None:
    pushed, link = Pushed(store.catalog), Link(kind, HERE, OWN)
    await store.catalog.put_links([link])
    await (pushed.remove_blob(PINNED, 5.0) if kind == "blobs" else pushed.remove_manifest(PINNED, GONE))
    assert store.catalog.link(kind, PINNED) is None
    assert store.catalog.is_gone(kind, PINNED)
    assert not store.catalog.is_gone(kind, Pinned(NEAR, OWN.digest))
    await store.catalog.put_links([link])
    assert not store.catalog.is_gone(kind, PINNED)
    await pushed.remove_blob(PINNED, 5.0) if kind == "blobs" else await pushed.remove_manifest(PINNED, GONE)
    since = 5.0 if kind == "blobs" else GONE.now
    assert await store.catalog.forget_gone(since) == 0
    assert await store.catalog.forget_gone(since + 0.1) == 1
    assert not store.catalog.is_gone(kind, PINNED)


async def test_a_blob_waits_for_its_manifest_as_long_as_somebody_shows_it(store: DiskStore) -> None:
    pushed, digest = Pushed(store.catalog), await keep(store, LAYER)
    for repository in (HERE, NEAR):
        await pushed.announce(Pinned(repository, digest), len(LAYER), 1.0, 100.0)
    for repository, kept in ((HERE, {digest}), (NEAR, set())):
        assert await pushed.remove_blob(Pinned(repository, digest), 2.0)
        assert pushed.kept(3.0) == kept
        assert not await pushed.remove_blob(Pinned(repository, digest), 2.0)


async def test_repositories_with_versions_are_each_listed_once(store: DiskStore) -> None:
    names = ["a", "a-b", "a/b", "a.b"]
    for path in names:
        for name in ("1", "2"):
            tag = Tag(Repository("docker.io", path), name)
            await Pushed(store.catalog).remove_tag(tag, GONE._replace(forced=True))
    assert {each.path for each in TagStates(store.catalog).repositories()} == set(names)
    assert len(TagStates(store.catalog).repositories()) == len(names)

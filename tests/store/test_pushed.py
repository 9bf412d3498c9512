"""The rows of what was pushed here."""

import json

from edgeproxy.interfaces import TagState
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.manifest import OCI_MANIFEST, Child, Descriptor
from edgeproxy.oci.reference import Pinned, Repository, Tag
from edgeproxy.oci.version import Version
from edgeproxy.store.catalog import Link, TagRecord
from edgeproxy.store.disk import DiskStore
from edgeproxy.store.pushed import Publication, Published, Pushed
from edgeproxy.store.versions import Change
from tests.fakes.clock import ManualClock
from tests.store.stores import keep

HERE = Repository("docker.io", "library/nginx")
THERE = Repository("docker.io", "library/nginx-unit")
LAYER, MANIFEST, SUBJECT = b"layer", b"manifest", Digest.of(b"subject")
TAG = Tag(HERE, "1.0")


def publication(subject: Digest | None = None) -> Publication:
    own = Descriptor(OCI_MANIFEST, Digest.of(MANIFEST), len(MANIFEST))
    child = Child("blobs", Descriptor("", Digest.of(LAYER), len(LAYER)))
    state = TagState(own, Version(1, "site", {"site": 1}))
    return Publication(HERE, own, [child], TAG, subject, {"digest": own.digest}, lambda known: Change(state, ["site"]))


async def test_a_manifest_is_published_with_all_it_needs_or_not_at_all(store: DiskStore, clock: ManualClock) -> None:
    pushed, new = Pushed(store.catalog), publication(SUBJECT)
    own = Child("manifests", new.descriptor)
    assert await pushed.publish(new, clock.now()) == Published([own])
    await keep(store, MANIFEST)
    assert await pushed.publish(new, clock.now()) == Published(new.children)
    await keep(store, LAYER)
    assert await pushed.publish(new, clock.now()) == Published(
        new.children
    )  # here, and this repository does not show it
    held = store.catalog.held(new.descriptor.digest)
    assert (store.catalog.tag(TAG), store.catalog.seen(HERE), held and held.pinned) == (None, None, False)
    assert pushed.referrers(Pinned(HERE, SUBJECT)) == []
    await store.catalog.put_links([Link("blobs", HERE, new.children[0].descriptor)])
    assert (await pushed.publish(new, clock.now())).lacking == []
    held = store.catalog.held(new.descriptor.digest)
    assert store.catalog.tag(TAG) == TagRecord(new.descriptor, clock.now(), clock.now(), pushed=True)
    assert held is not None
    assert held.pinned
    assert store.catalog.link("manifests", Pinned(HERE, held.digest)) == new.descriptor


async def test_referrers_and_tags_are_one_repository_s(store: DiskStore, clock: ManualClock) -> None:
    pushed, new = Pushed(store.catalog), publication(SUBJECT)
    for body in (MANIFEST, LAYER):
        await keep(store, body)
    await store.catalog.put_links([Link("blobs", HERE, new.children[0].descriptor)])
    await pushed.publish(new, clock.now())
    await store.catalog.put_tag(Tag(HERE, "2.0"), TagRecord(new.descriptor, 1.0, 1.0))
    assert pushed.tags(HERE) == ["1.0"]
    assert pushed.tags(THERE) == []
    assert pushed.referrers(Pinned(HERE, SUBJECT)) == [new.referrer]
    assert pushed.referrers(Pinned(THERE, SUBJECT)) == []
    await store.catalog.forget_links([SUBJECT])
    assert pushed.referrers(Pinned(HERE, SUBJECT)) == [new.referrer]
    await store.catalog.forget_links([new.descriptor.digest])
    assert pushed.referrers(Pinned(HERE, SUBJECT)) == []


async def test_what_waits_for_its_manifest_waits_so_long(store: DiskStore) -> None:
    pushed, blob = Pushed(store.catalog), Pinned(HERE, Digest.of(LAYER))
    await pushed.announce(blob, len(LAYER), now=10.0, until=20.0)
    assert pushed.kept(19.9) == {blob.digest}
    assert pushed.kept(20.0) == set()
    await pushed.forget_kept(19.9)
    assert pushed.kept(0.0) == {blob.digest}
    await pushed.forget_kept(20.0)
    assert pushed.kept(0.0) == set()
    assert store.catalog.link("blobs", blob) == Descriptor("", blob.digest, len(LAYER))


async def test_a_tag_that_was_written_before_there_were_pushes_is_read(store: DiskStore) -> None:
    descriptor = Descriptor(OCI_MANIFEST, Digest.of(MANIFEST), len(MANIFEST))
    old = json.dumps([*descriptor, 5.0, 4.0])
    await store.catalog.change(lambda rows: rows.put(f"tag/{HERE} 1.0", old))
    assert store.catalog.tag(TAG) == TagRecord(descriptor, 5.0, 4.0, pushed=False)
    assert Pushed(store.catalog).tags(HERE) == []
    assert await store.catalog.forget_tags(6.0) == 1

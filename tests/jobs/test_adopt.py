"""What was pushed before there were versions."""

from edgeproxy.interfaces import TagState
from edgeproxy.jobs.adopt import Adopt
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.manifest import OCI_MANIFEST, Descriptor
from edgeproxy.oci.reference import Pinned, Repository, Tag
from edgeproxy.oci.version import Version
from edgeproxy.store.catalog import Link, TagRecord, put_tag
from edgeproxy.store.disk import DiskStore
from edgeproxy.store.removal import release
from edgeproxy.store.versions import Extent, TagStates, known_state
from tests.store.stores import keep

HERE = Repository("docker.io", "library/nginx")


async def test_it_is_known_as_ours_once(store: DiskStore) -> None:
    layer = await keep(store, b"layer")
    digest = await keep(store, b"manifest", (layer,))
    descriptor = Descriptor(OCI_MANIFEST, digest, 8)
    ours, upstreams = Tag(HERE, "1.0"), Tag(HERE, "2.0")
    await store.catalog.pin(digest, True)
    await store.catalog.put_links([Link("manifests", HERE, descriptor)])
    await store.catalog.change(lambda rows: put_tag(rows, ours, TagRecord(descriptor, 6.0, 5.0, pushed=True)))
    await store.catalog.put_tag(upstreams, TagRecord(descriptor, 6.0, 5.0))
    adopt = Adopt(store.catalog, "site")
    for _ in range(2):
        await adopt.step()
        states = TagStates(store.catalog).states(HERE)
        assert states == {"1.0": TagState(descriptor, Version(5000, "site", {"site": 1}))}
        extent = await store.catalog.change(lambda rows: known_state(rows, ours)[1])
        assert extent == Extent(None, len(b"manifest") + len(b"layer"))
    await store.catalog.change(lambda rows: rows.delete(f"tag/{HERE} 1.0"))
    await store.catalog.change(lambda rows: release(rows, Pinned(HERE, digest)))
    held = store.catalog.held(digest)
    assert held is not None
    assert not held.pinned


async def test_a_version_that_there_is_stays(store: DiskStore) -> None:
    await Adopt(store.catalog, "site").step()
    assert TagStates(store.catalog).repositories() == []
    tag, descriptor = Tag(HERE, "1.0"), Descriptor(OCI_MANIFEST, Digest.of(b"manifest"), 8)
    await store.catalog.change(lambda rows: put_tag(rows, tag, TagRecord(descriptor, 6.0, 5.0, pushed=True)))
    await Adopt(store.catalog, "site").step()
    await Adopt(store.catalog, "other").step()
    assert TagStates(store.catalog).state(tag) == TagState(descriptor, Version(5000, "site", {"site": 1}))

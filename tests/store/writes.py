"""Manifests as rows, and writes to their tags, for the tests of what is written in one transaction."""

from collections.abc import Sequence

from edgeproxy.interfaces import TagState
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.manifest import OCI_MANIFEST, Child, Descriptor
from edgeproxy.oci.reference import Repository, Tag
from edgeproxy.oci.version import Version
from edgeproxy.store.catalog import Link
from edgeproxy.store.disk import DiskStore
from edgeproxy.store.pushed import Publication
from edgeproxy.store.versions import Change, Merge
from tests.store.stores import keep

HERE = Repository("docker.io", "library/nginx")
NEAR = Repository("docker.io", "library/nginx-unit")
TAG = Tag(HERE, "1.0")
LAYER, MANIFEST = b"layer", b"manifest"
OWN = Descriptor(OCI_MANIFEST, Digest.of(MANIFEST), len(MANIFEST))
VERSION = Version(7, "site", {"site": 1})


def writes(
    descriptor: Descriptor | None, version: Version = VERSION, via: Sequence[str] = ("site",), conflict: bool = False
) -> Merge:
    """Whatever is known, this holds."""
    return lambda known: Change(TagState(descriptor, version), via, conflict)


def publication(tag: Tag | None = TAG, merge: Merge = writes(OWN), subject: Digest | None = None) -> Publication:  # noqa: B008
    """`MANIFEST`, an artifact of type `a/b` with one layer."""
    repository = tag.repository if tag else HERE
    child = Child("blobs", Descriptor("", Digest.of(LAYER), len(LAYER)))
    listed = {"digest": OWN.digest, "artifactType": "a/b"}
    return Publication(repository, OWN, [child], tag, subject, listed, merge, ("site",))


async def stored(store: DiskStore, repository: Repository = HERE) -> None:
    """What a publication needs to be here."""
    layer = await keep(store, LAYER)
    await keep(store, MANIFEST, (layer,))
    await store.catalog.put_links([Link("blobs", repository, Descriptor("", layer, len(LAYER)))])

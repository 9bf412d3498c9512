"""Manifests that clients push, and what is answered of them from then on."""

import asyncio
import json
from pathlib import Path

import pytest

from edgeproxy.cache.rules import Rule
from edgeproxy.cache.uploads import UploadLimits
from edgeproxy.interfaces import Urgency
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.errors import (
    DigestInvalid,
    ManifestBlobUnknown,
    ManifestMalformed,
    ManifestUnknown,
    NameUnknown,
    Unavailable,
)
from edgeproxy.oci.manifest import OCI_INDEX, OCI_MANIFEST
from edgeproxy.oci.reference import Pinned, Repository, Tag
from edgeproxy.store.catalog import Seen
from tests.cache.core import HERE, NEAR, Core, Setting, running
from tests.fakes.bodies import said
from tests.fakes.shelf import CONFIG, LAYER, Fault, described, image_index, image_manifest
from tests.store.stores import keep

CONFIG_BODY, LAYERS = b"{}", [b"first layer", b"second layer"]
IMAGE = image_manifest(CONFIG_BODY, LAYERS)
TAG = Tag(HERE, "1.0")
WEEK = 7 * 86400.0


async def blobs(core: Core, *bodies: bytes, repository: Repository = HERE) -> None:
    for body in bodies:
        await core.uploads.whole(Pinned(repository, Digest.of(body)), said(body))


async def push(core: Core, manifest: bytes = IMAGE, tag: Tag = TAG, kind: str = OCI_MANIFEST) -> Pinned:
    """An image of `CONFIG_BODY` and `LAYERS`, with its manifest."""
    await blobs(core, CONFIG_BODY, *LAYERS, repository=tag.repository)
    new = await core.manifests.put(tag, manifest, kind)
    return Pinned(tag.repository, new.descriptor.digest)


def artifact(subject: bytes, **more: object) -> bytes:
    return json.dumps({**json.loads(IMAGE), "subject": described(OCI_MANIFEST, subject), **more}).encode()


async def referrers(core: Core, subject: Pinned, artifact_type: str | None = None) -> list[dict[str, object]]:
    index, _ = await core.listings.referrers(subject, artifact_type)
    found: list[dict[str, object]] = json.loads(index)["manifests"]
    return found


async def test_an_image_is_served_as_it_was_pushed_and_nobody_upstream_is_asked(tmp_path: Path) -> None:
    async with running(tmp_path, Setting(rules=[Rule("*", fresh=0.0, max_stale=0.0)])) as core:
        pinned = await push(core)
        core.first.faults.append(Fault(refusal=Unavailable("down")))
        core.clock.advance(WEEK)
        for reference in (TAG, pinned):
            answer = await core.library.get("manifests", reference)
            assert (answer.descriptor.media_type, await core.received(answer)) == (OCI_MANIFEST, IMAGE)
            assert core.library.at_hand("manifests", reference, core.clock.now()) is not None
            assert (await core.library.held("manifests", reference, core.clock.now())).descriptor == answer.descriptor
            assert (await core.library.stat("manifests", reference)).descriptor == answer.descriptor
        assert core.first.asked == []


async def test_a_check_that_is_under_way_does_not_take_a_pushed_tag_over(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        core.first.image(HERE, "1.0", [b"upstream's"])
        await core.get("manifests", TAG)
        core.clock.advance(WEEK)
        core.first.image(HERE, "1.0", [b"upstream's new"])
        slow = Fault("resolve", hold=asyncio.Event())
        core.first.faults.append(slow)
        await core.get("manifests", TAG)  # stale, and checked behind
        await slow.reached.wait()
        pinned = await push(core)
        assert slow.hold is not None
        slow.hold.set()
        await core.settled()
        record = core.catalog.tag(TAG)
        assert record is not None
        assert (record.descriptor.digest, record.pushed) == (pinned.digest, True)


async def test_what_upstream_says_meanwhile_does_not_count(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        pinned = await push(core)
        record = core.catalog.tag(TAG)
        assert record is not None
        await core.catalog.put_tag(TAG, record._replace(pushed=False, checked=1.0))
        assert core.catalog.tag(TAG) == record
        other = image_manifest(CONFIG_BODY, LAYERS[:1])
        assert (await push(core, other)) != pinned
        assert (await core.get("manifests", TAG))[0] == other


async def test_it_stays_whole_however_full_it_is(tmp_path: Path) -> None:
    async with running(tmp_path, Setting(budget=4000, uploads=UploadLimits(age=10.0))) as core:
        pinned = await push(core)
        core.clock.advance(WEEK)
        for number in range(10):
            await keep(core.store, bytes([number]) * 1000)
            await core.room.tidy()
        assert core.traffic.evictions > 5
        assert (await core.get("manifests", pinned))[0] == IMAGE
        for body in (CONFIG_BODY, *LAYERS):
            assert (await core.get("blobs", Pinned(HERE, Digest.of(body))))[0] == body
        assert core.first.asked == []


@pytest.mark.parametrize("absent", [CONFIG_BODY, *LAYERS])
async def test_what_it_names_has_to_be_in_its_repository(tmp_path: Path, absent: bytes) -> None:
    async with running(tmp_path) as core:
        await blobs(core, absent, repository=NEAR)
        await blobs(core, *(body for body in (CONFIG_BODY, *LAYERS) if body != absent))
        with pytest.raises(ManifestBlobUnknown, match=Digest.of(absent)) as raised:
            await core.manifests.put(TAG, IMAGE, OCI_MANIFEST)
        assert raised.value.detail == {"digest": Digest.of(absent)}
        assert core.catalog.tag(TAG) is None
        assert core.catalog.held(Digest.of(IMAGE)) is None


@pytest.mark.parametrize("down", [False, True])
async def test_what_upstream_has_in_this_repository_need_not_be_uploaded(tmp_path: Path, down: bool) -> None:
    """A client asks for a blob first, and is told that upstream has it."""
    async with running(tmp_path) as core:
        await blobs(core, CONFIG_BODY, LAYERS[0])
        layer = core.first.blob(HERE, LAYERS[1])
        assert (await core.library.stat("blobs", layer)).descriptor.size == len(LAYERS[1])
        if down:
            core.first.faults.append(Fault(refusal=Unavailable("down")))
            with pytest.raises(ManifestBlobUnknown):
                await core.manifests.put(TAG, IMAGE, OCI_MANIFEST)
            return
        await core.manifests.put(TAG, IMAGE, OCI_MANIFEST)
        assert core.catalog.held(layer.digest) is not None


async def test_what_is_brought_is_kept_by_then(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        layer = core.first.blob(HERE, LAYERS[1])
        await core.library.bring("blobs", layer, Urgency.CLIENT)
        assert core.catalog.held(layer.digest) is not None


async def test_an_index_needs_its_manifests(tmp_path: Path) -> None:
    index = image_index(described(OCI_MANIFEST, IMAGE))
    async with running(tmp_path) as core:
        await blobs(core, CONFIG_BODY, *LAYERS)
        with pytest.raises(ManifestBlobUnknown, match=Digest.of(IMAGE)):
            await core.manifests.put(TAG, index, OCI_INDEX)
        await core.manifests.put(Pinned(HERE, Digest.of(IMAGE)), IMAGE, OCI_MANIFEST)
        await core.manifests.put(TAG, index, OCI_INDEX)
        assert (await core.get("manifests", TAG))[0] == index
        assert core.catalog.tags(HERE) == ["1.0"]


async def test_layers_that_are_kept_elsewhere_need_not_be_here(tmp_path: Path) -> None:
    foreign = described("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", b"far away")
    document = json.loads(IMAGE)
    document["layers"].append(foreign)
    async with running(tmp_path) as core:
        await push(core, json.dumps(document).encode())
        assert core.catalog.link("blobs", Pinned(HERE, Digest.of(b"far away"))) is None


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
async def test_a_digest_has_to_be_the_body_s(tmp_path: Path, algorithm: str) -> None:
    async with running(tmp_path) as core:
        await blobs(core, CONFIG_BODY, *LAYERS)
        with pytest.raises(DigestInvalid):
            await core.manifests.put(Pinned(HERE, Digest.of(b"other", algorithm)), IMAGE, OCI_MANIFEST)
        pinned = Pinned(HERE, Digest.of(IMAGE, algorithm))
        await core.manifests.put(pinned, IMAGE, OCI_MANIFEST)
        assert (await core.get("manifests", pinned))[0] == IMAGE


async def test_pushing_again_changes_nothing(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        for _ in range(2):
            await push(core)
            assert core.catalog.total() == len(IMAGE) + len(CONFIG_BODY) + sum(map(len, LAYERS))
        assert core.catalog.seen(HERE) == Seen(False, 0.0)
        assert len(core.store.uploads) == 0


async def test_a_cached_image_that_is_pushed_stays_from_then_on(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        core.first.manifest(HERE, IMAGE, "upstream")
        for body in (CONFIG_BODY, *LAYERS):
            await core.get("blobs", core.first.blob(HERE, body))
        await core.get("manifests", Tag(HERE, "upstream"))
        await core.settled()
        await core.manifests.put(TAG, IMAGE, OCI_MANIFEST)
        held = core.catalog.held(Digest.of(IMAGE))
        assert held is not None
        assert (held.pinned, len(held.needs)) == (True, 3)


# lists


async def test_tags_of_here_and_of_upstream_are_one_list(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        for name in ("a", "c", "e"):
            core.first.image(HERE, name)
        for name in ("b", "c", "f"):
            await push(core, tag=Tag(HERE, name))
        assert (await core.listings.tags(HERE, "", None)).tags == ["a", "b", "c", "e", "f"]
        found: list[str] = []
        while (page := await core.listings.tags(HERE, found[-1] if found else "", 2)).tags:
            found += page.tags
            if not page.more:
                break
        assert found == ["a", "b", "c", "e", "f"]
        core.first.tags_per_page = 2
        assert (await core.listings.tags(HERE, "", None))[:2] == (["a", "b", "c"], True)
        assert (await core.listings.tags(HERE, "c", None))[:2] == (["e", "f"], False)
        core.first.faults.append(Fault(refusal=Unavailable("down")))
        assert (await core.listings.tags(HERE, "", None)).tags == ["b", "c", "f"]
        core.first.faults.clear()
        await push(core, tag=Tag(NEAR, "1"))
        assert (await core.listings.tags(NEAR, "", None)).tags == ["1"]
        with pytest.raises(NameUnknown):
            await core.listings.tags(Repository("docker.io", "library/none"), "", None)
        assert core.listings.repositories("", 10, lambda repository: True) == [str(HERE), str(NEAR)]


async def test_referrers_of_here_and_of_upstream_are_one_list(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        subject = await push(core)
        core.first.subjects = {}
        assert await referrers(core, subject) == []
        other = described(OCI_MANIFEST, b"upstream's", artifactType="a/b")
        core.first.subjects[subject] = image_index(other)
        ours = artifact(IMAGE, artifactType="c/d", annotations={"by": "us"})
        new = await core.manifests.put(Pinned(HERE, Digest.of(ours)), ours, OCI_MANIFEST)
        listed = described(OCI_MANIFEST, ours, artifactType="c/d", annotations={"by": "us"})
        assert new.subject == subject.digest
        assert await referrers(core, subject) == [other, listed]
        assert await referrers(core, subject, "c/d") == [listed]
        core.first.subjects[subject] = image_index(other, listed)
        assert await referrers(core, subject) == [other, listed]
        core.first.faults.append(Fault(refusal=Unavailable("down")))
        assert await referrers(core, subject) == [other, listed]


async def test_referrers_need_no_upstream(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        core.first.faults.append(Fault(refusal=Unavailable("down")))
        subject = await push(core)
        assert await referrers(core, subject) == []
        with pytest.raises(Unavailable):
            await referrers(core, Pinned(NEAR, subject.digest))
        absent = Pinned(HERE, Digest.of(b"pushed later"))
        plain = artifact(b"pushed later")
        await core.manifests.put(Pinned(HERE, Digest.of(plain)), plain, OCI_MANIFEST)
        assert await referrers(core, absent) == [described(OCI_MANIFEST, plain, artifactType=CONFIG)]
        with pytest.raises(Unavailable):
            await referrers(core, Pinned(NEAR, absent.digest))


async def test_an_index_refers_without_a_type_of_its_own(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        subject = await push(core)
        core.first.faults.append(Fault(refusal=ManifestUnknown("no such repository")))
        index = json.dumps({**json.loads(image_index()), "subject": described(OCI_MANIFEST, IMAGE)}).encode()
        await core.manifests.put(Pinned(HERE, Digest.of(index)), index, OCI_INDEX)
        assert await referrers(core, subject) == [described(OCI_INDEX, index)]


# what is none


@pytest.mark.parametrize(
    ("body", "declared"),
    [
        (b"", OCI_MANIFEST),
        (b"nonsense", OCI_MANIFEST),
        (b"[]", OCI_MANIFEST),
        (b"[" * 100_000, OCI_MANIFEST),
        (b'{"schemaVersion": 1}', OCI_MANIFEST),
        (IMAGE, OCI_INDEX),
        (b'{"schemaVersion": 2}', ""),
        (b'{"schemaVersion": 2}', "no type"),
        (b'{"schemaVersion": 2, "mediaType": 5}', OCI_MANIFEST),
        (b'{"schemaVersion": 2, "layers": {}}', OCI_MANIFEST),
        (b'{"schemaVersion": 2, "manifests": null}', OCI_INDEX),
        (b'{"schemaVersion": 2, "layers": ["sha256:x"]}', OCI_MANIFEST),
        (b'{"schemaVersion": 2, "config": {"digest": "sha256:x", "size": 1, "mediaType": "a/b"}}', OCI_MANIFEST),
        (b'{"schemaVersion": 2, "subject": "x"}', OCI_MANIFEST),
        *(
            (json.dumps({"schemaVersion": 2, "layers": [{**described(LAYER, b""), **wrong}]}).encode(), OCI_MANIFEST)
            for wrong in ({"size": -1}, {"size": "1"}, {"size": True}, {"size": None}, {"mediaType": None})
        ),
    ],
)
async def test_what_is_no_manifest_is_refused(tmp_path: Path, body: bytes, declared: str) -> None:
    async with running(tmp_path) as core:
        with pytest.raises(ManifestMalformed):
            await core.manifests.put(TAG, body, declared)
        assert core.first.asked == []


@pytest.mark.parametrize("declared", ["", OCI_MANIFEST, f"{OCI_MANIFEST}; charset=utf-8"])
async def test_the_type_is_the_document_s_or_the_declared_one(tmp_path: Path, declared: str) -> None:
    async with running(tmp_path) as core:
        await blobs(core, CONFIG_BODY, *LAYERS)
        assert (await core.manifests.put(TAG, IMAGE, declared)).descriptor.media_type == OCI_MANIFEST
        untyped = b'{"schemaVersion": 2, "config": null, "layers": []}'
        assert (await core.manifests.put(TAG, untyped, "a/b; c=d")).descriptor.media_type == "a/b"

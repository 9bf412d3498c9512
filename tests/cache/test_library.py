"""Content by reference: from here, on its way here, or fetched."""

import asyncio
import json
from pathlib import Path

import pytest

from edgeproxy.cache.answers import release
from edgeproxy.cache.flights import Boarding
from edgeproxy.interfaces import InMemory, Kind, OnDisk
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.errors import BlobUnknown, ManifestUnknown, Unavailable, UpstreamUnauthorized
from edgeproxy.oci.manifest import OCI_MANIFEST, Descriptor
from edgeproxy.oci.reference import Pinned, Tag
from tests.cache.core import HERE, NEAR, THERE, Core, Setting, running
from tests.fakes.shelf import LAYER, Fault, described
from tests.store.stores import files_open_below

BODY = bytes(range(256)) * 2048
SMALL = b"small"
TAG = Tag(HERE, "latest")


async def pulled(core: Core, body: bytes = BODY) -> Pinned:
    pinned = core.first.blob(HERE, body)
    await core.get("blobs", pinned)
    await core.settled()
    core.first.asked.clear()
    return pinned


# from here


async def test_a_large_blob_is_answered_as_a_file(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        pinned = await pulled(core)
        answer = await core.library.get("blobs", pinned)
        assert isinstance(answer.content, OnDisk)
        assert answer.descriptor == Descriptor("", pinned.digest, len(BODY))
        assert answer.outcome == ("hit", None, "", "")
        assert await core.received(answer) == BODY
        assert core.first.asked == []


async def test_a_blob_under_way_is_answered_as_it_grows(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        pinned = core.first.blob(HERE, BODY)
        core.first.faults = [fault := Fault("open", hold=asyncio.Event(), at=300_000)]
        answer = await core.library.get("blobs", pinned)
        assert isinstance(answer.content, Boarding)
        await fault.reached.wait()
        assert fault.hold is not None
        fault.hold.set()
        assert answer.descriptor == Descriptor("", pinned.digest, len(BODY))
        assert (answer.outcome.word, answer.outcome.forwarded) == ("miss", "uri-miss")
        assert await core.received(answer) == BODY


async def test_an_answer_that_is_not_sent_is_let_go(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        pinned = core.first.blob(HERE, BODY)
        for _ in range(2):
            release((await core.library.get("blobs", pinned)).content)
            await core.settled()
        assert files_open_below(tmp_path, "blobs", "partial") == []
        release(InMemory(b""))
        release(None)


async def test_a_manifest_by_tag_is_a_manifest_by_digest(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        image = core.first.image(HERE, "latest")
        body, outcome = await core.get("manifests", TAG)
        assert (body, outcome.word) == (core.first.contents["manifests", image][1], "miss")
        again = await core.library.get("manifests", image)
        assert again.descriptor == Descriptor(OCI_MANIFEST, image.digest, len(body))
        assert (await core.received(again), again.outcome.word) == (body, "hit")


async def test_an_evicted_blob_is_fetched_again(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        pinned = await pulled(core)
        await core.store.delete([pinned.digest])
        body, outcome = await core.get("blobs", pinned)
        assert (body, outcome.word, core.first.count("open")) == (BODY, "miss", 1)


async def test_an_evicted_manifest_of_a_fresh_tag_is_fetched_again(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        image = core.first.image(HERE, "latest")
        await core.get("manifests", TAG)
        await core.settled()
        await core.store.delete([image.digest])
        answer = await core.library.get("manifests", TAG)
        assert (answer.outcome.word, answer.outcome.ttl) == ("miss", 300)
        assert Digest.of(await core.received(answer)) == image.digest


@pytest.mark.parametrize("body", [SMALL, BODY], ids=["in memory", "on disk"])
async def test_a_manifest_that_lies_about_a_size_is_not_believed(tmp_path: Path, body: bytes) -> None:
    async with running(tmp_path) as core:
        layer = core.first.blob(HERE, body)
        lie = {**described(LAYER, body), "size": 7}
        await core.get("manifests", core.first.manifest(HERE, json.dumps({"layers": [lie]}).encode()))
        for _ in range(2):
            answer = await core.library.get("blobs", layer)
            assert answer.descriptor.size == len(body)
            assert await core.received(answer) == body
            await core.settled()
        assert (await core.library.stat("blobs", layer)).descriptor.size == len(body)


# at hand


@pytest.mark.parametrize("by_tag", [True, False])
async def test_at_hand_is_what_get_answers(tmp_path: Path, by_tag: bool) -> None:
    async with running(tmp_path) as core:
        image = core.first.image(HERE, "latest")
        reference = TAG if by_tag else image
        assert core.library.at_hand("manifests", reference, core.clock.now()) is None
        await core.get("manifests", TAG)
        await core.settled()
        core.clock.advance(10)
        assert core.library.at_hand("manifests", reference, core.clock.now()) == await core.library.get(
            "manifests", reference
        )


async def test_a_small_blob_is_at_hand_with_its_true_size(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        pinned = await pulled(core, SMALL)
        answer = core.library.at_hand("blobs", pinned, core.clock.now())
        assert answer is not None
        assert answer == await core.library.get("blobs", pinned)
        assert (answer.content, answer.descriptor.size) == (InMemory(SMALL), len(SMALL))


async def test_what_is_not_in_memory_is_not_at_hand(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        large = await pulled(core)
        assert core.library.at_hand("blobs", large, core.clock.now()) is None
        assert core.library.at_hand("blobs", Pinned(NEAR, large.digest), core.clock.now()) is None


async def test_what_another_repository_shows_is_not_at_hand(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        pinned = await pulled(core, SMALL)
        assert core.library.at_hand("blobs", Pinned(THERE, pinned.digest), core.clock.now()) is None
        assert core.library.at_hand("manifests", pinned, core.clock.now()) is None


async def test_a_stale_tag_is_not_at_hand(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        core.first.image(HERE, "latest")
        await core.get("manifests", TAG)
        await core.settled()
        assert core.library.at_hand("manifests", TAG, core.clock.now() + 299) is not None
        assert core.library.at_hand("manifests", TAG, core.clock.now() + 300) is None


# described only


@pytest.mark.parametrize("kind", ["blobs", "manifests"])
async def test_a_description_fetches_no_content(tmp_path: Path, kind: Kind) -> None:
    async with running(tmp_path) as core:
        pinned = core.first.image(HERE) if kind == "manifests" else core.first.blob(HERE, BODY)
        answer = await core.library.stat(kind, pinned)
        assert answer.descriptor == core.first.stat(kind, pinned)
        assert (answer.content, answer.outcome.word) == (None, "miss")
        assert core.first.count("open") == 0
        assert core.catalog.all_held() == []


async def test_what_is_here_is_described_from_here(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        pinned = await pulled(core)
        answer = await core.library.stat("blobs", pinned)
        assert (answer.descriptor.size, answer.content, answer.outcome.word) == (len(BODY), None, "hit")
        assert core.first.asked == []


async def test_a_tag_is_described_without_its_manifest(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        image = core.first.image(HERE, "latest")
        answer = await core.library.stat("manifests", TAG)
        assert (answer.descriptor.digest, answer.content) == (image.digest, None)
        assert core.first.count("open") == 0


async def test_what_nobody_has_cannot_be_described(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        absent = Pinned(HERE, Digest.of(b"absent"))
        with pytest.raises(BlobUnknown):
            await core.library.stat("blobs", absent)
        with pytest.raises(ManifestUnknown):
            await core.library.stat("manifests", absent)


async def test_any_upstream_may_describe(tmp_path: Path) -> None:
    async with running(tmp_path, Setting(mirrored=True)) as core:
        pinned = core.second.blob(HERE, BODY)
        answer = await core.library.stat("blobs", pinned)
        assert answer.descriptor == Descriptor(LAYER, pinned.digest, len(BODY))


async def test_without_an_upstream_what_is_here_is_still_served(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        image = core.first.image(HERE, "latest", [BODY])
        await core.get("manifests", TAG)
        await core.get("blobs", Pinned(HERE, Digest.of(BODY)))
        await core.settled()
        core.first.faults = [Fault(refusal=Unavailable("down"))]
        core.clock.advance(86400)
        assert (await core.get("manifests", TAG))[1].word == "stale"
        assert (await core.get("manifests", image))[1].word == "hit"
        assert (await core.get("blobs", Pinned(HERE, Digest.of(BODY))))[0] == BODY
        await core.settled()


# absent


@pytest.mark.parametrize("verb", ["get", "stat"])
async def test_that_content_does_not_exist_is_believed_for_a_moment(tmp_path: Path, verb: str) -> None:
    async with running(tmp_path) as core:
        pinned = Pinned(HERE, Digest.of(BODY))
        for questions, seconds in ((1, 9.9), (1, 0.1), (2, 10.0)):
            with pytest.raises(BlobUnknown):
                await getattr(core.library, verb)("blobs", pinned)
            assert len(core.first.asked) == questions
            core.clock.advance(seconds)
        core.first.blob(HERE, BODY)
        assert (await core.get("blobs", pinned))[0] == BODY


@pytest.mark.parametrize("trouble", [Unavailable("down"), UpstreamUnauthorized("no login")])
async def test_trouble_is_no_absence(tmp_path: Path, trouble: Exception) -> None:
    async with running(tmp_path) as core:
        pinned = core.first.blob(HERE, BODY)
        core.first.faults = [Fault(refusal=trouble)]
        with pytest.raises(type(trouble)):
            await core.get("blobs", pinned)
        core.first.faults = []
        assert (await core.get("blobs", pinned))[0] == BODY


async def test_a_flight_of_another_kind_says_nothing_of_ours(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        image = core.first.image(HERE)
        fault = Fault("open", about="blobs", hold=asyncio.Event())
        core.first.faults = [fault]
        wrong = asyncio.create_task(core.get("blobs", image))  # a manifest is no blob, upstream will say
        await fault.reached.wait()
        right = asyncio.create_task(core.get("manifests", image))
        for _ in range(5):
            await asyncio.sleep(0)
        assert fault.hold is not None
        fault.hold.set()
        with pytest.raises(BlobUnknown):
            await wrong
        assert Digest.of((await right)[0]) == image.digest


async def test_absence_is_of_one_kind_and_one_repository(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        image = core.first.image(HERE)
        with pytest.raises(BlobUnknown):
            await core.get("blobs", image)
        with pytest.raises(ManifestUnknown):
            await core.get("manifests", Pinned(NEAR, image.digest))
        await core.get("manifests", image)


# joined from everywhere


async def test_many_tags_of_one_manifest_are_one_flight(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        image = core.first.image(HERE, "latest")
        core.first.names[Tag(HERE, "also")] = image.digest
        answers = await asyncio.gather(*[core.get("manifests", Tag(HERE, name)) for name in ("latest", "also")])
        assert {Digest.of(body) for body, _ in answers} == {image.digest}
        assert core.first.count("open") == 1

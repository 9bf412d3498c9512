"""How a flight gets its bytes."""

import asyncio
from pathlib import Path

import pytest

from edgeproxy.interfaces import Held, Kind
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.errors import (
    BlobUnknown,
    DigestMismatch,
    LoopDetected,
    ManifestInvalid,
    ManifestUnknown,
    Refusal,
    TooManyRequests,
    Unavailable,
    UpstreamTimeout,
    UpstreamUnauthorized,
)
from edgeproxy.oci.manifest import LARGEST_MANIFEST, OCI_MANIFEST, Descriptor
from edgeproxy.oci.reference import Pinned
from tests.cache.core import HERE, THERE, Core, Setting, running, until
from tests.fakes.shelf import CONFIG, LAYER, Fault, image_index, image_manifest
from tests.store.stores import content, keep

BODY = bytes(range(256)) * 2048
SIZE = len(BODY)
PINNED = Pinned(HERE, Digest.of(BODY))
MIRRORED = Setting(mirrored=True)


def starts(core: Core) -> list[int]:
    return [question.start for question in core.first.asked]


def broken(at: int, times: int | None = 1) -> Fault:
    return Fault("open", at=at, breaks=True, times=times)


# one upstream


async def test_what_is_fetched_is_verified_kept_and_linked(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        core.first.blob(HERE, BODY)
        assert (await core.get("blobs", PINNED))[0] == BODY
        await core.settled()
        now = core.clock.now()
        assert core.catalog.held(PINNED.digest) == Held(PINNED.digest, SIZE, now, now)
        assert core.catalog.link("blobs", PINNED) == Descriptor("", PINNED.digest, SIZE)
        assert await content(core.store, PINNED.digest) == BODY
        assert core.traffic.fetched == {"docker.io": SIZE}


@pytest.mark.parametrize("at", [1, 100_000, SIZE - 1])
async def test_a_break_is_resumed_at_the_byte_reached(tmp_path: Path, at: int) -> None:
    async with running(tmp_path) as core:
        core.first.blob(HERE, BODY)
        core.first.faults = [broken(at)]
        assert (await core.get("blobs", PINNED))[0] == BODY
        assert starts(core) == [0, at]
        assert core.traffic.fetched == {"docker.io": SIZE}
        assert len(core.clock.naps) == 1


async def test_a_break_before_the_first_byte_starts_again(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        core.first.blob(HERE, BODY)
        core.first.faults = [broken(0)]
        assert (await core.get("blobs", PINNED))[0] == BODY
        assert starts(core) == [0, 0]


async def test_as_long_as_bytes_come_it_does_not_give_up(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        core.first.blob(HERE, BODY)
        breaks = list(range(20_000, SIZE, 20_000))
        core.first.faults = [broken(at) for at in breaks]
        assert (await core.get("blobs", PINNED))[0] == BODY
        assert starts(core) == [0, *breaks]
        assert max(core.clock.naps) <= 5.0


async def test_without_a_new_byte_it_gives_up_and_keeps_the_beginning(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        core.first.blob(HERE, BODY)
        core.first.faults = [broken(100_000, times=None)]
        with pytest.raises(Unavailable):
            await core.get("blobs", PINNED)
        tries = len(core.first.asked)
        assert set(starts(core)[1:]) == {100_000}
        core.first.faults = []
        assert (await core.get("blobs", PINNED))[0] == BODY
        assert starts(core)[tries:] == [100_000]


@pytest.mark.parametrize(
    ("refusal", "tries"),
    [
        (BlobUnknown(""), 1),
        (TooManyRequests(""), 1),
        (UpstreamUnauthorized(""), 1),
        (LoopDetected(""), 1),
        (Unavailable(""), 2),
        (UpstreamTimeout(""), 2),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("kind", ["blobs", "manifests"])
async def test_what_will_not_pass_is_not_tried_again(tmp_path: Path, kind: Kind, refusal: Refusal, tries: int) -> None:
    async with running(tmp_path) as core:
        core.first.faults = [Fault("open", refusal=refusal)]
        with pytest.raises(type(refusal)):
            await core.get(kind, PINNED)
        assert core.first.count("open") == tries
        assert core.store.layout.partials() == []


async def test_who_ignores_ranges_is_read_from_the_start_without_harm(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        core.first.blob(HERE, BODY)
        core.first.faults = [broken(100_000), Fault("open", ignores_range=True)]
        assert (await core.get("blobs", PINNED))[0] == BODY
        assert starts(core) == [0, 100_000]
        assert core.traffic.fetched == {"docker.io": SIZE + 100_000}


async def test_who_announces_no_size_is_read_to_the_end(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        core.first.blob(HERE, BODY)
        core.first.faults = [Fault("open", announces="nothing")]
        answer = await core.library.get("blobs", PINNED)
        assert answer.descriptor.size == SIZE
        assert await core.received(answer) == BODY


async def test_a_break_without_a_size_is_resumed_too(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        core.first.blob(HERE, BODY)
        core.first.faults = [Fault("open", announces="nothing", at=99, breaks=True, times=1)]
        assert (await core.get("blobs", PINNED))[0] == BODY
        assert starts(core) == [0, 99]


async def test_who_ends_early_is_asked_for_the_rest(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        core.first.blob(HERE, BODY)
        core.first.faults = [Fault("open", body=BODY[:1000], announces=SIZE, times=1)]
        assert (await core.get("blobs", PINNED))[0] == BODY
        assert starts(core) == [0, 1000]


@pytest.mark.parametrize("size", [0, 1])
async def test_the_smallest_blobs(tmp_path: Path, size: int) -> None:
    async with running(tmp_path) as core:
        pinned = core.first.blob(HERE, BODY[:size])
        assert (await core.get("blobs", pinned))[0] == BODY[:size]
        await core.settled()
        assert (await core.get("blobs", pinned)) == (BODY[:size], ("hit", None, "", ""))


async def test_room_is_made_while_the_bytes_arrive(tmp_path: Path) -> None:
    async with running(tmp_path, Setting(budget=SIZE + 1000)) as core:
        await keep(core.store, b"x" * 100_000)
        core.clock.advance(86400)
        core.first.blob(HERE, BODY)
        core.first.faults = [fault := Fault("open", hold=asyncio.Event(), at=1000)]
        flight = core.fly(PINNED)
        await until(lambda: core.traffic.evictions > 0)
        assert flight.size == SIZE
        assert flight.released < SIZE
        assert fault.hold is not None
        fault.hold.set()
        await flight.landed()


# wrong content


@pytest.mark.parametrize(
    "fault",
    [
        Fault("open", body=BODY[:-1] + b"x"),
        Fault("open", body=BODY + b"x", announces=SIZE),
        Fault("open", body=BODY + b"x"),
        Fault("open", body=BODY[:-1]),
        Fault("open", body=b""),
        Fault("open", body=BODY[:-1], announces="nothing"),
    ],
    ids=["altered", "more than announced", "longer", "shorter", "empty", "cut off"],
)
async def test_wrong_content_is_counted_and_nothing_of_it_kept(tmp_path: Path, fault: Fault) -> None:
    async with running(tmp_path) as core:
        core.first.blob(HERE, BODY)
        core.first.faults = [fault]
        with pytest.raises(DigestMismatch):
            await core.get("blobs", PINNED)
        await core.settled()
        assert (core.traffic.mismatches, core.first.count("open")) == (1, 1)
        assert (core.store.layout.partials(), core.catalog.all_held()) == ([], [])
        core.first.faults = []
        assert (await core.get("blobs", PINNED))[0] == BODY


async def test_an_upstream_that_changes_its_mind_about_the_size_is_not_believed(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        core.first.blob(HERE, BODY)
        core.first.faults = [broken(1000), Fault("open", announces=SIZE + 1, times=1)]
        assert (await core.get("blobs", PINNED))[0] == BODY
        assert starts(core) == [0, 1000, 1000]


# several upstreams


async def test_the_next_upstream_is_asked_where_the_first_fails(tmp_path: Path) -> None:
    async with running(tmp_path, MIRRORED) as core:
        core.second.blob(HERE, BODY)
        assert (await core.get("blobs", PINNED))[0] == BODY
        assert (core.first.count("open"), core.second.count("open")) == (1, 1)
        assert core.clock.naps == []


async def test_the_next_upstream_is_not_asked_where_the_first_answers(tmp_path: Path) -> None:
    async with running(tmp_path, MIRRORED) as core:
        core.first.blob(HERE, BODY)
        core.second.blob(HERE, BODY)
        await core.get("blobs", PINNED)
        assert core.second.asked == []


async def test_a_break_is_resumed_at_the_next_upstream(tmp_path: Path) -> None:
    async with running(tmp_path, MIRRORED) as core:
        core.first.blob(HERE, BODY)
        core.second.blob(HERE, BODY)
        core.first.faults = [broken(100_000)]
        assert (await core.get("blobs", PINNED))[0] == BODY
        assert [question.start for question in core.second.asked] == [100_000]


async def test_a_break_is_resumed_where_it_broke_if_nobody_else_knows_the_blob(tmp_path: Path) -> None:
    async with running(tmp_path, MIRRORED) as core:
        core.first.blob(HERE, BODY)
        core.first.faults = [broken(100_000)]
        assert (await core.get("blobs", PINNED))[0] == BODY
        assert starts(core) == [0, 100_000]


@pytest.mark.parametrize("kind", ["blobs", "manifests"])
async def test_that_another_does_not_know_it_is_no_answer_while_one_is_down(tmp_path: Path, kind: Kind) -> None:
    async with running(tmp_path, MIRRORED) as core:
        core.first.faults = [Fault(refusal=Unavailable("down"))]
        with pytest.raises(Unavailable):
            await core.get(kind, PINNED)


# after a crash


async def test_a_beginning_left_by_a_crash_is_resumed(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        core.store.layout.partial_of(PINNED.digest).write_bytes(BODY[:777])
        core.first.blob(HERE, BODY)
        assert (await core.get("blobs", PINNED))[0] == BODY
        assert starts(core) == [777]


async def test_a_whole_left_by_a_crash_is_not_transferred_again(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        core.store.layout.partial_of(PINNED.digest).write_bytes(BODY)
        core.first.blob(HERE, BODY)
        assert (await core.get("blobs", PINNED))[0] == BODY
        assert core.first.count("open") == 0
        await core.settled()
        assert await content(core.store, PINNED.digest) == BODY


@pytest.mark.parametrize("left", [b"x" * 777, b"\0" * SIZE, b"\0" * (SIZE + 1)], ids=["short", "whole", "too long"])
async def test_a_ruin_left_by_a_crash_is_in_the_way_once_at_most(tmp_path: Path, left: bytes) -> None:
    """After a loss of power a file can have its length and not its bytes."""
    async with running(tmp_path) as core:
        core.store.layout.partial_of(PINNED.digest).write_bytes(left)
        core.first.blob(HERE, BODY)
        try:
            await core.get("blobs", PINNED)
        except Refusal:
            await core.settled()
        assert (await core.get("blobs", PINNED))[0] == BODY


async def test_a_manifest_left_by_a_crash_is_fetched_again(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        image = core.first.image(HERE)
        core.store.layout.partial_of(image.digest).write_bytes(b"half")
        body, _ = await core.get("manifests", image)
        await core.settled()
        assert body == await content(core.store, image.digest) == core.first.contents["manifests", image][1]


# manifests


async def test_a_manifest_links_what_it_names(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        image = core.first.image(HERE, "t", [b"one", b"two"])
        body, _ = await core.get("manifests", image)
        await core.settled()
        named = {Digest.of(each): each for each in (b'{"of":"t"}', b"one", b"two")}
        held = core.catalog.held(image.digest)
        assert held is not None
        assert (set(held.needs), held.size) == (set(named), len(body))
        assert core.catalog.link("manifests", image) == Descriptor(OCI_MANIFEST, image.digest, len(body))
        for digest, each in named.items():
            kind = CONFIG if each.startswith(b"{") else LAYER
            assert core.catalog.link("blobs", Pinned(HERE, digest)) == Descriptor(kind, digest, len(each))


async def test_an_index_opens_no_manifest(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        child = image_manifest(b"{}", [])
        index = image_index({"mediaType": OCI_MANIFEST, "digest": Digest.of(child), "size": len(child)})
        pinned = core.first.manifest(HERE, index, kind="application/json")
        answer = await core.library.get("manifests", pinned)
        assert answer.descriptor.media_type == "application/vnd.oci.image.index.v1+json"
        link = core.catalog.link("manifests", Pinned(HERE, Digest.of(child)))
        assert link is None
        await core.get("manifests", core.other.manifest(THERE, child))
        with pytest.raises(ManifestUnknown):  # though another repository has brought it
            await core.get("manifests", Pinned(HERE, Digest.of(child)))
        assert core.catalog.link("blobs", Pinned(HERE, Digest.of(child))) is None


async def test_a_manifest_without_parts_is_no_blob(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        pinned = core.first.manifest(HERE, image_index())
        await core.get("manifests", pinned)
        await core.settled()
        assert core.catalog.link("blobs", pinned) is None


async def test_a_break_in_a_manifest_starts_again(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        image = core.first.image(HERE)
        core.first.faults = [broken(10)]
        body, _ = await core.get("manifests", image)
        assert Digest.of(body) == image.digest
        assert starts(core) == [0, 0]


async def test_a_wrong_manifest_is_counted_and_nothing_of_it_kept(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        image = core.first.image(HERE)
        core.first.faults = [Fault("open", body=image_manifest(b"other", []))]
        with pytest.raises(DigestMismatch):
            await core.get("manifests", image)
        assert core.traffic.mismatches == 1
        assert core.catalog.all_held() == []
        assert core.catalog.link("blobs", Pinned(HERE, Digest.of(b"other"))) is None


async def test_an_endless_manifest_is_cut_short(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        pinned = core.first.manifest(HERE, b" " * (LARGEST_MANIFEST + 1))
        with pytest.raises(ManifestInvalid):
            await core.get("manifests", pinned)
        assert core.store.layout.partials() == []
        pinned = core.first.manifest(HERE, b" " * LARGEST_MANIFEST)
        assert len((await core.get("manifests", pinned))[0]) == LARGEST_MANIFEST


async def test_offline_nothing_is_asked(tmp_path: Path) -> None:
    async with running(tmp_path, Setting(offline=True)) as core:
        image = core.first.image(HERE)
        for kind in ("blobs", "manifests"):
            with pytest.raises(Unavailable, match="offline"):
                await core.get(kind, image)
        assert core.first.asked == []


async def test_an_unknown_manifest_is_unknown(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        with pytest.raises(ManifestUnknown):
            await core.get("manifests", PINNED)

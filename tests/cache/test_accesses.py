import asyncio
from pathlib import Path

import pytest

from edgeproxy.interfaces import Kind
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.reference import Pinned, Reference, Tag
from tests.cache.core import HERE, Core, running
from tests.store.stores import keep

LARGE = bytes(range(256)) * 20


async def uses(core: Core, digest: Digest) -> tuple[int, float]:
    held = core.catalog.held(digest)
    assert held is not None
    return held.uses, held.used


async def test_uses_are_carried_over_once(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        digest = await keep(core.store, b"body")
        for _ in range(3):
            core.accesses.note(digest)
        core.clock.advance(10)
        assert (await uses(core, digest))[0] == 1
        for _ in range(2):
            await core.accesses.carry_over()
            assert await uses(core, digest) == (4, core.clock.now())


async def test_each_blob_has_its_own(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        digests = [await keep(core.store, body) for body in (b"one", b"two", b"three")]
        core.accesses.note(digests[0])
        core.accesses.note(digests[1])
        core.accesses.note(digests[1])
        await core.accesses.carry_over()
        assert [(await uses(core, digest))[0] for digest in digests] == [2, 3, 1]


async def test_what_is_gone_has_none(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        core.accesses.note(Digest.of(b"gone"))
        await core.accesses.carry_over()
        assert core.catalog.all_held() == []


@pytest.mark.parametrize("body", [b"small", LARGE], ids=["in memory", "on disk"])
async def test_every_answer_from_here_is_a_use(tmp_path: Path, body: bytes) -> None:
    async with running(tmp_path) as core:
        pinned = core.first.blob(HERE, body)
        await core.get("blobs", pinned)
        await core.settled()
        await core.accesses.carry_over()
        before, _ = await uses(core, pinned.digest)
        await core.get("blobs", pinned)
        core.library.at_hand("blobs", pinned, core.clock.now())
        await core.library.stat("blobs", pinned)
        core.clock.advance(60)
        await core.accesses.carry_over()
        expected = before + (3 if body == b"small" else 2)
        assert await uses(core, pinned.digest) == (expected, core.clock.now())


@pytest.mark.parametrize("kind", ["blobs", "manifests"])
async def test_each_who_joins_a_flight_is_a_use(tmp_path: Path, kind: Kind) -> None:
    async with running(tmp_path) as core:
        pinned = core.first.blob(HERE, LARGE) if kind == "blobs" else core.first.image(HERE)
        await asyncio.gather(*[core.get(kind, pinned) for _ in range(5)])
        await core.settled()
        await core.accesses.carry_over()
        assert core.first.count("open") == 1
        assert (await uses(core, pinned.digest))[0] == 5


@pytest.mark.parametrize("kind", ["blobs", "manifests"])
async def test_the_first_answer_is_one_use_whatever_its_kind(tmp_path: Path, kind: Kind) -> None:
    async with running(tmp_path) as core:
        image = core.first.image(HERE, "latest", [LARGE])
        reference: Reference = Tag(HERE, "latest") if kind == "manifests" else Pinned(HERE, Digest.of(LARGE))
        await core.get(kind, reference)
        await core.settled()
        await core.accesses.carry_over()
        digest = image.digest if kind == "manifests" else Digest.of(LARGE)
        assert (await uses(core, digest))[0] == 1

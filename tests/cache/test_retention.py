"""How long an image stays: as long as its rules say, and as was learned, over a real store."""

from pathlib import Path

import pytest

from edgeproxy.cache.holdings import Holdings
from edgeproxy.cache.rules import Rule
from edgeproxy.cache.upstreams import Upstreams
from edgeproxy.interfaces import StoreFull
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.manifest import OCI_INDEX, OCI_MANIFEST
from edgeproxy.oci.reference import Pinned, Repository, Tag
from tests.cache.core import HERE, THERE, Core, Setting, running
from tests.cache.test_room import bring
from tests.fakes.shelf import described, image_index

DAY = 86400.0
KB = 1000
LAYER, SHARED, CONFIG = b"l" * KB, b"s" * KB, b"{}"


async def pull(core: Core, name: str = "1.0", layers: tuple[bytes, ...] = (LAYER,), where: Repository = HERE) -> Digest:
    """An image comes whole."""
    shelf = core.other if where is THERE else core.first
    manifest = shelf.image(where, name, list(layers))
    await core.get("manifests", Tag(where, name))
    for layer in layers:
        await core.get("blobs", Pinned(where, Digest.of(layer)))
    await core.settled()
    await core.accesses.carry_over()
    return manifest.digest


async def use(core: Core, name: str = "1.0") -> None:
    await core.get("manifests", Tag(HERE, name))
    await core.settled()
    await core.accesses.carry_over()


async def pull_pinned(core: Core, manifest: Pinned, *layers: bytes) -> None:
    await core.get("manifests", manifest)
    for layer in layers:
        await core.get("blobs", Pinned(HERE, Digest.of(layer)))
    await core.settled()
    await core.accesses.carry_over()


def here(core: Core, *contents: bytes) -> list[bool]:
    return [core.catalog.held(Digest.of(content)) is not None for content in contents]


async def test_what_nobody_asked_for_goes_after_its_time(tmp_path: Path) -> None:
    async with running(tmp_path, Setting(rules=[Rule(f"{HERE}:*", unused_for=10 * DAY)])) as core:
        digest = await pull(core)
        core.clock.advance(9 * DAY)
        await core.room.lapse()
        assert core.catalog.held(digest) is not None
        await use(core)
        core.clock.advance(9 * DAY)
        await core.room.lapse()
        assert core.catalog.held(digest) is not None, "it was asked for"
        core.clock.advance(DAY)
        await core.room.lapse()
        assert core.catalog.held(digest) is None
        assert here(core, LAYER) == [False]
        assert core.traffic.lapsed == 2
        assert core.traffic.evictions == 0
        assert core.chronicle.of(digest)[-1].what == "lapsed"
        assert core.catalog.link("blobs", Pinned(HERE, Digest.of(LAYER))) is None
        await core.get("manifests", Tag(HERE, "1.0"))
        assert core.catalog.held(digest) is not None, "it comes again"


async def test_what_others_need_stays(tmp_path: Path) -> None:
    async with running(tmp_path, Setting(rules=[Rule("*:1.0", unused_for=DAY)])) as core:
        await pull(core, "1.0", (LAYER, SHARED))
        await pull(core, "2.0", (SHARED,))
        core.clock.advance(DAY)
        await core.room.lapse()
        assert here(core, LAYER, SHARED) == [False, True]


async def test_what_two_tags_name_stays_as_long_as_one_of_them_has_it(tmp_path: Path) -> None:
    async with running(tmp_path, Setting(rules=[Rule("*:1.0", unused_for=DAY)])) as core:
        digest = await pull(core, "1.0")
        core.first.names[Tag(HERE, "stable")] = digest
        await use(core, "stable")
        core.clock.advance(2 * DAY)
        await core.room.lapse()
        assert core.catalog.held(digest) is not None


async def test_what_no_tag_names_any_more_goes_by_its_repository(tmp_path: Path) -> None:
    rules = [Rule(f"{HERE}:", unused_for=DAY)]
    async with running(tmp_path, Setting(rules=rules)) as core:
        old = await pull(core, "latest", (LAYER,))
        core.first.image(HERE, "latest", [SHARED])
        core.clock.advance(DAY)
        await core.tags.check(Tag(HERE, "latest"))
        await core.settled()
        await core.room.lapse()
        assert core.catalog.held(old) is None
        assert here(core, LAYER) == [False]


async def test_what_is_pinned_stays_and_what_nobody_shows(tmp_path: Path) -> None:
    async with running(tmp_path, Setting(rules=[Rule("*", unused_for=2 * DAY)])) as core:
        digest, orphan = await pull(core), await bring(core, 1)
        holdings = Holdings(core.store, core.room, core.clock, core.chronicle, lambda tag: None)
        core.clock.advance(DAY)
        assert (await holdings.about(Tag(HERE, "1.0"))).stays_for == DAY
        await core.catalog.pin(digest, True)
        assert (await holdings.about(Tag(HERE, "1.0"))).stays_for is None
        core.clock.advance(2 * DAY)
        await core.room.lapse()
        assert here(core, LAYER) == [True]
        assert core.catalog.held(orphan) is not None


async def test_offline_nothing_could_be_had_again(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        for offline in (True, False):
            upstreams = Upstreams(core.ranking, core.clock, offline, answers=lambda registry: registry == "docker.io")
            assert [upstreams.answer(each) for each in (HERE, THERE)] == [not offline, False]


async def test_what_was_learned_counts_between_the_bounds(tmp_path: Path) -> None:
    rules = [Rule("*:least", kept_for=20 * DAY), Rule("*:most", unused_for=2 * DAY)]
    async with running(tmp_path, Setting(rules=rules, learned=lambda reference: 10 * DAY)) as core:
        for name, layer in [("least", b"1" * KB), ("most", b"2" * KB), ("free", b"3" * KB)]:
            await pull(core, name, (layer,))
        stays = [await core.room.stays(core.first.names[Tag(HERE, name)]) for name in ("least", "most", "free")]
        assert stays == [20 * DAY, 2 * DAY, 10 * DAY]
        held = []
        for days in (2, 8, 10):
            core.clock.advance(days * DAY)
            await core.room.lapse()
            held.append(here(core, b"1" * KB, b"2" * KB, b"3" * KB))
        assert held == [[True, False, True], [True, False, False], [False, False, False]]


async def test_what_cannot_be_had_again_stays_unless_a_rule_lets_it_go(tmp_path: Path) -> None:
    rules = [Rule(f"{THERE}:*", unused_for=DAY)]
    async with running(tmp_path) as core:
        ours, theirs = await pull(core), await pull(core, layers=(SHARED,), where=THERE)
    async with running(tmp_path, Setting(rules=rules, offline=True, learned=lambda reference: DAY)) as core:
        core.clock.advance(30 * DAY)
        await core.room.lapse()
        assert core.catalog.held(ours) is not None
        assert core.catalog.held(theirs) is None


async def test_what_has_to_stay_stays_however_little_room_there_is(tmp_path: Path) -> None:
    setting = Setting(budget=5 * KB, rules=[Rule(f"{HERE}:1.*", kept_for=30 * DAY)])
    async with running(tmp_path, setting) as core:
        kept = await pull(core, "1.0", (LAYER, SHARED))
        core.clock.advance(29 * DAY)
        for number in range(6):
            await bring(core, number)
        assert core.catalog.held(kept) is not None
        assert here(core, LAYER, SHARED) == [True, True]
        with pytest.raises(StoreFull):
            await bring(core, 9, 4 * KB)
        core.clock.advance(DAY)
        await bring(core, 9, 4 * KB)
        assert here(core, LAYER, SHARED) == [False, False]


async def test_an_image_stays_while_one_of_its_platforms_is_asked_for(tmp_path: Path) -> None:
    rules = [Rule("*", kept_for=2 * DAY, unused_for=2 * DAY)]
    async with running(tmp_path, Setting(budget=5 * KB, rules=rules)) as core:
        platform = core.first.image(HERE, layers=[LAYER])
        _, body = core.first.contents["manifests", platform]
        index = core.first.manifest(HERE, image_index(described(OCI_MANIFEST, body)), "1.0", OCI_INDEX)
        await use(core)
        await pull_pinned(core, platform, LAYER)
        core.clock.advance(DAY)
        await pull_pinned(core, platform)
        core.clock.advance(1.5 * DAY)
        await core.room.lapse()
        for number in range(6):
            await bring(core, number)
        assert [core.catalog.held(each.digest) is not None for each in (index, platform)] == [True, True]
        assert here(core, LAYER) == [True]
        core.clock.advance(DAY / 2)
        await core.room.lapse()
        assert [core.catalog.held(each.digest) is not None for each in (index, platform)] == [False, False]

"""Deletions, and the writes of other sites, in the core."""

import asyncio
from pathlib import Path

import pytest

from edgeproxy.cache.rules import Rule, Rules
from edgeproxy.cache.writes import Said
from edgeproxy.interfaces import TagState
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.errors import BlobUnknown, ManifestUnknown, NameUnknown, RequestInvalid, Unavailable
from edgeproxy.oci.manifest import OCI_MANIFEST
from edgeproxy.oci.reference import Pinned, Tag
from edgeproxy.oci.version import Version
from edgeproxy.store.outbox import Outbox
from edgeproxy.store.versions import TagStates
from tests.cache.core import HERE, NEAR, Core, Setting, running
from tests.cache.test_manifests import CONFIG_BODY, IMAGE, LAYERS, TAG, WEEK, artifact, push, referrers
from tests.fakes.shelf import Fault, image_manifest
from tests.store.stores import keep

OTHER = image_manifest(CONFIG_BODY, LAYERS[:1])
DAY = 86400.0


def said(stamp: int, via: tuple[str, ...] = ("far",), **vector: int) -> Said:
    return Said(Version(stamp, "far", {"far": 1, **vector}), via)


def state(core: Core, tag: Tag = TAG) -> TagState:
    found = TagStates(core.catalog).state(tag)
    assert found is not None
    return found


async def test_a_tag_that_was_pushed_is_unknown_once_it_is_deleted_whatever_upstream_has(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        core.first.image(HERE, "1.0", [b"upstream's"])
        core.first.image(HERE, "2.0", [b"upstream's"])
        pinned = await push(core)
        await core.get("manifests", TAG)
        assert core.library.at_hand("manifests", TAG, core.clock.now()) is not None
        await core.removals.tag(TAG)
        assert core.library.at_hand("manifests", TAG, core.clock.now()) is None
        for _ in range(2):
            for ask in (core.library.get, core.library.stat):
                with pytest.raises(ManifestUnknown, match="deleted here"):
                    await ask("manifests", TAG)
            core.clock.advance(WEEK)
        assert (await core.listings.tags(HERE, "", None)).tags == ["2.0"]
        assert (await core.get("manifests", pinned))[0] == IMAGE
        with pytest.raises(ManifestUnknown):
            await core.removals.tag(TAG)
        await push(core)
        assert (await core.get("manifests", TAG))[0] == IMAGE
        assert (await core.listings.tags(HERE, "", None)).tags == ["1.0", "2.0"]


async def test_a_tag_of_upstream_s_is_asked_for_again(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        core.first.image(HERE, "1.0", [b"upstream's"])
        body, _ = await core.get("manifests", TAG)
        await core.removals.tag(TAG)
        core.first.asked.clear()
        assert (await core.get("manifests", TAG))[0] == body
        assert core.first.asked[0].method == "resolve"
        with pytest.raises(ManifestUnknown):
            await core.removals.tag(Tag(HERE, "absent"))


async def test_a_check_that_is_under_way_does_not_bring_a_deleted_tag_back(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        core.first.image(HERE, "1.0", [b"upstream's"])
        await core.get("manifests", TAG)
        core.clock.advance(WEEK)
        slow = Fault("resolve", hold=asyncio.Event())
        core.first.faults.append(slow)
        await core.get("manifests", TAG)  # stale, and checked behind
        await slow.reached.wait()
        await push(core)
        await core.removals.tag(TAG)
        assert slow.hold is not None
        slow.hold.set()
        await core.settled()
        assert core.catalog.tag(TAG) is None


async def test_what_a_deleted_tag_named_leaves_when_room_is_needed(tmp_path: Path) -> None:
    async with running(tmp_path, Setting(budget=4000)) as core:
        kept = await push(core, OTHER, Tag(HERE, "2.0"))
        pinned = await push(core)
        await core.removals.tag(TAG)
        core.clock.advance(WEEK)
        await core.uploads.expire()
        for number in range(10):
            await keep(core.store, bytes([number]) * 1000)
            core.clock.advance(1)
            await core.room.tidy()
        assert core.catalog.held(pinned.digest) is None
        assert core.catalog.held(Digest.of(LAYERS[1])) is None
        assert core.catalog.held(Digest.of(LAYERS[0])) is not None
        assert (await core.get("manifests", kept))[0] == OTHER


async def test_a_manifest_that_is_deleted_is_unknown_also_where_upstream_is_out_of_reach(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        pinned = await push(core)
        blob = Pinned(HERE, Digest.of(LAYERS[0]))
        await core.get("blobs", blob)
        await core.removals.manifest(pinned)
        await core.removals.blob(blob)
        core.first.faults.append(Fault(refusal=Unavailable("down")))
        for _ in range(2):
            for ask in (core.library.get, core.library.stat):
                with pytest.raises(ManifestUnknown):
                    await ask("manifests", pinned)
                with pytest.raises(BlobUnknown):
                    await ask("blobs", blob)
            with pytest.raises(ManifestUnknown):
                await core.library.get("manifests", TAG)
            core.clock.advance(WEEK)
        with pytest.raises(ManifestUnknown):
            await core.removals.manifest(pinned)
        with pytest.raises(BlobUnknown):
            await core.removals.blob(blob)
        with pytest.raises(Unavailable):
            await core.library.get("blobs", Pinned(NEAR, blob.digest))
        await push(core)
        assert (await core.get("manifests", pinned))[0] == IMAGE
        assert (await core.get("blobs", blob))[0] == LAYERS[0]


async def test_what_upstream_shows_is_fetched_again(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        blob = core.first.blob(HERE, LAYERS[0])
        await core.get("blobs", blob)
        await core.settled()
        await core.removals.blob(blob)
        core.first.asked.clear()
        assert (await core.get("blobs", blob))[0] == LAYERS[0]
        assert [question.method for question in core.first.asked] == ["stat"]


async def test_a_referrer_that_is_deleted_is_listed_no_more(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        core.first.faults.append(Fault(refusal=NameUnknown("no such repository")))
        subject, signature = await push(core), artifact(IMAGE)
        new = await core.manifests.put(Pinned(HERE, Digest.of(signature)), signature, OCI_MANIFEST)
        assert len(await referrers(core, subject)) == 1
        await core.removals.manifest(Pinned(HERE, new.descriptor.digest))
        assert await referrers(core, subject) == []
        assert list(core.catalog.scan("refers/")) == []


async def test_a_page_of_deleted_tags_does_not_end_the_list(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        for name in ("1.0", "2.0", "3.0", "4.0"):
            core.first.image(HERE, name, [b"upstream's"])
        for name in ("1.0", "2.0", "3.0"):
            await core.removals.tag(Tag(HERE, name), said(1))
        for last in ("", "1.0", "2.0"):
            assert (await core.listings.tags(HERE, last, 1)).tags == ["4.0"]


# versions


async def test_a_write_of_ours_is_later_than_all_that_is_known(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        ours = core.store.layout.name
        await push(core)
        stamp = int(core.clock.now() * 1000)
        assert state(core).version == Version(stamp, ours, {ours: 1})
        await push(core, OTHER)
        assert state(core).version == Version(stamp + 1, ours, {ours: 2})
        await core.removals.tag(TAG)
        assert state(core) == TagState(None, Version(stamp + 2, ours, {ours: 3}))
        events = await Outbox(core.catalog).events(10)
        assert [(event.news.tag, event.news.via) for event in events] == [("1.0", (ours,))] * 3


async def test_what_another_site_writes_holds_unless_it_is_out_of_date(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        ours = core.store.layout.name
        await push(core)
        first = state(core).version
        later = said(first.stamp + 5, ("other", "far"), **{ours: 1})
        taken = await core.manifests.put(TAG, OTHER, OCI_MANIFEST, later)
        assert (taken.news, taken.version) == (True, later.version)
        assert (await core.get("manifests", TAG))[0] == OTHER
        again = await core.manifests.put(TAG, OTHER, OCI_MANIFEST, later)
        old = await core.manifests.put(TAG, IMAGE, OCI_MANIFEST, Said(first, ("far",)))
        assert (again.news, old.news, old.version) == (False, False, later.version)
        assert (await core.get("manifests", TAG))[0] == OTHER
        events = await Outbox(core.catalog).events(10)
        assert [event.news.via for event in events] == [(ours,), ("other", "far", ours)]
        assert core.traffic.replicated == {"applied": 1, "seen": 2}
        assert core.traffic.conflicts == 0


@pytest.mark.parametrize("wins", [True, False])
async def test_two_writes_that_did_not_know_each_other(
    tmp_path: Path, wins: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(tmp_path) as core:
        ours, mine = core.store.layout.name, await push(core)
        stamp = state(core).version.stamp
        taken = await core.manifests.put(TAG, OTHER, OCI_MANIFEST, said(stamp + (1 if wins else -1)))
        assert taken.news
        assert taken.version is not None
        assert taken.version.vector == {"far": 1, ours: 1}
        assert (await core.get("manifests", TAG))[0] == (OTHER if wins else IMAGE)
        for pinned in (mine, Pinned(HERE, Digest.of(OTHER))):  # the loser is there by digest, and stays
            assert core.library.at_hand("manifests", pinned, core.clock.now()) or await core.get("manifests", pinned)
            held = core.catalog.held(pinned.digest)
            assert held is not None
            assert held.pinned
        assert core.traffic.replicated == {"won" if wins else "lost": 1}
        assert core.traffic.conflicts == 1
        assert f"two sites wrote {TAG}" in caplog.text
        last = (await Outbox(core.catalog).events(10))[-1].news
        assert (last.digest, last.via) == (Digest.of(OTHER if wins else IMAGE), (ours,))
        assert core.first.asked == []


@pytest.mark.parametrize("wins", [True, False])
async def test_a_deletion_that_did_not_know_of_a_write(tmp_path: Path, wins: bool) -> None:
    async with running(tmp_path) as core:
        pinned = await push(core)
        removed = await core.removals.tag(TAG, said(state(core).version.stamp + (1 if wins else -1)))
        assert removed.news
        assert (core.catalog.tag(TAG) is None) == wins
        held = core.catalog.held(pinned.digest)
        assert held is not None
        assert held.pinned
        assert core.traffic.conflicts == 1


async def test_a_deletion_of_another_site_s_is_taken_once(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        assert (await core.removals.tag(TAG, said(5))).news
        again = await core.removals.tag(TAG, said(5))
        assert (again.news, again.version) == (False, said(5).version)
        core.first.image(HERE, "1.0", [b"upstream's"])
        with pytest.raises(ManifestUnknown):
            await core.library.get("manifests", TAG)


async def test_a_stamp_of_a_time_that_has_not_come_is_refused(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        await push(core)
        tomorrow = int((core.clock.now() + 86400) * 1000)
        for act in (
            lambda at: core.manifests.put(TAG, IMAGE, OCI_MANIFEST, at),
            lambda at: core.removals.tag(TAG, at),
        ):
            with pytest.raises(RequestInvalid, match="clock"):
                await act(said(tomorrow + 1000))
        assert len(await Outbox(core.catalog).events(10)) == 1
        assert (await core.manifests.put(TAG, OTHER, OCI_MANIFEST, said(tomorrow))).news


async def test_a_push_by_digest_is_news_once(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        await push(core)
        pinned = Pinned(HERE, Digest.of(OTHER))
        for _ in range(2):
            await core.manifests.put(pinned, OTHER, OCI_MANIFEST, Said(None, ("far",)))
        last = (await Outbox(core.catalog).events(10))[1:]
        ours = core.store.layout.name
        assert [(event.news.tag, event.news.digest, event.news.via) for event in last] == [
            (None, pinned.digest, ("far", ours))
        ]


async def test_what_was_pushed_is_let_go_when_its_rule_says_so(tmp_path: Path) -> None:
    rules = Rules([Rule(f"{HERE}:1.*", pushed_for=DAY), Rule("*")])
    async with running(tmp_path) as core:
        pinned = await push(core)
        await push(core, tag=Tag(HERE, "kept"))
        await core.removals.let_go(rules)
        record = core.catalog.tag(TAG)
        assert record is not None
        assert record.pushed
        core.clock.advance(DAY)
        await core.removals.let_go(rules)
        record, other = core.catalog.tag(TAG), core.catalog.tag(Tag(HERE, "kept"))
        assert record is not None
        assert other is not None
        assert (record.pushed, other.pushed) == (False, True)
        held = core.catalog.held(pinned.digest)
        assert held is not None
        assert held.pinned, "another tag keeps it"
        newer = core.first.image(HERE, "1.0", [b"upstream's"])
        await core.get("manifests", TAG)
        await core.settled()
        assert (await core.library.stat("manifests", TAG)).descriptor.digest == newer.digest
        assert (await core.library.stat("manifests", Tag(HERE, "kept"))).descriptor.digest == pinned.digest


async def test_what_is_let_go_may_leave(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        pinned = await push(core)
        await core.removals.let_go(Rules([Rule("*", pushed_for=0.0)]))
        held = core.catalog.held(pinned.digest)
        assert held is not None
        assert not held.pinned

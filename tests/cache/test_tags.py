"""Which manifest a tag names, as time goes by."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from edgeproxy.cache.rules import Rule
from edgeproxy.oci.errors import (
    LoopDetected,
    ManifestUnknown,
    Refusal,
    TooManyRequests,
    Unavailable,
    UpstreamTimeout,
    UpstreamUnauthorized,
)
from edgeproxy.oci.reference import Pinned, Tag
from tests.cache.core import HERE, Core, Setting, running
from tests.fakes.shelf import Fault

TAG = Tag(HERE, "latest")
FRESH = 300.0
"""Seconds for which the fixed policy takes a tag as fresh."""
HOUR = Rule("*", fresh=60.0, max_stale=3600.0)
TROUBLES = [
    ManifestUnknown("deleted"),
    TooManyRequests("limited"),
    UpstreamUnauthorized("no login"),
    LoopDetected("again"),
    UpstreamTimeout("slow"),
    Unavailable("down"),
]
EVERY_TROUBLE = pytest.mark.parametrize("trouble", TROUBLES, ids=lambda trouble: type(trouble).__name__)


async def known(core: Core, layers: Sequence[bytes] = (b"layer",)) -> Pinned:
    """An image that the tag names, pulled."""
    image = core.first.image(HERE, "latest", layers)
    body, _ = await core.get("manifests", TAG)
    assert body == core.first.contents["manifests", image][1]
    await core.settled()
    core.first.asked.clear()
    return image


async def answer(core: Core) -> tuple[str, str, int | None]:
    """Digest, word and freshness of what the tag names; and whatever that started has ended."""
    descriptor, outcome = await core.tags.resolve(TAG)
    await core.settled()
    return descriptor.digest, outcome.word, outcome.ttl


# fresh


async def test_an_unknown_tag_is_asked_for(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        image = core.first.image(HERE, "latest")
        assert await answer(core) == (image.digest, "miss", None)
        assert core.first.count("open") == 0  # a HEAD, which no registry counts
        record = core.catalog.tag(TAG)
        assert record is not None
        assert (record.descriptor.digest, record.checked, record.changed) == (image.digest, *[core.clock.now()] * 2)


async def test_a_fresh_tag_is_nobody_s_question(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        image = await known(core)
        core.clock.advance(FRESH - 0.5)
        assert await answer(core) == (image.digest, "hit", 0)
        found = core.tags.fresh(TAG, core.clock.now() - 10)
        assert found is not None
        assert (found.descriptor.digest, found.outcome.ttl) == (image.digest, 10)
        assert core.first.asked == []


async def test_the_rule_says_how_long_fresh_lasts(tmp_path: Path) -> None:
    setting = Setting(rules=[Rule("*:latest", fresh=10.0), Rule("*", fresh=0.0)])
    async with running(tmp_path, setting) as core:
        image = await known(core)
        core.clock.advance(9)
        assert await answer(core) == (image.digest, "hit", 1)
        core.clock.advance(1)
        assert (await answer(core))[:2] == (image.digest, "stale")
        assert core.first.count("resolve") == 1


async def test_only_a_fresh_tag_is_at_hand(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        assert core.tags.fresh(TAG, core.clock.now()) is None
        await known(core)
        assert core.tags.fresh(TAG, core.clock.now() + FRESH - 0.1) is not None
        assert core.tags.fresh(TAG, core.clock.now() + FRESH) is None


# stale


async def test_a_stale_tag_is_answered_at_once_and_checked_behind(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        image = await known(core)
        core.clock.advance(FRESH + 7)
        found = await core.tags.resolve(TAG)
        assert core.first.asked == []  # nobody was waited for
        assert (found.descriptor.digest, found.outcome.word, found.outcome.ttl) == (image.digest, "stale", -7)
        await core.settled()
        assert core.first.count("resolve") == 1
        assert await answer(core) == (image.digest, "hit", int(FRESH))
        assert core.first.count("open") == 0


async def test_a_stale_answer_is_never_called_fresh(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        image = await known(core)
        core.clock.advance(FRESH + 0.25)
        assert await answer(core) == (image.digest, "stale", -1)


async def test_a_tag_that_moved_is_followed_behind(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        old = await known(core)
        first_seen = core.clock.now()
        new = core.first.image(HERE, "latest", [b"new"])
        core.clock.advance(FRESH)
        assert (await answer(core))[:2] == (old.digest, "stale")
        assert await answer(core) == (new.digest, "hit", int(FRESH))
        record = core.catalog.tag(TAG)
        assert record is not None
        assert record.changed == core.clock.now() == first_seen + FRESH


async def test_a_tag_that_stayed_has_not_changed(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        await known(core)
        since = core.clock.now()
        core.clock.advance(FRESH)
        await answer(core)
        record = core.catalog.tag(TAG)
        assert record is not None
        assert (record.checked, record.changed) == (since + FRESH, since)


async def test_a_tag_moves_only_once_its_new_manifest_is_here(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        old = await known(core)
        new = core.first.image(HERE, "latest", [b"new"])
        core.first.faults = [Fault("open", refusal=Unavailable("down"))]
        core.clock.advance(FRESH)
        for _ in range(3):
            assert (await answer(core))[:2] == (old.digest, "stale")
            core.clock.advance(60)
        body, outcome = await core.get("manifests", TAG)
        assert (body, outcome.word) == (core.first.contents["manifests", old][1], "stale")
        core.first.faults = []
        core.clock.advance(60)
        await answer(core)
        assert (await answer(core))[0] == new.digest


async def test_a_moved_tag_s_manifest_is_in_the_store_when_it_is_named(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        await known(core)
        new = core.first.image(HERE, "latest", [b"new"])
        core.clock.advance(FRESH)
        await answer(core)
        core.first.asked.clear()
        body, outcome = await core.get("manifests", TAG)
        assert (body, outcome.word) == (core.first.contents["manifests", new][1], "hit")
        assert core.first.asked == []


@pytest.mark.parametrize(("evicted", "opened"), [(False, 0), (True, 1)])
async def test_a_new_manifest_is_fetched_unless_it_is_here(tmp_path: Path, evicted: bool, opened: int) -> None:
    async with running(tmp_path) as core:
        await known(core)
        new = core.first.image(HERE, "latest", [b"new"])
        await core.get("manifests", new)
        await core.settled()
        if evicted:
            await core.store.delete([new.digest])
        core.first.asked.clear()
        core.clock.advance(FRESH)
        await answer(core)
        assert (await answer(core))[0] == new.digest
        assert core.first.count("open") == opened


@EVERY_TROUBLE
async def test_whatever_ails_upstream_the_tag_is_answered_stale(tmp_path: Path, trouble: Refusal) -> None:
    async with running(tmp_path) as core:
        image = await known(core)
        core.first.faults = [Fault("resolve", refusal=trouble)]
        core.clock.advance(FRESH)
        for days in (0, 1, 300):
            core.clock.advance(days * 86400)
            assert (await answer(core))[:2] == (image.digest, "stale")
        detail = (await core.tags.resolve(TAG)).outcome.detail
        assert detail == f"upstream: {trouble.message}"


@pytest.mark.parametrize(("trouble", "seconds"), [(TROUBLES[0], 10.0), (TROUBLES[1], 30.0), (TROUBLES[-1], 30.0)])
async def test_an_ailing_upstream_is_left_alone_for_a_while(tmp_path: Path, trouble: Refusal, seconds: float) -> None:
    async with running(tmp_path) as core:
        await known(core)
        core.first.faults = [Fault("resolve", refusal=trouble)]
        core.clock.advance(FRESH)
        for _ in range(3):
            await answer(core)
            assert core.first.count("resolve") == 1
        core.clock.advance(seconds - 0.1)
        await answer(core)
        assert core.first.count("resolve") == 1
        core.clock.advance(0.1)
        await answer(core)
        assert core.first.count("resolve") == 2


async def test_a_recovered_upstream_is_believed_again(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        image = await known(core)
        core.first.faults = [Fault("resolve", refusal=Unavailable("down"), times=1)]
        core.clock.advance(FRESH)
        await answer(core)
        core.clock.advance(30)
        await answer(core)
        assert await answer(core) == (image.digest, "hit", int(FRESH))
        core.clock.advance(FRESH)
        assert (await core.tags.resolve(TAG)).outcome.detail == ""
        await core.settled()


# too stale


async def test_what_is_too_stale_is_asked_for_first(tmp_path: Path) -> None:
    async with running(tmp_path, Setting(rules=[HOUR])) as core:
        old = await known(core)
        core.clock.advance(60 + 3600)
        assert (await core.tags.resolve(TAG)).outcome.word == "stale"
        await core.settled()
        new = core.first.image(HERE, "latest", [b"new"])
        core.clock.advance(60 + 3600 + 0.5)
        descriptor, outcome = await core.tags.resolve(TAG)
        assert (descriptor.digest, outcome.word, outcome.forwarded) == (new.digest, "miss", "stale")
        assert old.digest != new.digest


async def test_a_trouble_that_is_over_keeps_nobody_from_asking(tmp_path: Path) -> None:
    async with running(tmp_path, Setting(rules=[Rule("*", fresh=1.0, max_stale=10.0)])) as core:
        await known(core)
        core.first.faults = [Fault("resolve", refusal=Unavailable("down"), times=1)]
        for seconds, word in ((5.0, "stale"), (10.0, "miss"), (2.0, "stale"), (0.0, "hit")):
            core.clock.advance(seconds)
            found = await core.tags.resolve(TAG)
            assert (found.outcome.word, found.outcome.detail) == (word, "")
            await core.settled()
        assert core.first.count("resolve") == 3


@EVERY_TROUBLE
async def test_what_is_too_stale_is_refused_where_upstream_fails(tmp_path: Path, trouble: Refusal) -> None:
    async with running(tmp_path, Setting(rules=[HOUR])) as core:
        image = await known(core)
        core.first.faults = [Fault("resolve", refusal=trouble, times=1)]
        core.clock.advance(60 + 3601)
        with pytest.raises(type(trouble)):
            await core.tags.resolve(TAG)
        core.clock.advance(30)
        assert await answer(core) == (image.digest, "miss", None)


# unknown


@EVERY_TROUBLE
async def test_of_an_unknown_tag_the_trouble_is_told(tmp_path: Path, trouble: Refusal) -> None:
    async with running(tmp_path) as core:
        core.first.faults = [Fault("resolve", refusal=trouble)]
        with pytest.raises(type(trouble)) as caught:
            await core.tags.resolve(TAG)
        assert caught.value.message == trouble.message


async def test_that_a_tag_does_not_exist_is_believed_for_a_moment(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        for questions, seconds in ((1, 4.9), (1, 5.0), (1, 0.1), (2, 9.9)):
            with pytest.raises(ManifestUnknown):
                await core.tags.resolve(TAG)
            assert core.first.count("resolve") == questions
            core.clock.advance(seconds)
        image = core.first.image(HERE, "latest")
        core.clock.advance(0.1)
        assert (await answer(core))[0] == image.digest


async def test_a_trouble_of_one_tag_is_not_another_s(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        with pytest.raises(ManifestUnknown):
            await core.tags.resolve(TAG)
        image = core.first.image(HERE, "other")
        assert (await core.tags.resolve(Tag(HERE, "other"))).descriptor.digest == image.digest


async def test_the_next_upstream_is_asked_where_the_first_fails(tmp_path: Path) -> None:
    async with running(tmp_path, Setting(mirrored=True)) as core:
        image = core.second.image(HERE, "latest")
        assert (await answer(core))[0] == image.digest
        assert (core.first.count("resolve"), core.second.count("resolve")) == (1, 1)


async def test_that_another_does_not_know_it_is_no_answer_while_one_is_down(tmp_path: Path) -> None:
    async with running(tmp_path, Setting(mirrored=True)) as core:
        core.first.faults = [Fault(refusal=Unavailable("down"))]
        with pytest.raises(Unavailable):
            await core.tags.resolve(TAG)


# offline


async def test_offline_a_known_tag_is_answered_and_nobody_asked(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        image = await known(core)
    async with running(tmp_path, Setting(offline=True)) as core:
        for days in (0, 1, 1000):
            core.clock.advance(days * 86400)
            assert (await answer(core))[0] == image.digest
            assert (await core.tags.resolve(TAG)).outcome.detail == ""
        assert core.first.asked == []


async def test_offline_an_unknown_tag_is_refused(tmp_path: Path) -> None:
    async with running(tmp_path, Setting(offline=True)) as core:
        with pytest.raises(Unavailable, match="offline"):
            await core.tags.resolve(TAG)


async def test_who_looks_by_himself_leaves_no_trouble_for_those_who_ask(tmp_path: Path) -> None:
    """A registry tells of a tag a moment before it shows it."""
    async with running(tmp_path) as core:
        with pytest.raises(ManifestUnknown):
            await core.tags.check(TAG)
        core.first.image(HERE, TAG.name)
        assert (await core.get("manifests", TAG))[1].word == "miss"

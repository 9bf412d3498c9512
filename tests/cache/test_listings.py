"""Lists of tags, whatever upstream makes of `n` and `last`."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest

from edgeproxy.access.identity import NOBODY
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.errors import NameUnknown, Refusal, TooManyRequests, Unavailable, UpstreamUnauthorized
from edgeproxy.oci.manifest import OCI_MANIFEST, Descriptor
from edgeproxy.oci.reference import Repository, Tag
from edgeproxy.store.catalog import TagRecord
from tests.cache.core import HERE, NEAR, Core, Setting, running
from tests.fakes.shelf import Fault

NAMES = ["latest", "1.10", "1.9", "b", "a", "_", "Z"]
ORDER = sorted(NAMES)


def named(core: Core, names: Sequence[str] = NAMES, *, pages: bool = True) -> None:
    """The tags of an upstream that heeds `n` and `last`, or one that answers all of them, in any order."""
    core.first.pages = pages
    for name in names:
        core.first.names[Tag(HERE, name)] = Digest.of(name.encode())


async def walk(core: Core, limit: int) -> list[str]:
    """All pages, as a client asks for them."""
    found: list[str] = []
    while True:
        page = await core.listings.tags(HERE, found[-1] if found else "", limit)
        assert len(page.tags) <= limit
        found += page.tags
        if not page.more:
            return found
        assert page.tags, "who is told that there is more must be told after which tag"


PAGES = pytest.mark.parametrize("pages", [True, False], ids=["heeds", "ignores"])


@PAGES
async def test_all_tags_come_in_order(tmp_path: Path, pages: bool) -> None:
    async with running(tmp_path) as core:
        named(core, pages=pages)
        page = await core.listings.tags(HERE, "", None)
        assert (page.tags, page.more, page.outcome.word) == (ORDER, False, "miss")


@PAGES
@pytest.mark.parametrize("limit", [1, 2, 3, 6, 7, 8, 1000])
async def test_pages_are_complete_whatever_upstream_makes_of_them(tmp_path: Path, limit: int, pages: bool) -> None:
    async with running(tmp_path) as core:
        named(core, pages=pages)
        assert await walk(core, limit) == ORDER


@PAGES
async def test_a_page_follows_a_tag_that_need_not_exist(tmp_path: Path, pages: bool) -> None:
    async with running(tmp_path) as core:
        named(core, pages=pages)
        for last in ("1.10", "1.5", "aa", "zzz"):
            page = await core.listings.tags(HERE, last, 2)
            following = [tag for tag in ORDER if tag > last]
            assert (page.tags, page.more) == (following[:2], len(following) > 2)


@PAGES
async def test_a_page_of_nothing_is_empty(tmp_path: Path, pages: bool) -> None:
    async with running(tmp_path) as core:
        named(core, pages=pages)
        page = await core.listings.tags(HERE, "", 0)
        assert (page.tags, page.more) == ([], False)


@PAGES
@pytest.mark.parametrize("limit", [None, 20_000])
async def test_no_page_is_endless(tmp_path: Path, pages: bool, limit: int | None) -> None:
    async with running(tmp_path) as core:
        named(core, [f"{number:05}" for number in range(10_001)], pages=pages)
        page = await core.listings.tags(HERE, "", limit)
        assert (len(page.tags), page.more) == (10_000, True)


async def test_a_tag_that_upstream_lists_twice_is_listed_once(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        core.first.nonsense = json.dumps({"tags": ["b", "a", "b", 7, None]}).encode()
        assert (await core.listings.tags(HERE, "", None)).tags == ["a", "b"]


async def test_no_tags_may_be_null(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        core.first.nonsense = json.dumps({"tags": None}).encode()
        assert (await core.listings.tags(HERE, "", None)).tags == []


@pytest.mark.parametrize("nonsense", [{}, [], "tags", {"tags": 7}, None])
async def test_nonsense_is_upstream_s_failure(tmp_path: Path, nonsense: object) -> None:
    async with running(tmp_path) as core:
        core.first.nonsense = json.dumps(nonsense).encode()
        with pytest.raises(Unavailable):
            await core.listings.tags(HERE, "", None)


# upstream down


async def hold(core: Core, *names: str) -> None:
    for name in names:
        descriptor = Descriptor(OCI_MANIFEST, Digest.of(b""), 2)
        await core.catalog.put_tag(Tag(HERE, name), TagRecord(descriptor, 0.0, 0.0))


TROUBLES = [Unavailable("down"), TooManyRequests("limited"), UpstreamUnauthorized("no login")]


@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda trouble: type(trouble).__name__)
async def test_while_upstream_fails_the_tags_held_here_are_listed(tmp_path: Path, trouble: Refusal) -> None:
    async with running(tmp_path) as core:
        await hold(core, "c", "a", "b")
        core.first.faults = [Fault(refusal=trouble)]
        page = await core.listings.tags(HERE, "", None)
        assert (page.tags, page.more, page.outcome.word) == (["a", "b", "c"], False, "stale")
        assert trouble.message in page.outcome.detail
        assert await walk(core, 2) == ["a", "b", "c"]
        with pytest.raises(type(trouble)):
            await core.listings.tags(NEAR, "", None)


async def test_offline_the_tags_held_here_are_listed(tmp_path: Path) -> None:
    async with running(tmp_path, Setting(offline=True)) as core:
        await hold(core, "b", "a")
        assert (await core.listings.tags(HERE, "", None)).tags == ["a", "b"]
        with pytest.raises(Unavailable, match="offline"):
            await core.listings.tags(NEAR, "", None)


async def test_a_repository_that_is_gone_has_no_tags(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        await hold(core, "a")
        with pytest.raises(NameUnknown):
            await core.listings.tags(HERE, "", None)


async def test_the_next_upstream_lists_where_the_first_fails(tmp_path: Path) -> None:
    async with running(tmp_path, Setting(mirrored=True)) as core:
        core.first.faults = [Fault(refusal=Unavailable("down"))]
        core.second.names[Tag(HERE, "a")] = Digest.of(b"")
        assert (await core.listings.tags(HERE, "", None)).tags == ["a"]


# what is cached


async def test_repositories_are_those_with_a_tag_here(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        await hold(core, "a", "b")
        await core.catalog.put_tag(
            Tag(Repository("ghcr.io", "x"), "a"), TagRecord(Descriptor(OCI_MANIFEST, Digest.of(b""), 2), 0.0, 0.0)
        )
        shown = partial(core.admission().shows, NOBODY)
        assert core.listings.repositories("", 100, shown) == [str(HERE), "ghcr.io/x"]
        assert core.listings.repositories(str(HERE), 100, shown) == ["ghcr.io/x"]
        assert core.listings.repositories("", 1, shown) == [str(HERE)]
        assert core.listings.repositories("", 1, lambda repository: repository != HERE) == ["ghcr.io/x"]

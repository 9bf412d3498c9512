"""A daemon that knows what will be asked for has it before it is."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from edgeproxy.cache.prefetch import Choice
from edgeproxy.foreseen import Look, Wish
from edgeproxy.jobs.foresee import Foresee
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.manifest import Descriptor
from edgeproxy.oci.reference import Reference, Tag
from tests.api.conftest import HERE, Proxy, serving
from tests.fakes.clock import ManualClock
from tests.parts.processes import wait_until

DAY = 86400.0


def layer(number: int) -> bytes:
    return b"layer %d" % number * 1000


async def step(proxy: Proxy, name: str) -> None:
    (job,) = [job for job in proxy.daemon.judgement.jobs() if job.name == name]
    await job.step()


async def pull(proxy: Proxy, tag: str, number: int) -> str:
    """The layer's outcome."""
    await proxy.ask(f"/v2/{HERE}/manifests/{tag}")
    return (await proxy.ask(f"/v2/{HERE}/blobs/{Digest.of(layer(number))}")).fields["cache-status"]


async def lives(proxy: Proxy, clock: ManualClock, tags: list[str]) -> None:
    """A release a day, each of which is rolled out."""
    for number, tag in enumerate(tags):
        proxy.shelf.image(HERE, tag, [layer(number)])
        await pull(proxy, tag, number)  # what is stale is looked after behind
        await wait_until(partial(is_checked, proxy, tag), "the tag is fresh")
        await pull(proxy, tag, number)
        await proxy.keeps(layer(number))
        clock.advance(11.0)
        await step(proxy, "learn")
        clock.advance(DAY)


async def is_checked(proxy: Proxy, tag: str) -> bool:
    answer = await proxy.ask(f"/v2/{HERE}/manifests/{tag}", method="HEAD")
    return "ttl=-" not in answer.fields["cache-status"]


async def foresees(proxy: Proxy, clock: ManualClock) -> None:
    """A look at upstream, and what follows from it at once."""
    await step(proxy, "learn")
    asked = len(proxy.shelf.asked)
    await step(proxy, "foresee")
    await wait_until(lambda: _true(len(proxy.shelf.asked) > asked), "upstream was looked at")
    await wait_until(lambda: _true(proxy.daemon.judgement.notes.pressing), "there is news")  # type: ignore[union-attr]
    await step(proxy, "learn")
    await step(proxy, "foresee")


async def _true(found: bool) -> bool:
    return found


def held(proxy: Proxy, number: int) -> bool:
    return proxy.daemon.catalog.held(Digest.of(layer(number))) is not None


@pytest.mark.parametrize("tags", [["latest"] * 4, ["1.0.7", "1.0.8", "1.0.9", "1.0.10"]])
async def test_a_release_is_here_before_it_is_rolled_out(tmp_path: Path, tags: list[str]) -> None:
    clock = ManualClock()
    async with serving(tmp_path, {}, clock=clock) as proxy:
        await lives(proxy, clock, tags[:3])
        proxy.shelf.image(HERE, tags[3], [layer(3)])
        await foresees(proxy, clock)
        await wait_until(lambda: _true(held(proxy, 3)), "the new layer is here")
        assert "hit" in await pull(proxy, tags[3], 3)
        clock.advance(11.0)
        await step(proxy, "learn")
        document: Any = proxy.daemon.judgement.document()
        assert document["ahead"]["brought"] >= document["ahead"]["used"] >= len(layer(3))
        assert document["ahead"]["wasted"] == 0


@pytest.mark.parametrize("learn", [{"waste": "0%"}, {"looks": 0}])
async def test_nothing_is_looked_at_where_that_is_not_wanted(tmp_path: Path, learn: dict[str, Any]) -> None:
    clock = ManualClock()
    async with serving(tmp_path, {"learn": learn}, clock=clock) as proxy:
        await lives(proxy, clock, ["latest"] * 3)
        asked = len(proxy.shelf.asked)
        proxy.shelf.image(HERE, "latest", [layer(3)])
        await step(proxy, "foresee")
        clock.advance(60.0)
        await step(proxy, "foresee")
        assert len(proxy.shelf.asked) == asked
        assert not held(proxy, 3)


async def test_an_upstream_that_is_away_is_left_alone(tmp_path: Path) -> None:
    clock = ManualClock()
    async with serving(tmp_path, {"offline": True}, clock=clock) as proxy:
        await step(proxy, "foresee")
        clock.advance(60.0)
        await step(proxy, "foresee")
        assert proxy.shelf.asked == []


async def test_what_upstream_still_grants_is_kept_for_clients(tmp_path: Path) -> None:
    clock = ManualClock()
    async with serving(tmp_path, {}, clock=clock) as proxy:
        await lives(proxy, clock, ["1.0.1", "1.0.2", "1.0.3"])
        fields = {"ratelimit-limit": "100;w=21600", "ratelimit-remaining": "5;w=21600"}
        for _, upstream in proxy.daemon.ranking:
            upstream.allowance.answered(200, fields, clock.now())
        asked = len(proxy.shelf.asked)
        await step(proxy, "foresee")
        foresee = proxy.daemon.judgement.foresee
        await wait_until(lambda: _true(foresee is not None and not foresee.is_looking), "all was looked at")
        assert len(proxy.shelf.asked) == asked


class Slow:
    """Foresees two images and is the source of them; while one is brought, an hour passes."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.left = [Wish(Tag(HERE, "likely"), 0.9, 600.0), Wish(Tag(HERE, "less likely"), 0.8, 600.0)]
        self.fulfilled: list[Reference] = []

    def due(self, now: float, most: int) -> list[Look]:
        return []

    def wishes(self, now: float) -> list[Wish]:
        left, self.left = self.left, []
        return left

    def choose(self, wish: Wish, lacking: Sequence[Descriptor], now: float) -> Sequence[Descriptor]:
        return lacking

    def brought(self, blob: Descriptor, wish: Wish, now: float) -> None:
        pass

    async def look(self, look: Look) -> None:
        pass

    async def fulfil(self, wish: Wish, choice: Choice) -> None:
        self.fulfilled.append(wish.reference)
        self.clock.advance(3600.0)


async def test_what_is_too_late_is_not_brought() -> None:
    clock = ManualClock()
    slow = Slow(clock)
    async with asyncio.TaskGroup() as group:
        with ThreadPoolExecutor(1) as judging:
            foresee = Foresee(slow, judging, clock, lambda work, name: group.create_task(work, name=name), 0)
            foresee.source = slow
            await foresee.step()
    assert [str(each) for each in slow.fulfilled] == [f"{HERE}:likely"]

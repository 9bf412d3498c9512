"""A registry, links from it, and what stands at the far end of them."""

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from loadtests.link.process import WideAreaLink
from loadtests.link.terms import Counts, Terms
from loadtests.peers import Contestant, Image, layer_bytes, peers, push_image
from tests.parts.registry import DockerRegistry

_QUIET = 0.5
_QUIET_WITHIN = 20.0


@dataclass
class Supply:
    """Images of one layer each, new with every one, in the origin and nowhere else."""

    origin: DockerRegistry
    pushed: int = 0

    async def image(self, size: int) -> Image:
        self.pushed += 1
        layer = await asyncio.to_thread(layer_bytes, size, self.pushed)
        image = await push_image(self.origin.url, [layer], f"wan{self.pushed}")
        await asyncio.to_thread(os.sync)  # nothing of it is written while somebody is measured
        return image


@asynccontextmanager
async def supply(directory: Path) -> AsyncIterator[tuple[Supply, Path]]:
    """An origin, and a place for what stands in front of it; nothing of both stays."""
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory) as place:
        async with DockerRegistry(Path(place) / "origin") as origin:
            yield Supply(origin), Path(place)


@dataclass
class Site:
    """The three caches behind one link."""

    supply: Supply
    link: WideAreaLink
    contestants: list[Contestant]


@asynccontextmanager
async def site(directory: Path, terms: Terms, more: str = "") -> AsyncIterator[Site]:
    async with (
        supply(directory) as (stock, place),
        WideAreaLink(place / "link", stock.origin.url, terms) as link,
        peers(place, link.url, more) as contestants,
    ):
        yield Site(stock, link, contestants)


async def quiet(link: WideAreaLink) -> Counts:
    """Wait until the link carries nothing any more, for a while at most; what it has carried."""
    counts, until = await link.counts(), time.monotonic() + _QUIET_WITHIN
    while True:
        await asyncio.sleep(_QUIET)
        before, counts = counts, await link.counts()
        if counts.carried == before.carried or time.monotonic() > until:
            return counts

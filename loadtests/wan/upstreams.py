"""Two upstreams of one registry: who is asked, both at once, and one that lies."""

import asyncio
import time
from collections import defaultdict
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from loadtests.link.process import WideAreaLink
from loadtests.link.terms import Terms
from loadtests.peers import Contestant, docker_registry, edgeproxy, nginx
from loadtests.report import Ratio, compared, median
from loadtests.wan.reading import Reading, all_right, read, read_together
from loadtests.wan.site import Supply, quiet, supply

_PATIENCE = 60.0
_NEAR, _FAR = Terms(delay=0.01, total=40e6), Terms(delay=0.06, total=40e6)
_SLOW = {"delay": 0.1, "total": 4e6}
_RECOVERED = {"delay": 0.01, "total": 40e6}
_BLOB, _BLOBS = 20_000_000, 12
_LONG = 160_000_000
_MOVED_WITHIN = 5.0
_MOVED_BLOBS = 4
_BACK_WITHIN = 60.0
_PAUSE = 2.0
_HALF = Terms(delay=0.01, total=20e6)
_LARGE = 200_000_000
_HONEST, _LIAR = Terms(delay=0.03, total=60e6), Terms(delay=0.01, total=60e6, lie=700_001)
_LIARS_HOST = "127.0.0.2"
_LIED = 60_000_000
_CLIENTS = 2


@dataclass
class _Choice:
    """edgeproxy and the two it may ask."""

    supply: Supply
    ours: Contestant
    near: WideAreaLink
    far: WideAreaLink

    async def pull(self, size: int = _BLOB) -> tuple[float, Reading]:
        """Read a blob of its own; the share of the bytes that came from the nearer."""
        image = await self.supply.image(size)
        near, far = await self.near.counts(), await self.far.counts()
        reading = await read(self.ours.url, image, _PATIENCE)
        all_right([reading], self.ours.name)
        from_near = (await self.near.counts()).carried - near.carried
        from_far = (await self.far.counts()).carried - far.carried
        return from_near / (from_near + from_far), reading


async def nearer(directory: Path, _rounds: int) -> list[Ratio]:
    """Once, whatever the rounds: the farther is configured first, and what is to be learnt is learnt once."""
    async with supply(directory) as (stock, place), AsyncExitStack() as stack:
        near = await stack.enter_async_context(WideAreaLink(place / "near", stock.origin.url, _NEAR))
        far = await stack.enter_async_context(WideAreaLink(place / "far", stock.origin.url, _FAR, "127.0.0.2"))
        ours = await stack.enter_async_context(edgeproxy(place / "edgeproxy", far.url, near.url))
        choice = _Choice(stock, ours, near, far)
        shares = [(await choice.pull())[0] for _ in range(_BLOBS)]
        slow = await _slow_down(choice)
        return [
            _share("upstreams at 20 and 120 ms: share of the bytes from the nearer", shares, 0.95),
            _share("upstreams at 20 and 120 ms: the same from the second blob on", shares[1:]),
            *slow,
            await _recover(choice),
        ]


def _share(name: str, shares: list[float], at_least: float | None = None) -> Ratio:
    return Ratio(name, sum(shares) / len(shares), at_least, rounds=shares)


async def _slow_down(choice: _Choice) -> list[Ratio]:
    """In the middle of a long read; then reads that begin when the move has to be made."""
    running = asyncio.create_task(choice.pull(_LONG))
    try:
        await _under_way(choice, running)
        await choice.near.change(**_SLOW)
        slowed = time.monotonic()
        _, reading = await running
    finally:
        running.cancel()
    while time.monotonic() < slowed + _MOVED_WITHIN:
        await choice.pull()
    shares = [1 - (await choice.pull())[0] for _ in range(_MOVED_BLOBS)]
    about = "the nearer ten times slower:"
    return [
        Ratio(f"{about} longest gap of a read under way, seconds", reading.longest_gap, at_most=5.0),
        Ratio(f"{about} that read of {_LONG // 1_000_000} MB, seconds", reading.seconds),
        _share(f"{about} share of the other in what begins {_MOVED_WITHIN:.0f} s later", shares, 0.9),
    ]


async def _under_way(choice: _Choice, running: asyncio.Task[tuple[float, Reading]]) -> None:
    """Until a quarter of the long blob is here."""
    counts = [await link.counts() for link in (choice.near, choice.far)]
    begun = sum(each.carried for each in counts)
    async with asyncio.timeout(_PATIENCE):
        while not running.done():
            counts = [await link.counts() for link in (choice.near, choice.far)]
            if sum(each.carried for each in counts) - begun > _LONG / 4:
                return
            await asyncio.sleep(0.05)


async def _recover(choice: _Choice) -> Ratio:
    """Seconds until most of a blob comes from the nearer again, asking for one now and then."""
    await choice.near.change(**_RECOVERED)
    began = time.monotonic()
    share = 0.0
    while share < 0.5 and time.monotonic() - began <= _BACK_WITHIN:
        await asyncio.sleep(_PAUSE)
        share, _ = await choice.pull()
    seconds = time.monotonic() - began
    return Ratio("the nearer as before: seconds until it is used again", seconds, at_most=_BACK_WITHIN)


async def together(directory: Path, rounds: int) -> list[Ratio]:
    """One blob from two upstreams, over what one of them takes alone; nginx asks them by turns."""
    seconds = defaultdict[str, list[float]](list)
    async with supply(directory) as (stock, place), AsyncExitStack() as stack:
        one = await stack.enter_async_context(WideAreaLink(place / "one", stock.origin.url, _HALF))
        other = await stack.enter_async_context(WideAreaLink(place / "other", stock.origin.url, _HALF, "127.0.0.2"))
        ours = await stack.enter_async_context(edgeproxy(place / "edgeproxy", one.url, other.url))
        theirs = await stack.enter_async_context(nginx(place / "nginx", one.url, other.url))
        for _ in range(rounds):
            image = await stock.image(_LARGE)
            for name, url in (("alone", one.url), ("edgeproxy", ours.url), ("nginx", theirs.url)):
                reading = await read(url, image, _PATIENCE)
                all_right([reading], name)
                seconds[name].append(reading.seconds)
    about = "200 MB from two upstreams of 20 MB/s: times as fast as from one alone"
    return [
        compared(f"{about}, edgeproxy", seconds["alone"], seconds["edgeproxy"], at_least=1.7),
        compared(f"{about}, nginx", seconds["alone"], seconds["nginx"]),
    ]


async def liar(directory: Path, rounds: int) -> list[Ratio]:
    """The first upstream sends wrong bytes. docker-registry knows no second one, and has the liar alone."""
    right, wrong = defaultdict[str, list[float]](list), defaultdict[str, list[float]](list)
    async with supply(directory) as (stock, place), AsyncExitStack() as stack:
        lying = await stack.enter_async_context(WideAreaLink(place / "liar", stock.origin.url, _LIAR, _LIARS_HOST))
        honest = await stack.enter_async_context(WideAreaLink(place / "honest", stock.origin.url, _HONEST))
        contestants = [
            await stack.enter_async_context(edgeproxy(place / "edgeproxy", lying.url, honest.url)),
            await stack.enter_async_context(nginx(place / "nginx", lying.url, honest.url)),
            await stack.enter_async_context(docker_registry(place / "proxy", lying.url)),
        ]
        for _ in range(rounds):
            image = await stock.image(_LIED)
            for contestant in contestants:
                readings = await read_together(contestant.url, image, _CLIENTS, _PATIENCE)
                right[contestant.name].append(sum(each.right for each in readings))
                wrong[contestant.name].append(sum(each.complete and not each.right for each in readings))
                await quiet(lying)
        named = _LIARS_HOST in contestants[0].process.log.read_text()
    about = f"an upstream that lies: clients of {_CLIENTS}"
    ours = "edgeproxy"
    return [
        Ratio(f"{about} with wrong bytes, {ours}", max(wrong[ours]), at_most=0, rounds=wrong[ours]),
        Ratio(f"{about} with the right layer, {ours}", min(right[ours]), at_least=_CLIENTS, rounds=right[ours]),
        Ratio("an upstream that lies: is it named in edgeproxy's log", float(named), at_least=1),
        *(median(f"{about} with wrong bytes, {peer}", wrong[peer]) for peer in ("docker-registry", "nginx")),
        *(median(f"{about} with the right layer, {peer}", right[peer]) for peer in ("docker-registry", "nginx")),
    ]

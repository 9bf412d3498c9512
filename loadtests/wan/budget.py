"""A link with a budget, a prefetch that would take all of it, and a client that comes in between."""

import asyncio
import time
from pathlib import Path

import aiohttp

from loadtests.peers import REPOSITORY, Contestant, edgeproxy
from loadtests.report import Ratio, median
from loadtests.wan.reading import all_right, read
from loadtests.wan.site import Supply, supply

_BUDGET = 10_000_000
_MORE = '[link]\nbudget = "10MB"\nburst = "1MB"\n'
_PREFETCHED, _BLOB = 200_000_000, 60_000_000
_PATIENCE = 60.0
_SETTLED = 1.0
"""Seconds after which a client is to have the link."""
_MEASURED = 3.0


async def budget(directory: Path, rounds: int) -> list[Ratio]:
    """The client's share of the budget, from one second after it came."""
    shares, before = list[float](), list[float]()
    async with supply(directory) as (stock, place):
        for number in range(rounds):
            async with edgeproxy(place / f"edgeproxy{number}", stock.origin.url, more=_MORE) as ours:
                busy, share = await _round(stock, ours)
                before.append(busy)
                shares.append(share)
    about = "10 MB/s and a prefetch under way:"
    return [
        median(f"{about} a client's share of the link, from 1 s after it came", shares, at_least=0.9),
        median(f"{about} the prefetch's share before", before),
    ]


async def _round(stock: Supply, ours: Contestant) -> tuple[float, float]:
    prefetched, wanted = await stock.image(_PREFETCHED), await stock.image(_BLOB)
    async with aiohttp.ClientSession() as session:
        image = {"images": [f"docker.io/{REPOSITORY}:{prefetched.tag}"]}
        async with session.post(f"{ours.admin}/api/v1/prefetch", json=image) as answer:
            assert answer.status == 202
        await asyncio.sleep(2 * _SETTLED)
        busy = await _rate(session, ours, "prefetch")
        reading = asyncio.create_task(read(ours.url, wanted, _PATIENCE))
        await asyncio.sleep(_SETTLED)
        share = await _rate(session, ours, "client")
        all_right([await reading], ours.name)
    return busy / _BUDGET, share / _BUDGET


async def _rate(session: aiohttp.ClientSession, ours: Contestant, urgency: str) -> float:
    """Bytes per second over some seconds, by edgeproxy's own count."""
    began, before = time.monotonic(), await _admitted(session, ours, urgency)
    await asyncio.sleep(_MEASURED)
    return (await _admitted(session, ours, urgency) - before) / (time.monotonic() - began)


async def _admitted(session: aiohttp.ClientSession, ours: Contestant, urgency: str) -> float:
    async with session.get(f"{ours.admin}/metrics") as answer:
        lines = (await answer.text()).splitlines()
    start = f'edgeproxy_link_bytes_total{{urgency="{urgency}"}}'
    return sum(float(line.split()[1]) for line in lines if line.startswith(start))

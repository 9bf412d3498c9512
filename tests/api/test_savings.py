"""A day of pulls on a clock that tests move: what was saved is what upstream's log says was not asked of it."""

import random
from datetime import datetime

import aiohttp

from edgeproxy.cache.savings import Figures, Savings
from tests.api.conftest import HERE, Proxy
from tests.fakes.clock import ManualClock
from tests.parts.processes import wait_until

MIDNIGHT = datetime(2026, 3, 4).astimezone().timestamp()
BLOBS = [random.Random(seed).randbytes(1000 * seed + 70_001) for seed in range(40)]


async def test_what_was_saved_is_what_upstream_did_not_send(proxy: Proxy) -> None:
    clock, chance = ManualClock(MIDNIGHT), random.Random(7)
    savings = Savings(proxy.daemon.catalog, proxy.traffic, clock)
    digests = [proxy.shelf.blob(HERE, blob).digest for blob in BLOBS]
    got = asked = 0
    async with aiohttp.ClientSession() as session:
        for _ in range(24 * 6):
            digest = digests[min(int(chance.expovariate(0.1)), len(digests) - 1)]
            async with session.get(f"http://127.0.0.1:{proxy.port}/v2/{HERE}/blobs/{digest}") as answer:
                got += len(await answer.read())
                asked += 1
            await proxy.keeps(*[blob for blob, each in zip(BLOBS, digests, strict=True) if each == digest])
            await savings.carry_over()
            clock.advance(600.0 - 1e-3)
    await wait_until(lambda: len(proxy.daemon.flights) == 0, "all is kept")
    ((day, figures),) = savings.days(1)
    assert day == "2026-03-04"
    assert (figures.requests, figures.served) == (asked, got)
    sent = sum(proxy.shelf.count("open", digest) * len(blob) for digest, blob in zip(digests, BLOBS, strict=True))
    assert figures.fetched == sent
    assert figures.served - figures.fetched == got - sent > 0
    assert sum((each.served for _, each in savings.minutes()), 0) <= got
    assert figures != Figures()

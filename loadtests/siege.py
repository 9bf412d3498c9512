"""Pulls while the proxy is attacked: their rates over those of a calm time, and what the attack takes."""

import asyncio
import json
import os
import re
import sys
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp

from loadtests.attacks import ATTACKS
from loadtests.hot import Target, load, warm
from loadtests.peers import REPOSITORY, Contestant, docker_registry, edgeproxy, in_turn, layer_bytes, nginx, push_image
from loadtests.report import Ratio, Result, compared, table
from tests.parts.processes import Process, run, wait_until

_MIDDLE, _BIG, _COLD = 1024 * 1024, 200_000_000, 20_000_000
_GOAL = 0.8
_LIMITS = '[limits]\nexempt = ["127.0.0.1/32"]\nuploads = 1000000\n[[access]]\nallow = "pusher"\nto = ["*"]\n'
"""The attacks come from other addresses of this machine, and are counted; whoever wants to begins uploads."""
_FORWARDED = "uploads"
"""nginx hands these on: they would attack the origin."""
_UPLOADS = 10_000
_SETTLED = 3.0
"""Seconds until an attack is at its height."""


async def siege(directory: Path, rounds: int, seconds: int) -> Result:
    rates: dict[tuple[str, str, bool], list[float]] = defaultdict(list)
    answers: dict[str, Counter[str]] = defaultdict(Counter)
    descriptors = [0]
    async with docker_registry(directory / "origin") as origin:
        hot = await push_image(origin.url, [layer_bytes(_MIDDLE), layer_bytes(_BIG)], "hot")
        cold = iter(await _cold_layers(origin, 4 * rounds))
        targets = [
            Target("manifest", f"manifests/{hot.manifest}", hot.manifest),
            Target("1 MiB layer", f"blobs/{hot.layers[0]}", hot.layers[0]),
        ]
        big = Target("200 MB layer", f"blobs/{hot.layers[1]}", hot.layers[1])
        async with (
            edgeproxy(directory / "edgeproxy", origin.url, more=_LIMITS) as ours,
            nginx(directory / "nginx", origin.url) as theirs,
        ):
            for contestant in (ours, theirs):
                sizes = await warm(contestant, [*targets, big])
            calm_peak = ours.high_water()
            for number in range(rounds):
                for contestant in in_turn([ours, theirs], number):
                    for name, rate in (await _pulled(contestant, targets, sizes, cold, seconds)).items():
                        rates[contestant.name, name, False].append(rate)
                    async with _attacked(directory, contestant, big, answers, descriptors):
                        for name, rate in (await _pulled(contestant, targets, sizes, cold, seconds)).items():
                            rates[contestant.name, name, True].append(rate)
            peak = ours.high_water()
    ratios = [
        *_ratios(rates),
        Ratio("edgeproxy: peak MB resident", peak / 1e6, at_most=200),
        Ratio("edgeproxy: peak MB resident before the first attack", calm_peak / 1e6),
        Ratio("edgeproxy: open descriptors at most", max(descriptors)),
    ]
    told = "\n".join(f"  {name}: {dict(counts)}" for name, counts in answers.items())
    text = f"{table('siege: pulls under attack', ratios)}\n  what edgeproxy answered to each attack:\n{told}"
    return Result("siege", text, ratios, {"answers": answers, "descriptors": max(descriptors)})


def _ratios(rates: Mapping[tuple[str, str, bool], Sequence[float]]) -> list[Ratio]:
    return [
        compared(
            f"{name}: rate of {who} under siege over its rate without",
            rates[who, name, True],
            rates[who, name, False],
            at_least=_GOAL if who == "edgeproxy" else None,
        )
        for name in ("manifest", "1 MiB layer", "cold layer")
        for who in ("edgeproxy", "nginx")
    ]


async def _cold_layers(origin: Contestant, count: int) -> Sequence[str]:
    images = [await push_image(origin.url, [layer_bytes(_COLD, number)], f"cold{number}") for number in range(count)]
    return [image.layers[0] for image in images]


async def _pulled(
    contestant: Contestant, targets: Sequence[Target], sizes: dict[str, int], cold: Iterator[str], seconds: int
) -> dict[str, float]:
    """Requests per second of each target, and one over the seconds of a cold pull."""
    rates = {target.name: await load(contestant, target, sizes[target.name], seconds) for target in targets}
    began = time.perf_counter()
    url = f"{contestant.url}/v2/{REPOSITORY}/blobs/{next(cold)}"
    size = await run("curl", "-sf", "--max-time", "60", "-o", "/dev/null", "-w", "%{size_download}", url)
    assert int(size) == _COLD, f"{contestant.name} sent {size} bytes of a cold layer"
    return {**rates, "cold layer": 1 / (time.perf_counter() - began)}


@asynccontextmanager
async def _attacked(
    directory: Path, contestant: Contestant, big: Target, answers: dict[str, Counter[str]], descriptors: list[int]
) -> AsyncIterator[None]:
    """All the attacks, from before until after; fails where one was answered with a mistake of the proxy's."""
    host, port = contestant.url.removeprefix("http://").split(":")
    names = [name for name in ATTACKS if contestant.name == "edgeproxy" or name != _FORWARDED]
    layer = f"/v2/{REPOSITORY}/{big.path}"
    before = await _uploads(contestant) if contestant.admin else 0.0
    log = directory / f"attacks-{time.monotonic_ns()}"
    process = Process([sys.executable, "-m", "loadtests.attacks", host, port, layer, *names], log)
    await process.start(lambda: True)
    await asyncio.sleep(_SETTLED)
    if contestant.admin:
        await wait_until(lambda: _has_uploads(contestant, before + _UPLOADS), "10,000 more uploads are open", 60)
    watching = asyncio.create_task(_watch(contestant, descriptors))
    try:
        yield
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        running = process.running
        assert await process.stop() == 0, process.tail()
        assert running, process.tail()
    assert contestant.process.running, f"{contestant.name} has ended"
    if contestant.name == "edgeproxy":
        for name, counts in json.loads(process.tail(1)).items():
            assert not any(status.startswith("5") for status in counts), f"{name}: {counts}"
            answers[name].update(counts)


async def _has_uploads(contestant: Contestant, most: float) -> bool:
    return await _uploads(contestant) >= most


async def _uploads(contestant: Contestant) -> float:
    """How many are open."""
    async with aiohttp.ClientSession() as session, session.get(f"{contestant.admin}/metrics") as answer:
        found = re.search(r"^edgeproxy_uploads (\S+)$", await answer.text(), re.MULTILINE)
    assert found is not None
    return float(found[1])


async def _watch(contestant: Contestant, descriptors: list[int]) -> None:
    while contestant.name == "edgeproxy":
        descriptors.append(len(os.listdir(f"/proc/{contestant.process.pid}/fd")))
        await asyncio.sleep(0.5)

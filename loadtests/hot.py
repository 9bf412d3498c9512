"""Hits: requests per second of one process, beside nginx (two workers) and docker-registry, in turn."""

import asyncio
import hashlib
import json
import os
import statistics
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from loadtests.peers import REPOSITORY, Contestant, docker_registry, in_turn, layer_bytes, peers, push_image
from loadtests.report import Ratio, Result, compared, table
from tests.parts.images import OCI_MANIFEST
from tests.parts.processes import run

_SMALL, _MIDDLE, _BIG = 128 * 1024, 1024 * 1024, 220 * 1024 * 1024
_AT_REST = 0.2
"""Of one processor, what somebody may use at most who is not under load."""
_COUNT = Path(__file__).with_name("wrk.lua")
_GOALS = {
    "manifest by tag": {"nginx": 0.35, "docker-registry": 50.0},
    "manifest by digest": {"nginx": 0.35, "docker-registry": 20.0},
    "config": {"nginx": 0.35, "docker-registry": 20.0},
    "128 KiB layer": {"nginx": 0.35},
    "1 MiB layer": {"nginx": 1.0},
    "220 MiB layer": {"nginx": 1.2, "docker-registry": 1.0},
}
_Rates = Mapping[tuple[str, str], Sequence[float]]


@dataclass(frozen=True)
class Target:
    """Something to ask for; `path` below the repository."""

    name: str
    path: str
    digest: str
    connections: int = 16


async def hot(directory: Path, rounds: int, seconds: int) -> Result:
    """Every target at every contestant, `rounds` times, `seconds` each."""
    rates: dict[tuple[str, str], list[float]] = defaultdict(list)
    async with docker_registry(directory / "origin") as origin:
        targets = await _targets(origin)
        async with peers(directory, origin.url) as contestants:
            for contestant in contestants:
                sizes = await warm(contestant, targets)
            await asyncio.to_thread(os.sync)  # nobody's cache is written while another is measured
            for number in range(rounds):
                for target in targets:
                    for contestant in in_turn(contestants, number):
                        async with _at_rest(_bystanders(contestant, contestants, origin), seconds):
                            rate = await load(contestant, target, sizes[target.name], seconds)
                        rates[target.name, contestant.name].append(rate)
            memory = contestants[0].high_water()
    return _result(rates, memory)


async def _targets(origin: Contestant) -> list[Target]:
    image = await push_image(origin.url, [layer_bytes(size) for size in (_SMALL, _MIDDLE, _BIG)], "latest")
    small, middle, big = image.layers
    return [
        Target("manifest by tag", "manifests/latest", image.manifest),
        Target("manifest by digest", f"manifests/{image.manifest}", image.manifest),
        Target("config", f"blobs/{image.config}", image.config),
        Target("128 KiB layer", f"blobs/{small}", small),
        Target("1 MiB layer", f"blobs/{middle}", middle),
        Target("220 MiB layer", f"blobs/{big}", big, connections=4),
    ]


async def warm(contestant: Contestant, targets: Sequence[Target]) -> dict[str, int]:
    """Everything once, and right; then once more, from the cache. The bytes of each."""
    sizes = {}
    async with aiohttp.ClientSession(headers={"Accept": OCI_MANIFEST}) as session:
        for target in [*targets, *targets]:
            size, digest = 0, hashlib.sha256()
            async with session.get(_url(contestant, target), allow_redirects=False) as answer:
                async for chunk in answer.content.iter_chunked(1024 * 1024):
                    size += len(chunk)
                    digest.update(chunk)
            right = answer.status == 200 and f"sha256:{digest.hexdigest()}" == target.digest
            assert right, f"{contestant.name}: wrong {target.name}, status {answer.status}"
            sizes[target.name] = size
    return sizes


async def load(contestant: Contestant, target: Target, size: int, seconds: int) -> float:
    """Requests per second; anything but whole answers with 200 is a failure."""
    name = f"{contestant.name}, {target.name}"
    counted = await _wrk(name, _url(contestant, target), seconds, target.connections)
    assert counted["bytes"] > counted["requests"] * size, f"{name} cut short: {counted}"
    whole = counted["bytes"] / size if size == _BIG else counted["requests"]  # so few are whole that parts count
    return float(whole / (counted["microseconds"] / 1e6))


async def rate(name: str, url: str, seconds: int, *fields: str) -> float:
    """Requests per second with these header fields; anything but answers with 200 is a failure."""
    counted = await _wrk(name, url, seconds, 16, *fields)
    return counted["requests"] / (counted["microseconds"] / 1e6)


async def _wrk(name: str, url: str, seconds: int, connections: int, *fields: str) -> dict[str, int]:
    """What wrk counts in its one thread."""
    load = ("-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "-s", _COUNT)
    headers = [word for line in (f"Accept: {OCI_MANIFEST}", *fields) for word in ("-H", line)]
    said = await run("wrk", *load, *headers, url)
    counted: dict[str, int] = json.loads(next(line for line in said.splitlines() if line.startswith("{")))
    assert counted["errors"] == 0, f"{name}: {said}"
    return counted


@asynccontextmanager
async def _at_rest(others: Sequence[Contestant], seconds: int) -> AsyncIterator[None]:
    """Fail where another than the one under load was at work: then the figure would be of both."""
    before = [other.cpu_seconds() for other in others]
    yield
    for other, used_before in zip(others, before, strict=True):
        used = other.cpu_seconds() - used_before
        assert used < _AT_REST * seconds, f"{other.name} at {other.url} used {used:.2f} s while another was asked"


def _bystanders(contestant: Contestant, contestants: Sequence[Contestant], origin: Contestant) -> list[Contestant]:
    """Who should do nothing meanwhile. docker-registry asks the origin about every tag, hit or not."""
    others = [other for other in contestants if other is not contestant]
    return others if contestant.name == "docker-registry" else [*others, origin]


def _url(contestant: Contestant, target: Target) -> str:
    return f"{contestant.url}/v2/{REPOSITORY}/{target.path}"


def _result(rates: _Rates, memory: int) -> Result:
    ratios = []
    for target, goals in _GOALS.items():
        for peer in ("nginx", "docker-registry"):
            ours, theirs = rates[target, "edgeproxy"], rates[target, peer]
            name = f"{target}: edgeproxy {_median(ours)}/s, {peer} {_median(theirs)}/s"
            ratios.append(compared(name, ours, theirs, at_least=goals.get(peer)))
    ratios.append(Ratio("edgeproxy: peak MB resident, after all this", memory / 1e6))
    title = "hot: requests per second of edgeproxy over those of the peer"
    all_rates = {f"{target}, {name}": values for (target, name), values in rates.items()}
    return Result("hot", table(title, ratios), ratios, {"rates": all_rates, "peak": memory})


def _median(rates: Sequence[float]) -> str:
    median = statistics.median(rates)
    return f"{median:,.0f}" if median >= 100 else f"{median:.1f}"

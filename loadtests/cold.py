"""Misses: many clients on one cold layer, one client on one cold layer, and a thousand slow ones."""

import asyncio
import resource
import statistics
import time
from collections import defaultdict
from pathlib import Path

from loadtests.peers import REPOSITORY, Contestant, edgeproxy, layer_bytes, nginx, push_image
from loadtests.report import Ratio, Result, table
from tests.parts.processes import run
from tests.parts.registry import DockerRegistry
from tests.parts.relay import Fault, RecordingRelay

_LAYER = 130_000_000
_CLIENTS = 20
_SLOW_CLIENTS = 1000
_SLOW_SECONDS = 15.0
_SLOW_READ = 64 * 1024
_LINK = 60_000_000


async def cold(directory: Path, rounds: int) -> Result:
    """Every round takes a layer of its own, so that it is cold for everybody."""
    ratios: list[Ratio] = []
    async with DockerRegistry(directory / "origin") as origin:
        digests = []
        for number in range(4 * rounds + 1):
            _, _, pushed = await push_image(origin.url, [layer_bytes(_LAYER, number)], f"cold{number}")
            digests += pushed
        fresh = iter(digests)
        ratios += await _crowd(directory / "crowd", origin, [next(fresh) for _ in range(rounds)])
        ratios += await _alone(directory / "alone", origin, [next(fresh) for _ in range(rounds)])
        ratios += await _by_skopeo(directory / "skopeo", origin, rounds)
        ratios += await _on_a_link(directory / "link", origin, [next(fresh) for _ in range(rounds)])
        last = 4 * rounds
        memory = await _slow(directory / "slow", origin, digests[last], layer_bytes(_LAYER, last))
    ratios.append(Ratio(f"{_SLOW_CLIENTS} slow clients on one blob: peak MB resident", memory / 1e6, at_most=200))
    return Result("cold", table("cold: seconds of edgeproxy over seconds of the other, bytes, memory", ratios), ratios)


async def _crowd(directory: Path, origin: DockerRegistry, layers: list[str]) -> list[Ratio]:
    """Twenty clients at once on one cold layer: edgeproxy and nginx with its cache lock, in turn."""
    seconds: dict[str, list[float]] = defaultdict(list)
    fetched = []
    async with edgeproxy(directory / "edgeproxy", origin.url) as ours, nginx(directory / "nginx", origin.url) as theirs:
        for layer in layers:
            for contestant in (ours, theirs):
                before = _upstream_bytes(origin, layer)
                seconds[contestant.name].append(await _pull_at_once(contestant.url, layer, _CLIENTS))
                if contestant is ours:
                    fetched.append((_upstream_bytes(origin, layer) - before) / _LAYER)
    wall = _over(seconds["edgeproxy"], seconds["nginx"])
    return [
        Ratio(
            f"{_CLIENTS} clients, one cold layer: bytes from upstream / bytes of the layer", max(fetched), at_most=1.0
        ),
        Ratio(f"{_CLIENTS} clients, one cold layer: seconds over nginx with cache lock", wall, at_most=1.0),
    ]


async def _alone(directory: Path, origin: DockerRegistry, layers: list[str]) -> list[Ratio]:
    seconds: dict[str, list[float]] = defaultdict(list)
    async with edgeproxy(directory, origin.url) as ours:
        for layer in layers:
            await _pull_at_once(origin.url, layer, 1)  # the origin's disk is warm for both
            seconds["direct"].append(await _pull_at_once(origin.url, layer, 1))
            seconds["edgeproxy"].append(await _pull_at_once(ours.url, layer, 1))
    ratio = _over(seconds["edgeproxy"], seconds["direct"])
    return [Ratio("1 client (curl to nowhere), loopback: seconds over straight from upstream", ratio)]


async def _by_skopeo(directory: Path, origin: DockerRegistry, rounds: int) -> list[Ratio]:
    """A client that verifies and stores, as every real one does."""
    seconds: dict[str, list[float]] = defaultdict(list)
    async with edgeproxy(directory, origin.url) as ours:
        for number in range(rounds):
            for name, url in (("direct", origin.url), ("edgeproxy", ours.url)):
                image = f"docker://{url.removeprefix('http://')}/{REPOSITORY}:cold{3 * rounds + number}"
                began = time.perf_counter()
                target = f"dir:{directory}/{name}{number}"
                await run("skopeo", "copy", "--quiet", "--src-tls-verify=false", image, target)
                seconds[name].append(time.perf_counter() - began)
    ratio = _over(seconds["edgeproxy"], seconds["direct"])
    return [Ratio("1 client (skopeo to disk), loopback: seconds over straight from upstream", ratio, at_most=1.3)]


async def _on_a_link(directory: Path, origin: DockerRegistry, layers: list[str]) -> list[Ratio]:
    """Upstream behind a link of 60 MB/s: what a site sees."""
    seconds: dict[str, list[float]] = defaultdict(list)
    async with RecordingRelay(origin.url) as relay:
        relay.faults.append(Fault(rate=_LINK))
        async with edgeproxy(directory, relay.url) as ours:
            for layer in layers:
                seconds["direct"].append(await _pull_at_once(relay.url, layer, 1))
                seconds["edgeproxy"].append(await _pull_at_once(ours.url, layer, 1))
    ratio = _over(seconds["edgeproxy"], seconds["direct"])
    return [Ratio("1 client, upstream behind 60 MB/s: seconds over straight from upstream", ratio, at_most=1.3)]


async def _slow(directory: Path, origin: DockerRegistry, layer: str, expected: bytes) -> int:
    """A thousand clients that read slowly, from cold on; peak resident bytes of the proxy."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    async with edgeproxy(directory, origin.url) as ours:
        await asyncio.gather(*(_read_slowly(ours, layer, expected) for _ in range(_SLOW_CLIENTS)))
        return ours.high_water()


async def _read_slowly(contestant: Contestant, layer: str, expected: bytes) -> None:
    host, port = contestant.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=_SLOW_READ)
    try:
        request = f"GET /v2/{REPOSITORY}/blobs/{layer} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n"
        writer.write(request.encode())
        await reader.readuntil(b"\r\n\r\n")
        position, until = 0, time.monotonic() + _SLOW_SECONDS
        while time.monotonic() < until:
            piece = await reader.read(_SLOW_READ)
            assert piece == expected[position : position + len(piece)], "wrong bytes"
            position += len(piece)
            await asyncio.sleep(0.5)
        assert position > 0
    finally:
        writer.close()


async def _pull_at_once(url: str, layer: str, clients: int) -> float:
    """Seconds until the last of them has all of it."""
    began = time.perf_counter()
    target = f"{url}/v2/{REPOSITORY}/blobs/{layer}"
    sizes = await asyncio.gather(
        *(run("curl", "-sf", "-o", "/dev/null", "-w", "%{size_download}", target) for _ in range(clients))
    )
    assert all(int(size) == _LAYER for size in sizes), sizes
    return time.perf_counter() - began


def _upstream_bytes(origin: DockerRegistry, layer: str) -> int:
    return sum(entry.written for entry in origin.asked("GET", layer))


def _over(ours: list[float], theirs: list[float]) -> float:
    """The median of the rounds' ratios."""
    return statistics.median(mine / other for mine, other in zip(ours, theirs, strict=True))

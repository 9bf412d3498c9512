"""Misses: many clients on one cold layer, one client on one cold layer, and a thousand slow ones."""

import asyncio
import os
import resource
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from loadtests.peers import REPOSITORY, Contestant, Image, edgeproxy, in_turn, layer_bytes, nginx, push_image
from loadtests.report import Ratio, Result, compared, table
from tests.parts.processes import run
from tests.parts.registry import DockerRegistry
from tests.parts.relay import Fault, RecordingRelay

_LAYER = 130_000_000
_CLIENTS = 20
_PATIENCE = 120
"""Seconds in which a pull has to end."""
_SLOW_CLIENTS = 1000
_SLOW_SECONDS = 20.0
_SLOW_READ = 64 * 1024
_SLOW_PAUSE = 0.5
_LINK = 60_000_000


async def cold(directory: Path, rounds: int) -> Result:
    """Every measurement takes an image of its own, of one layer, so that it is cold for everybody."""
    ratios: list[Ratio] = []
    async with DockerRegistry(directory / "origin") as origin:
        images = [
            await push_image(origin.url, [layer_bytes(_LAYER, number)], f"cold{number}")
            for number in range(5 * rounds + 1)
        ]
        await asyncio.to_thread(os.sync)
        fresh = iter(images)
        ratios += await _crowd(directory / "crowd", origin, fresh, rounds)
        ratios += await _alone(directory / "alone", origin, fresh, rounds)
        ratios += await _by_skopeo(directory / "skopeo", origin, fresh, rounds)
        ratios += await _on_a_link(directory / "link", origin, fresh, rounds)
        ratios += await _slow(directory / "slow", origin, next(fresh), layer_bytes(_LAYER, 5 * rounds))
    return Result("cold", table("cold: seconds of edgeproxy over seconds of the other, bytes, memory", ratios), ratios)


async def _crowd(directory: Path, origin: DockerRegistry, fresh: Iterator[Image], rounds: int) -> list[Ratio]:
    """Twenty clients at once on one cold layer, at edgeproxy and at nginx with its cache lock, in turn."""
    seconds: dict[str, list[float]] = defaultdict(list)
    layers: dict[str, list[str]] = defaultdict(list)
    async with edgeproxy(directory / "edgeproxy", origin.url) as ours, nginx(directory / "nginx", origin.url) as theirs:
        for number in range(rounds):
            for contestant in in_turn([ours, theirs], number):
                layer = next(fresh).layers[0]
                layers[contestant.name].append(layer)
                began = time.perf_counter()
                await asyncio.gather(*(_pull(contestant.url, layer) for _ in range(_CLIENTS)))
                seconds[contestant.name].append(time.perf_counter() - began)
    # Now that both have ended, the origin's record is whole.
    fetched = {name: [_fetched(origin, layer) for layer in asked] for name, asked in layers.items()}
    assert min(fetched["edgeproxy"]) >= 1.0, f"the origin's record lacks something: {fetched}"
    about = f"{_CLIENTS} clients, one cold layer:"
    bytes_read = f"{about} bytes from upstream / bytes of the layer"
    return [
        Ratio(bytes_read, max(fetched["edgeproxy"]), at_most=1.0, rounds=fetched["edgeproxy"]),
        Ratio(f"{bytes_read}, nginx", max(fetched["nginx"]), rounds=fetched["nginx"]),
        compared(f"{about} seconds over nginx with cache lock", seconds["edgeproxy"], seconds["nginx"], at_most=1.0),
    ]


async def _alone(directory: Path, origin: DockerRegistry, fresh: Iterator[Image], rounds: int) -> list[Ratio]:
    async with edgeproxy(directory / "edgeproxy", origin.url) as ours, nginx(directory / "nginx", origin.url) as theirs:
        seconds: dict[str, list[float]] = defaultdict(list)
        for _ in range(rounds):
            layer = next(fresh).layers[0]
            await _pull(origin.url, layer)  # the origin's disk is warm for everybody
            for name, url in (("direct", origin.url), ("edgeproxy", ours.url), ("nginx", theirs.url)):
                seconds[name].append(await _pull(url, layer))
    about = "1 client (curl to nowhere), loopback: seconds over straight from upstream"
    return [
        compared(about, seconds["edgeproxy"], seconds["direct"], at_most=1.3),
        compared(f"{about}, nginx", seconds["nginx"], seconds["direct"]),
    ]


async def _by_skopeo(directory: Path, origin: DockerRegistry, fresh: Iterator[Image], rounds: int) -> list[Ratio]:
    """A client that verifies and stores, as every real one does."""
    seconds: dict[str, list[float]] = defaultdict(list)
    async with edgeproxy(directory, origin.url) as ours:
        for _ in range(rounds):
            tag = next(fresh).tag
            for name, url in (("direct", origin.url), ("edgeproxy", ours.url)):
                image = f"docker://{url.removeprefix('http://')}/{REPOSITORY}:{tag}"
                began = time.perf_counter()
                await run("skopeo", "copy", "--quiet", "--src-tls-verify=false", image, f"dir:{directory}/{name}-{tag}")
                seconds[name].append(time.perf_counter() - began)
    about = "1 client (skopeo to disk), loopback: seconds over straight from upstream"
    return [compared(about, seconds["edgeproxy"], seconds["direct"], at_most=1.3)]


async def _on_a_link(directory: Path, origin: DockerRegistry, fresh: Iterator[Image], rounds: int) -> list[Ratio]:
    """Upstream behind a link of 60 MB/s: what a site sees."""
    seconds: dict[str, list[float]] = defaultdict(list)
    async with RecordingRelay(origin.url) as relay:
        relay.faults.append(Fault(rate=_LINK))
        async with edgeproxy(directory, relay.url) as ours:
            for _ in range(rounds):
                layer = next(fresh).layers[0]
                seconds["direct"].append(await _pull(relay.url, layer))
                seconds["edgeproxy"].append(await _pull(ours.url, layer))
    about = "1 client, upstream behind 60 MB/s: seconds over straight from upstream"
    return [compared(about, seconds["edgeproxy"], seconds["direct"], at_most=1.3)]


async def _slow(directory: Path, origin: DockerRegistry, image: Image, expected: bytes) -> list[Ratio]:
    """A thousand clients that read slowly, from cold on; peak resident bytes of the proxy."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    async with edgeproxy(directory, origin.url) as ours, asyncio.timeout(_PATIENCE):
        idle = ours.high_water()
        await asyncio.gather(*(_read_slowly(ours, image.layers[0], expected) for _ in range(_SLOW_CLIENTS)))
        peak = ours.high_water()
    return [
        Ratio(f"{_SLOW_CLIENTS} slow clients on one blob: peak MB resident", peak / 1e6, at_most=200),
        Ratio("before the first of them: peak MB resident", idle / 1e6),
    ]


async def _read_slowly(contestant: Contestant, layer: str, expected: bytes) -> None:
    """Read the beginning, byte for byte as it should be, and leave."""
    host, port = contestant.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=_SLOW_READ)
    try:
        request = f"GET /v2/{REPOSITORY}/blobs/{layer} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n"
        writer.write(request.encode())
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 "), head
        position, until = 0, time.monotonic() + _SLOW_SECONDS
        while time.monotonic() < until:
            piece = await reader.read(_SLOW_READ)
            assert piece, f"broken off at byte {position}"
            assert piece == expected[position : position + len(piece)], f"wrong bytes from {position} on"
            position += len(piece)
            await asyncio.sleep(_SLOW_PAUSE)
    finally:
        writer.close()


async def _pull(url: str, layer: str) -> float:
    """Seconds that curl took for all of a layer, without those of its own start."""
    wanted = ("-sf", "--max-time", str(_PATIENCE), "-o", "/dev/null", "-w", "%{size_download} %{time_total}")
    # Not by `run`: its threads are few, and clients would stand in line for them.
    curl = await asyncio.create_subprocess_exec(
        "curl", *wanted, f"{url}/v2/{REPOSITORY}/blobs/{layer}", stdout=asyncio.subprocess.PIPE
    )
    said, _ = await curl.communicate()
    assert curl.returncode == 0, f"curl {url}: exit code {curl.returncode}"
    size, seconds = said.split()
    assert int(size) == _LAYER, f"{url} sent {size!r} bytes"
    return float(seconds)


def _fetched(origin: DockerRegistry, layer: str) -> float:
    """How often the origin has sent the layer, by the bytes in its record."""
    return sum(entry.written for entry in origin.asked("GET", layer)) / _LAYER

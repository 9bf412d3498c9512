"""Hits: requests per second of one process, beside nginx (two workers) and docker-registry, in turn."""

import hashlib
import re
import statistics
from collections import defaultdict
from pathlib import Path

import aiohttp

from loadtests.peers import MANIFEST, REPOSITORY, Contestant, docker_registry, layer_bytes, peers, push_image
from loadtests.report import Ratio, Result, table
from tests.parts.processes import run

_BIG = 220 * 1024 * 1024
_GOALS = {
    "manifest by tag": {"nginx": 0.35, "docker-registry": 50.0},
    "manifest by digest": {"nginx": 0.35, "docker-registry": 20.0},
    "config": {"nginx": 0.35, "docker-registry": 20.0},
    "128 KiB layer": {"nginx": 0.35},
    "1 MiB layer": {"nginx": 1.0},
    "220 MiB layer": {"nginx": 1.2, "docker-registry": 1.0},
}


async def hot(directory: Path, rounds: int, seconds: int) -> Result:
    """Every target at every contestant, `rounds` times, `seconds` each."""
    rates: dict[tuple[str, str], list[float]] = defaultdict(list)
    async with docker_registry(directory / "origin") as origin:
        layers = [layer_bytes(size) for size in (128 * 1024, 1024 * 1024, _BIG)]
        manifest, config, digests = await push_image(origin.url, layers, "latest")
        small, middle, big = digests
        paths = {
            "manifest by tag": "manifests/latest",
            "manifest by digest": f"manifests/{manifest}",
            "config": f"blobs/{config}",
            "128 KiB layer": f"blobs/{small}",
            "1 MiB layer": f"blobs/{middle}",
            "220 MiB layer": f"blobs/{big}",
        }
        expected = dict(zip(paths, [manifest, manifest, config, *digests], strict=True))
        async with peers(directory, origin.url) as contestants:
            for contestant in contestants:
                await _warm(contestant, paths, expected)
            for _ in range(rounds):
                for target, path in paths.items():
                    for contestant in contestants:
                        rates[target, contestant.name].append(await _load(contestant, path, target, seconds))
            memory = contestants[0].high_water()
    return _result(rates, memory)


async def _warm(contestant: Contestant, paths: dict[str, str], expected: dict[str, str]) -> None:
    """Everything once, and right; then once more, from the cache."""
    async with aiohttp.ClientSession(headers={"Accept": MANIFEST}) as session:
        for target, path in [*paths.items(), *paths.items()]:
            async with session.get(f"{contestant.url}/v2/{REPOSITORY}/{path}") as answer:
                digest = hashlib.sha256()
                async for chunk in answer.content.iter_chunked(1024 * 1024):
                    digest.update(chunk)
                assert f"sha256:{digest.hexdigest()}" == expected[target], f"{contestant.name}: wrong {target}"


async def _load(contestant: Contestant, path: str, target: str, seconds: int) -> float:
    """Requests per second by wrk, one thread; an answer that is no 200 fails the run."""
    connections = 4 if target == "220 MiB layer" else 16
    url = f"{contestant.url}/v2/{REPOSITORY}/{path}"
    said = await run(
        "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "-H", f"Accept: {MANIFEST}", url
    )
    assert "Non-2xx" not in said, f"{contestant.name}, {target}: {said}"
    found = re.search(r"Requests/sec:\s+([\d.]+)", said)
    assert found, said
    return float(found[1])


def _result(rates: dict[tuple[str, str], list[float]], memory: int) -> Result:
    medians = {key: statistics.median(values) for key, values in rates.items()}
    ratios = []
    for target, goals in _GOALS.items():
        ours = medians[target, "edgeproxy"]
        for peer in ("nginx", "docker-registry"):
            name = f"{target}: edgeproxy {ours:,.0f}/s, {peer} {medians[target, peer]:,.0f}/s"
            ratios.append(Ratio(name, ours / max(medians[target, peer], 0.01), at_least=goals.get(peer)))
    return Result(
        "hot", table("hot: ratio of requests per second, edgeproxy to peer", ratios), ratios, {"peak": memory}
    )

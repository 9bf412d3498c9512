"""From one site to another over a long line, beside `skopeo copy` between two docker-registries over the same."""

import asyncio
import io
import json
import random
import sysconfig
import tarfile
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from loadtests.link.process import WideAreaLink
from loadtests.link.terms import Terms
from loadtests.peers import push_image
from loadtests.report import Ratio, Result, compared, median, table
from tests.parts.edgeproxy import Edgeproxy
from tests.parts.images import OCI_CONFIG, OCI_MANIFEST, Pusher
from tests.parts.processes import run, wait_until
from tests.parts.registry import DockerRegistry

_REGISTRY, _NOWHERE = "bench.test", "http://127.0.0.1:9"
_RULE = '[[access]]\nallow = "replicator"\nto = ["*"]\n'
_TARGET = '[[target]]\nname = "there"\nurl = "{url}"\n[[replication]]\nname = "all"\ntargets = ["there"]\n'
_FAR = Terms(delay=0.04, rate=10e6, up=10e6)
_IMAGES = {"5 layers of 100 MB": [100_000_000] * 5, "1 layer of 500 MB": [500_000_000]}
_GOALS = {"5 layers of 100 MB": 4.0}
_TAR, _GZIP = "application/vnd.oci.image.layer.v1.tar", "application/vnd.oci.image.layer.v1.tar+gzip"
_CHUNK = 2 * 1024 * 1024
_PATIENCE = 300.0


@dataclass
class Sites:
    """Two edgeproxies, the second behind a link."""

    here: Edgeproxy
    there: Edgeproxy
    link: WideAreaLink

    async def replicate(self, layers: Sequence[bytes], tag: str, kind: str = _GZIP) -> float:
        """Seconds from the manifest that one takes to the tag that the other has."""
        async with aiohttp.ClientSession() as session:
            pusher = Pusher(session, self.here.url, f"{_REGISTRY}/library/bench")
            config = json.dumps({"tag": tag}).encode()
            document = {
                "schemaVersion": 2,
                "mediaType": OCI_MANIFEST,
                "config": {"mediaType": OCI_CONFIG, "digest": await pusher.blob(config), "size": len(config)},
                "layers": [
                    {"mediaType": kind, "digest": await pusher.blob(layer), "size": len(layer)} for layer in layers
                ],
            }
            began = time.monotonic()
            await pusher.manifest(document, tag)
            await wait_until(lambda: self._has(session, tag), "it is at the other site", _PATIENCE)
            return time.monotonic() - began

    async def _has(self, session: aiohttp.ClientSession, tag: str) -> bool:
        url = f"{self.there.url}/v2/{_REGISTRY}/library/bench/manifests/{tag}"
        async with session.head(url) as answer:
            return answer.status == 200


async def replicate(directory: Path, rounds: int) -> Result:
    ratios = [*await _times(directory, rounds), *await _tar(directory, rounds), *await _cut(directory, rounds)]
    return Result(
        "replicate", table("replicate: from one site to another, 80 ms, 10 MB/s a connection", ratios), ratios
    )


async def _times(directory: Path, rounds: int) -> list[Ratio]:
    ours, theirs = defaultdict[str, list[float]](list), defaultdict[str, list[float]](list)
    for number in range(rounds):
        for name, sizes in _IMAGES.items():
            layers = [random.Random(f"{number} {position}").randbytes(size) for position, size in enumerate(sizes)]
            theirs[name].append(await _skopeo(directory, layers))
            async with _sites(directory) as sites:
                ours[name].append(await sites.replicate(layers, "latest"))
    return [
        ratio
        for name in _IMAGES
        for ratio in (
            compared(f"{name}: times as fast as skopeo copy", theirs[name], ours[name], _GOALS.get(name)),
            median(f"{name}: seconds, edgeproxy", ours[name]),
            median(f"{name}: seconds, skopeo", theirs[name]),
        )
    ]


async def _skopeo(directory: Path, layers: Sequence[bytes]) -> float:
    with tempfile.TemporaryDirectory(dir=directory) as name:
        place = Path(name)
        async with (
            DockerRegistry(place / "here") as here,
            DockerRegistry(place / "there") as there,
            WideAreaLink(place / "link", there.url, _FAR) as link,
        ):
            await push_image(here.url, layers, "latest")
            images = [f"docker://{url.removeprefix('http://')}/library/bench:latest" for url in (here.url, link.url)]
            began = time.monotonic()
            await run(
                "skopeo",
                "copy",
                "--src-tls-verify=false",
                "--dest-tls-verify=false",
                "--dest-precompute-digests=false",
                *images,
                seconds=_PATIENCE,
            )
            return time.monotonic() - began


async def _tar(directory: Path, rounds: int) -> list[Ratio]:
    """What is on the line of a layer that nobody compressed."""
    layer = await asyncio.to_thread(_library)
    shares = []
    for number in range(rounds):
        async with _sites(directory) as sites:
            before = (await sites.link.counts()).sent
            await sites.replicate([layer + bytes([number])], "latest", _TAR)
            shares.append(len(layer) / ((await sites.link.counts()).sent - before))
    return [median(f"a tar layer of {len(layer) / 1e6:.0f} MB: its bytes over those on the line", shares, at_least=2.0)]


async def _cut(directory: Path, rounds: int) -> list[Ratio]:
    """All connections are reset in the middle, once."""
    again = []
    for number in range(rounds):
        layer = random.Random(number).randbytes(300_000_000)
        async with _sites(directory) as sites:
            before = await sites.link.counts()
            await sites.link.change(cut=before.sent + len(layer) // 2)
            await sites.replicate([layer], "latest")
            counts = await sites.link.counts()
            connections = counts.connections - before.connections
            again.append((counts.sent - before.sent - len(layer)) / _CHUNK / max(1, connections // 2))
    return [median("a line that is cut: chunks sent again, for each connection", again, at_most=1.0)]


def _library() -> bytes:
    """Of Python's own modules: what layers are made of."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        tar.add(sysconfig.get_paths()["stdlib"], "usr/lib/python")
    return made.getvalue()


@asynccontextmanager
async def _sites(directory: Path) -> AsyncIterator[Sites]:
    with tempfile.TemporaryDirectory(dir=directory) as name:
        place, registries = Path(name), {_REGISTRY: _NOWHERE}
        here = Edgeproxy(place / "here", registries, budget="20GB", more=_RULE)
        there = Edgeproxy(place / "there", registries, budget="20GB", more=_RULE)
        async with there, WideAreaLink(place / "link", there.url, _FAR) as link:
            here.add(_TARGET.format(url=link.url))
            async with here:
                sites = Sites(here, there, link)
                await sites.replicate([b"first"], "first")  # the other is known from then on
                yield sites

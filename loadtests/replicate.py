"""From site to site: an image that is pushed to one edgeproxy is at another, over a link that is long and narrow."""

import asyncio
import gzip
import hashlib
import io
import json
import os
import sysconfig
import tarfile
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from edgeproxy.oci.chunks import LARGEST_CHUNK
from loadtests.link.process import WideAreaLink
from loadtests.link.terms import Terms
from loadtests.peers import REPOSITORY, Contestant, docker_registry, edgeproxy, in_turn, layer_bytes
from loadtests.report import Ratio, Result, compared, median, table
from loadtests.wan.site import quiet
from tests.parts.images import OCI_CONFIG, OCI_GZIP, OCI_MANIFEST, Pusher
from tests.parts.processes import run, wait_until

_LINK = Terms(delay=0.04, rate=10e6, up=10e6)
_ABOUT = "80 ms, 10 MB/s a connection"
_WHOLE = 500_000_000
_TAR_SIZE = 100_000_000
_CUT_SIZE = 200_000_000
_BLOCK = 50_000_000
_PATIENCE = 180.0
_OCI_TAR = "application/vnd.oci.image.layer.v1.tar"
_TAGS = "application/vnd.edgeproxy.tags.v1+json"
_NOWHERE = "http://127.0.0.1:9"
_THERE = '[[access]]\nallow = "replicator"\nto = ["*"]\n'
_HERE = _THERE + '[[target]]\nname = "there"\nurl = "{url}"\n[[replication]]\nname = "all"\ntargets = ["there"]\n'
_Figures = dict[str, list[float]]


@dataclass(frozen=True)
class _Load:
    """Layers of one type, and the tag of their image."""

    tag: str
    layers: Sequence[bytes]
    media_type: str = OCI_GZIP

    @property
    def size(self) -> int:
        return sum(map(len, self.layers))


@dataclass(frozen=True)
class _Pair:
    """A registry on this side of the link, and one behind it."""

    here: Contestant
    there: Contestant
    link: WideAreaLink

    @property
    def name(self) -> str:
        return self.here.name


async def replicate(directory: Path, rounds: int, chosen: Sequence[str] = ()) -> Result:
    """Only the parts that are `chosen`, or all."""
    ratios: list[Ratio] = []
    for name, part in PARTS.items():
        if name in chosen or not chosen:
            directory.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=directory) as place:
                ratios += await part(Path(place), rounds)
    return Result("replicate", table(f"replicate: from site to site, {_ABOUT}", ratios), ratios)


async def _five(directory: Path, rounds: int) -> list[Ratio]:
    return await _race(directory, rounds, 5, at_least=4.0)


async def _one(directory: Path, rounds: int) -> list[Ratio]:
    return await _race(directory, rounds, 1, at_least=None)


async def _race(directory: Path, rounds: int, layers: int, at_least: float | None) -> list[Ratio]:
    """edgeproxy's own replication, and skopeo that copies from a docker-registry to another."""
    seconds: _Figures = defaultdict(list)
    async with _sites(directory / "sites") as ours, _registries(directory / "registries") as theirs:
        await _warm(ours)
        for number in range(rounds):
            sizes = [_WHOLE // layers] * layers
            load = _Load(f"race{number}", [_packed(size, 10 * number + seed) for seed, size in enumerate(sizes)])
            for contestant in in_turn([ours.here, theirs.here], number):
                seconds[contestant.name].append(
                    await (_replicated(ours, load) if contestant is ours.here else _copied(theirs, load))
                )
    about = f"{_WHOLE // 1_000_000} MB in {layers} layer{'s' if layers > 1 else ''}:"
    return [
        compared(f"{about} times as fast as skopeo copy", seconds["docker-registry"], seconds["edgeproxy"], at_least),
        median(f"{about} seconds from the manifest's PUT to the tag at the other site", seconds["edgeproxy"]),
        median(f"{about} seconds of skopeo copy", seconds["docker-registry"]),
    ]


async def _tar(directory: Path, rounds: int) -> list[Ratio]:
    """A layer that nobody has compressed; all bytes on the link count, both ways, headers included."""
    less, seconds = list[float](), list[float]()
    async with _sites(directory) as pair:
        await _warm(pair)
        for number in range(rounds):
            load = _Load(f"tar{number}", [_library(number)], _OCI_TAR)
            before = await quiet(pair.link)
            seconds.append(await _replicated(pair, load))
            after = await quiet(pair.link)
            less.append(load.size / (after.heard + after.carried - before.heard - before.carried))
    about = f"a tar of {_TAR_SIZE // 1_000_000} MB, not compressed:"
    return [
        median(f"{about} its bytes over those on the link, both ways", less, at_least=2.0),
        median(f"{about} seconds", seconds),
    ]


async def _cut(directory: Path, rounds: int) -> list[Ratio]:
    """All connections are reset once, in the middle."""
    again, lost, seconds = list[float](), list[float](), list[float]()
    async with _sites(directory) as pair:
        await _warm(pair)
        for number in range(rounds):
            load = _Load(f"cut{number}", [_packed(_CUT_SIZE // 2, 100 + 2 * number + half) for half in (0, 1)])
            await quiet(pair.link)
            before = await pair.link.change(cut=load.size // 2)
            seconds.append(await _replicated(pair, load))
            after = await quiet(pair.link)
            assert after.cut > before.cut, "nothing was cut"
            again.append(after.heard - before.heard - load.size)
            lost.append(again[-1] / (after.cut - before.cut) / LARGEST_CHUNK)
    about = f"{_CUT_SIZE // 1_000_000} MB, all connections reset in the middle:"
    return [
        Ratio(f"{about} chunks of 2 MiB sent again, for each connection", max(lost), at_most=1.0, rounds=lost),
        median(f"{about} MB sent again, headers of all requests included", [each / 1e6 for each in again]),
        median(f"{about} seconds", seconds),
    ]


PARTS: dict[str, Callable[[Path, int], Awaitable[list[Ratio]]]] = {
    "five": _five,
    "one": _one,
    "tar": _tar,
    "cut": _cut,
}


# who stands on both sides


@asynccontextmanager
async def _sites(directory: Path) -> AsyncIterator[_Pair]:
    async with AsyncExitStack() as stack:
        there = await stack.enter_async_context(edgeproxy(directory / "there", _NOWHERE, more=_THERE))
        link = await stack.enter_async_context(WideAreaLink(directory / "link", there.url, _LINK))
        more = _HERE.format(url=link.url)
        here = await stack.enter_async_context(edgeproxy(directory / "here", _NOWHERE, more=more))
        yield _Pair(here, there, link)


@asynccontextmanager
async def _registries(directory: Path) -> AsyncIterator[_Pair]:
    async with AsyncExitStack() as stack:
        here = await stack.enter_async_context(docker_registry(directory / "here"))
        there = await stack.enter_async_context(docker_registry(directory / "there"))
        link = await stack.enter_async_context(WideAreaLink(directory / "link", there.url, _LINK))
        yield _Pair(here, there, link)


# how an image goes from one to the other


async def _warm(pair: _Pair) -> None:
    """The sites have found each other, as they have long before an image is pushed."""
    await _replicated(pair, _Load("warm", [b"warm"]))


async def _replicated(pair: _Pair, load: _Load) -> float:
    """Seconds from the manifest's PUT at the first site until its tag is at the second, which is asked directly."""
    async with aiohttp.ClientSession() as session:
        document = await _push_blobs(session, pair.here.url, load)
        began = time.perf_counter()
        pushed = await Pusher(session, pair.here.url, REPOSITORY).manifest(document, load.tag)

        async def arrived() -> bool:
            return (await _named(session, pair.there.url)).get(load.tag) == pushed.digest

        await wait_until(arrived, f"{load.tag} is at the other site", _PATIENCE)
        seconds = time.perf_counter() - began
        await _all_right(session, pair.there.url, pushed.blobs)
    return seconds


async def _copied(pair: _Pair, load: _Load) -> float:
    """Seconds of `skopeo copy`."""
    async with aiohttp.ClientSession() as session:
        document = await _push_blobs(session, pair.here.url, load)
        pushed = await Pusher(session, pair.here.url, REPOSITORY).manifest(document, load.tag)
        source, target = (
            f"docker://{url.removeprefix('http://')}/{REPOSITORY}:{load.tag}" for url in (pair.here.url, pair.link.url)
        )
        began = time.perf_counter()
        insecure = ("--src-tls-verify=false", "--dest-tls-verify=false", "--preserve-digests")
        await run("skopeo", "copy", "--quiet", *insecure, source, target, seconds=_PATIENCE)
        seconds = time.perf_counter() - began
        await _all_right(session, pair.there.url, pushed.blobs)
    return seconds


async def _push_blobs(session: aiohttp.ClientSession, url: str, load: _Load) -> dict[str, Any]:
    """The manifest that is still to be pushed. Nothing of it is written to disk while somebody is measured."""
    pusher = Pusher(session, url, REPOSITORY)
    config = json.dumps({"architecture": "amd64", "os": "linux", "tag": load.tag}).encode()
    layers = [
        {"mediaType": load.media_type, "digest": await pusher.blob(layer), "size": len(layer)} for layer in load.layers
    ]
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": OCI_CONFIG, "digest": await pusher.blob(config), "size": len(config)},
        "layers": layers,
    }
    await asyncio.to_thread(os.sync)
    return document


async def _named(session: aiohttp.ClientSession, url: str) -> dict[str, str]:
    """Digests by tag; a repository that is not there yet has none."""
    async with session.get(f"{url}/v2/{REPOSITORY}/tags/list", headers={"Accept": _TAGS}) as answer:
        if answer.status != 200:
            return {}
        return {item["name"]: item.get("digest", "") for item in json.loads(await answer.read())["tags"]}


async def _all_right(session: aiohttp.ClientSession, url: str, digests: Sequence[str]) -> None:
    for digest in digests:
        hasher = hashlib.sha256()
        async with session.get(f"{url}/v2/{REPOSITORY}/blobs/{digest}") as answer:
            assert answer.status == 200, f"{url} has no {digest}: {answer.status}"
            async for piece in answer.content.iter_chunked(1 << 20):
                hasher.update(piece)
        assert digest == f"sha256:{hasher.hexdigest()}", f"{url} has wrong bytes for {digest}"


# what the layers are made of


def _packed(size: int, seed: int) -> bytes:
    """A layer as most are, which cannot be compressed any more: a real gzip, for skopeo packs what is none."""
    blocks = (layer_bytes(_BLOCK, 1000 * seed + number) for number in range(size // _BLOCK))
    return gzip.compress(b"".join(blocks), compresslevel=0, mtime=0)


def _library(number: int) -> bytes:
    """A tar of Python's library; `number` makes it another one."""
    root, out = Path(sysconfig.get_path("stdlib")), io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for file in sorted(root.rglob("*")):
            name = file.relative_to(root)
            if name.parts[0] != "site-packages" and file.is_file() and out.tell() + file.stat().st_size < _TAR_SIZE:
                tar.add(file, f"usr/lib/python{number}/{name}")
    return out.getvalue()

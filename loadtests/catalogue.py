"""A large catalogue: how long a start takes until the first hit, and what a look-up costs."""

import hashlib
import json
import statistics
import time
from pathlib import Path

import aiohttp

from edgeproxy.clock import SystemClock
from edgeproxy.interfaces import Held
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.manifest import OCI_MANIFEST, Descriptor
from edgeproxy.oci.reference import Pinned, Repository, Tag
from edgeproxy.store.catalog import Catalog, Link, TagRecord, add_held, put_held, put_links
from edgeproxy.store.disk import DiskStore, Layout
from edgeproxy.store.memory import MemoryTier
from edgeproxy.store.rows import Rows
from loadtests.peers import edgeproxy
from loadtests.report import Ratio, Result, table

_SMALL, _LARGE = 1_000, 1_000_000
_SIZE = 6_000_000
_BATCH = 20_000
_LOOKUPS = 2_000
_REPOSITORIES = 5_000
_NOWHERE = "http://127.0.0.1:9"


async def catalogue(directory: Path) -> Result:
    cost, start = {}, {}
    for blobs in (_SMALL, _LARGE):
        place = directory / str(blobs)
        await fill(place / "data", blobs)
        cost[blobs] = await _lookup(place / "data", blobs)
        start[blobs] = await _first_hit(place)
    ratios = [
        Ratio(f"seconds from start to the first hit, {_LARGE:,} blobs", start[_LARGE], at_most=2.0),
        Ratio(f"seconds from start to the first hit, {_SMALL:,} blobs", start[_SMALL]),
        Ratio(f"look-up at {_LARGE:,} over look-up at {_SMALL:,} blobs", cost[_LARGE] / cost[_SMALL], at_most=1.5),
        Ratio(f"microseconds of a look-up at {_LARGE:,} blobs", cost[_LARGE] * 1e6),
    ]
    return Result("catalogue", table("catalogue: start and look-up", ratios), ratios)


async def fill(data: Path, blobs: int) -> None:
    """Rows and links for so many blobs, and one real manifest under docker.io/library/here:latest."""
    layout, clock = Layout(data), SystemClock()
    catalog = Catalog(layout.catalog, clock)
    store = DiskStore(layout, catalog, MemoryTier(0, 0), clock)
    for first in range(0, blobs, _BATCH):
        await catalog.change(lambda rows, first=first: _add(rows, range(first, min(blobs, first + _BATCH))))  # type: ignore[misc]
    body = json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST}).encode()
    tag = Tag(Repository("docker.io", "library/here"), "latest")
    descriptor = Descriptor(OCI_MANIFEST, Digest.of(body), len(body))
    writer = await store.create(descriptor.digest)
    await writer.write(body)
    await writer.commit()
    await catalog.put_links([Link("manifests", tag.repository, descriptor)])
    await catalog.put_tag(tag, TagRecord(descriptor, clock.now(), clock.now()))
    await store.close()
    await catalog.close()


def _add(rows: Rows, numbers: range) -> None:
    for number in numbers:
        digest = _digest(number)
        put_held(rows, Held(digest, _SIZE, 0.0, 0.0))
        put_links(rows, [Link("blobs", _repository(number), Descriptor("", digest, _SIZE))])
    add_held(rows, Held(_digest(numbers[0]), _SIZE, 0.0, 0.0))


async def _lookup(data: Path, blobs: int) -> float:
    """Seconds of one look-up that nothing remembers, the median of several rounds over blobs all over the table."""
    catalog = Catalog(Layout(data).catalog, SystemClock())
    rounds = []
    for offset in range(5):
        asked = [(number * 7919 + offset) % blobs for number in range(_LOOKUPS)]
        pinned = [Pinned(_repository(number), _digest(number)) for number in asked]
        await catalog.change(lambda rows: None)
        began = time.perf_counter()
        for one in pinned:
            catalog.link("blobs", one)
        rounds.append((time.perf_counter() - began) / len(set(pinned)))
    await catalog.close()
    return statistics.median(rounds)


async def _first_hit(place: Path) -> float:
    """Seconds from the process's start until it has answered from what it holds; its upstream does not exist."""
    began = time.perf_counter()
    async with edgeproxy(place, _NOWHERE) as ours, aiohttp.ClientSession() as session:
        async with session.get(f"{ours.url}/v2/library/here/manifests/latest") as answer:
            assert answer.status == 200, await answer.text()
            assert answer.headers["Cache-Status"].startswith("edgeproxy; hit")
            await answer.read()
        return time.perf_counter() - began


def _digest(number: int) -> Digest:
    return Digest(f"sha256:{hashlib.sha256(str(number).encode()).hexdigest()}")


def _repository(number: int) -> Repository:
    return Repository("docker.io", f"library/r{number % _REPOSITORIES}")

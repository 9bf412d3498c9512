"""A large catalogue: how long a start takes until the first hit, and what a look-up costs."""

import asyncio
import hashlib
import json
import os
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
from loadtests.report import Ratio, Result, compared, table

_SMALL, _LARGE = 1_000, 1_000_000
_SIZE = 40_000
"""Bytes of a blob, so few that a million stay within the budget: nothing is evicted."""
_BATCH = 20_000
_LOOKUPS = _SMALL
_REPOSITORIES = 5_000
_NOWHERE = "http://127.0.0.1:9"


async def catalogue(directory: Path, rounds: int) -> Result:
    sizes = (_SMALL, _LARGE)
    for blobs in sizes:
        await fill(directory / str(blobs) / "data", blobs)
    await asyncio.to_thread(os.sync)
    cost: dict[int, list[float]] = {blobs: [] for blobs in sizes}
    start: dict[int, list[float]] = {blobs: [] for blobs in sizes}
    for number in range(rounds):
        for blobs in sizes:
            cost[blobs].append(await _lookup(directory / str(blobs) / "data", blobs, number))
    for _ in range(rounds):
        for blobs in sizes:
            start[blobs].append(await _first_hit(directory / str(blobs)))
    first_hit = "seconds from start to the first hit,"
    ratios = [
        _median(f"{first_hit} {_LARGE:,} blobs", start[_LARGE], at_most=2.0),
        _median(f"{first_hit} {_SMALL:,} blobs", start[_SMALL]),
        compared(f"look-up at {_LARGE:,} over look-up at {_SMALL:,} blobs", cost[_LARGE], cost[_SMALL], at_most=1.5),
        _median(f"microseconds of a look-up at {_LARGE:,} blobs", cost[_LARGE]),
        _median(f"microseconds of a look-up at {_SMALL:,} blobs", cost[_SMALL]),
    ]
    return Result("catalogue", table("catalogue: start and look-up", ratios), ratios)


def _median(name: str, rounds: list[float], at_most: float | None = None) -> Ratio:
    return Ratio(name, statistics.median(rounds), at_most=at_most, rounds=rounds)


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
    """The first row carries the account of all for a moment, since the total is the business of `add_held`."""
    add_held(rows, Held(_digest(numbers[0]), _SIZE * len(numbers), 0.0, 0.0))
    for number in numbers:
        digest = _digest(number)
        put_held(rows, Held(digest, _SIZE, 0.0, 0.0))
        put_links(rows, [Link("blobs", _repository(number), Descriptor("", digest, _SIZE))])


async def _lookup(data: Path, blobs: int, number: int) -> float:
    """Microseconds of one look-up that nothing remembers, of blobs all over the table, by a catalogue in use."""
    catalog = Catalog(Layout(data).catalog, SystemClock())
    assert catalog.total() >= blobs * _SIZE
    _ask(catalog, blobs, 2 * number)
    await catalog.change(lambda rows: None)  # whatever was believed is read again
    seconds = _ask(catalog, blobs, 2 * number + 1)
    await catalog.close()
    return seconds / _LOOKUPS * 1e6


def _ask(catalog: Catalog, blobs: int, offset: int) -> float:
    numbers = [(place * 7919 + offset) % blobs for place in range(_LOOKUPS)]  # a prime: none comes twice
    pinned = [Pinned(_repository(number), _digest(number)) for number in numbers]
    began = time.perf_counter()
    found = [catalog.link("blobs", one) for one in pinned]
    seconds = time.perf_counter() - began
    assert all(found)
    return seconds


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

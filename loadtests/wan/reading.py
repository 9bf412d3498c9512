"""A client of the benchmark: the manifest by its tag, then a layer, with everything checked that a client can see."""

import asyncio
import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass

import aiohttp

from loadtests.peers import REPOSITORY, Image
from tests.parts.images import OCI_MANIFEST, digest_of

_READ_AHEAD = 1024 * 1024


@dataclass
class Reading:
    """What became of one pull; times in seconds."""

    seconds: float = 0.0
    """For manifest and layer."""
    first_byte: float = 0.0
    """From the request for the layer."""
    longest_gap: float = 0.0
    """Between two pieces of the layer, the last of them and the end of waiting included."""
    complete: bool = False
    """The layer's answer ended as HTTP says that it is whole."""
    right: bool = False
    """It is complete, and what its digest says."""
    trouble: str = ""


async def read(url: str, image: Image, patience: float) -> Reading:
    """Pull at a cache or registry. A failure is part of the reading, and so is more than `patience` seconds."""
    reading, began = Reading(), time.perf_counter()
    try:
        async with asyncio.timeout(patience), _session() as session:
            await _manifest(session, url, image)
            await _layer(session, url, image.layers[0], reading)
    except (TimeoutError, aiohttp.ClientError, OSError, _Refused) as error:
        reading.trouble = f"{type(error).__name__}: {error}"
    reading.seconds = time.perf_counter() - began
    return reading


async def read_together(url: str, image: Image, clients: int, patience: float) -> list[Reading]:
    return await asyncio.gather(*(read(url, image, patience) for _ in range(clients)))


def all_right(readings: Sequence[Reading], who: str) -> None:
    """Fail where a link without faults was not enough for somebody."""
    troubles = [reading.trouble or "wrong bytes" for reading in readings if not reading.right]
    assert not troubles, f"{who}: {troubles}"


class _Refused(Exception):
    """The answer is no 200."""


def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        headers={"Accept": OCI_MANIFEST},
        read_bufsize=_READ_AHEAD,
        auto_decompress=False,
        timeout=aiohttp.ClientTimeout(total=None),
    )


async def _manifest(session: aiohttp.ClientSession, url: str, image: Image) -> None:
    async with session.get(f"{url}/v2/{REPOSITORY}/manifests/{image.tag}") as answer:
        body = await answer.read()
        if answer.status != 200:
            raise _Refused(f"status {answer.status} for the manifest")
        if digest_of(body) != image.manifest:
            raise _Refused("another manifest")


async def _layer(session: aiohttp.ClientSession, url: str, layer: str, reading: Reading) -> None:
    digest, asked = hashlib.sha256(), time.perf_counter()
    last = 0.0
    try:
        async with session.get(f"{url}/v2/{REPOSITORY}/blobs/{layer}") as answer:
            if answer.status != 200:
                raise _Refused(f"status {answer.status} for the layer")
            async for piece in answer.content.iter_any():
                now = time.perf_counter()
                if last:
                    reading.longest_gap = max(reading.longest_gap, now - last)
                else:
                    reading.first_byte = now - asked
                last = now
                digest.update(piece)
        reading.complete = True
        reading.right = f"sha256:{digest.hexdigest()}" == layer
    finally:
        if last:
            reading.longest_gap = max(reading.longest_gap, time.perf_counter() - last)

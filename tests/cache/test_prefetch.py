"""Whole images before anybody asks for them."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from edgeproxy.access.roles import Permitted
from edgeproxy.cache.prefetch import Prefetch
from edgeproxy.interfaces import Urgency
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.errors import Unavailable
from edgeproxy.oci.manifest import OCI_INDEX, OCI_MANIFEST, Descriptor
from edgeproxy.oci.reference import Pinned, Tag
from tests.cache.core import HERE, Core, running, until
from tests.fakes.shelf import Fault, image_index

LAYERS = {"amd64": b"a" * 200_000, "arm64": b"b" * 200_000}
TAG = Tag(HERE, "1.0")


def push(core: Core) -> dict[str, Pinned]:
    """An index of two platforms under TAG."""
    images = {name: core.first.image(HERE, "", [layer]) for name, layer in LAYERS.items()}
    named = [
        {"mediaType": OCI_MANIFEST, "digest": each.digest, "size": 1, "platform": {"os": "linux", "architecture": name}}
        for name, each in images.items()
    ]
    core.first.manifest(HERE, image_index(*named), TAG.name, OCI_INDEX)
    return images


def held(core: Core) -> set[str]:
    return {name for name, layer in LAYERS.items() if core.catalog.held(Digest.of(layer))}


async def test_an_image_is_brought_whole_and_once(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        push(core)
        done = await Prefetch(core.library, core.admission(), core.catalog)(TAG)
        await core.settled()
        assert (done.manifests, done.blobs, done.missing) == (3, 4, [])
        assert done.bytes == done.size > 400_000
        assert held(core) == set(LAYERS)
        asked = core.first.count("open")
        await Prefetch(core.library, core.admission(), core.catalog)(TAG)
        assert core.first.count("open") == asked


@pytest.mark.parametrize(("platforms", "expected"), [(["linux/arm64"], {"arm64"}), (["plan9/mips"], set())])
async def test_only_the_platforms_that_are_wanted(tmp_path: Path, platforms: list[str], expected: set[str]) -> None:
    async with running(tmp_path) as core:
        push(core)
        await Prefetch(core.library, core.admission(), core.catalog)(TAG, platforms)
        await core.settled()
        assert held(core) == expected


async def test_what_fails_is_told_and_stops_nothing(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        push(core)
        digest = Digest.of(LAYERS["amd64"])
        core.first.faults = [Fault("open", about=digest, refusal=Unavailable("away"))]
        done = await Prefetch(core.library, core.admission(), core.catalog)(TAG)
        await core.settled()
        assert held(core) == {"arm64"}
        assert done.missing == [f"{Pinned(HERE, digest)}: away"]
        nowhere = await Prefetch(core.library, core.admission(), core.catalog)(Tag(HERE, "none"))
        assert (nowhere.manifests, len(nowhere.missing)) == (0, 1)


async def test_a_client_that_joins_makes_it_urgent(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        pinned = core.first.blob(HERE, LAYERS["amd64"])
        core.first.faults = [fault := Fault("open", hold=asyncio.Event(), at=10)]
        bringing = asyncio.create_task(core.library.bring("blobs", pinned, Urgency.PREFETCH))
        await until(lambda: core.flights.get(pinned.digest) is not None)
        flight = core.flights.get(pinned.digest)
        assert flight is not None
        assert flight.urgency is Urgency.PREFETCH
        getting = asyncio.create_task(core.get("blobs", pinned))
        await until(lambda: flight.urgency is Urgency.CLIENT)
        assert fault.hold
        fault.hold.set()
        await bringing
        assert (await getting)[0] == LAYERS["amd64"]


# rate limits


def grant(core: Core, left: int) -> None:
    fields = {"ratelimit-limit": "100;w=21600", "ratelimit-remaining": f"{left};w=21600"}
    for _, upstream in core.ranking:
        upstream.allowance.answered(200, fields, core.clock.now())


async def test_what_is_kept_for_clients_is_not_prefetched(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        push(core)
        grant(core, 20)
        done = await Prefetch(core.library, core.admission(), core.catalog)(TAG)
        assert done.blobs == 0
        assert "kept for clients" in done.missing[0]
        grant(core, 21)
        assert (await Prefetch(core.library, core.admission(), core.catalog)(TAG)).missing == []


async def test_a_tag_is_stale_rather_than_checked_when_little_is_left(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        core.first.image(HERE, TAG.name)
        await core.get("manifests", TAG)
        core.clock.advance(3600)
        grant(core, 5)
        asked = core.first.count("resolve")
        assert (await core.get("manifests", TAG))[1].word == "stale"
        await core.settled()
        assert core.first.count("resolve") == asked
        grant(core, 90)
        await core.get("manifests", TAG)
        await core.settled()
        assert core.first.count("resolve") == asked + 1


async def test_what_the_lists_leave_out_is_not_brought(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        push(core)
        done = await Prefetch(core.library, core.admission(permitted=Permitted(deny=[str(HERE)])), core.catalog)(TAG)
        assert "[fetch]" in done.missing[0]
        assert core.first.count("open") == 0


class Some:
    """Implements `Choice`: all but the first."""

    def __init__(self) -> None:
        self.seen: list[Digest] = []
        self.asked = 0

    async def choose(self, lacking: Sequence[Descriptor]) -> Sequence[Descriptor]:
        self.asked = len(lacking)
        return lacking[1:]

    def came(self, blob: Descriptor) -> None:
        self.seen.append(blob.digest)


async def test_only_what_is_chosen_comes(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        layers = [bytes([place]) * 1000 for place in range(3)]
        image, some = core.first.image(HERE, TAG.name, layers), Some()
        await Prefetch(core.library, core.admission(), core.catalog)(image, choice=some)
        await core.settled()
        assert set(some.seen) == {Digest.of(layer) for layer in layers}  # all but the configuration
        await Prefetch(core.library, core.admission(), core.catalog)(image, choice=some)
        assert (len(some.seen), some.asked) == (3, 1)
        done = await Prefetch(core.library, core.admission(), core.catalog)(image)
        assert done.blobs == 4


async def test_the_platforms_that_are_in_use_are_known(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        images, prefetch = push(core), Prefetch(core.library, core.admission(), core.catalog)
        index = Pinned(HERE, (await core.library.stat("manifests", TAG)).descriptor.digest)
        (own,) = await prefetch.platforms_of(index)
        assert own.startswith("linux/")
        assert core.first.count("open") == 0
        await core.get("manifests", TAG)
        await core.get("manifests", images["arm64"])
        await core.settled()
        assert await prefetch.platforms_of(index) == {"linux/arm64", "linux/arm64/"}
        assert await prefetch.platforms_of(images["arm64"]) == {own}

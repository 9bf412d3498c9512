"""A digest is not a permission: what one repository brought here is shown through another only if its upstream does."""

import asyncio
from pathlib import Path

import pytest

from edgeproxy.interfaces import Kind
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.errors import BlobUnknown, Refusal, Unavailable, UpstreamTimeout, UpstreamUnauthorized, unknown
from edgeproxy.oci.manifest import OCI_MANIFEST
from edgeproxy.oci.reference import Pinned
from tests.cache.core import HERE, NEAR, THERE, Core, Setting, running, until
from tests.fakes.shelf import Fault, image_manifest
from tests.store.stores import files_open_below

BODY = bytes(range(256)) * 2048
MANIFEST = image_manifest(b"{}", [])
PINNED = Pinned(THERE, Digest.of(BODY))
KINDS: pytest.MarkDecorator = pytest.mark.parametrize("kind", ["blobs", "manifests"])
SIZES = pytest.mark.parametrize("body", [BODY, b"small"], ids=["on disk", "in memory"])


def put(core: Core, kind: Kind, body: bytes) -> Pinned:
    """Content of the private repository."""
    return core.other.blob(THERE, body) if kind == "blobs" else core.other.manifest(THERE, body)


async def brought(core: Core, kind: Kind, body: bytes) -> Digest:
    pinned = put(core, kind, body)
    await core.get(kind, pinned)
    await core.settled()
    return pinned.digest


@KINDS
@SIZES
async def test_through_another_repository_its_upstream_is_asked_once(tmp_path: Path, kind: Kind, body: bytes) -> None:
    async with running(tmp_path) as core:
        digest = await brought(core, kind, body)
        core.first.contents[kind, Pinned(HERE, digest)] = (OCI_MANIFEST, body)
        for _ in range(2):
            assert await core.get(kind, Pinned(HERE, digest)) == (body, ("hit", None, "", ""))
        assert (core.first.count("stat"), core.first.count("open")) == (1, 0)


@KINDS
@SIZES
@pytest.mark.parametrize("trouble", [None, UpstreamUnauthorized("no login"), Unavailable("down")])
async def test_what_its_upstream_does_not_show_is_not_shown(
    tmp_path: Path, kind: Kind, body: bytes, trouble: Refusal | None
) -> None:
    async with running(tmp_path) as core:
        digest = await brought(core, kind, body)
        pinned = Pinned(HERE, digest)
        core.first.faults = [Fault(refusal=trouble)] if trouble else []
        expected = type(trouble or unknown(kind, pinned))
        for _ in range(2):
            with pytest.raises(expected):
                await core.get(kind, pinned)
            with pytest.raises(expected):
                await core.library.stat(kind, pinned)
        assert core.library.at_hand(kind, pinned, core.clock.now()) is None
        assert files_open_below(tmp_path, "blobs") == []


async def test_nor_is_it_shown_offline(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        digest = await brought(core, "blobs", BODY)
    async with running(tmp_path, Setting(offline=True)) as core:
        assert (await core.get("blobs", Pinned(THERE, digest)))[0] == BODY
        with pytest.raises(Unavailable):
            await core.get("blobs", Pinned(HERE, digest))


async def test_a_neighbour_at_the_same_registry_is_another_repository(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        pinned = core.first.blob(HERE, BODY)
        await core.get("blobs", pinned)
        await core.settled()
        with pytest.raises(BlobUnknown):
            await core.get("blobs", Pinned(NEAR, pinned.digest))


def under_way(core: Core) -> Fault:
    """The private blob, half on its way here."""
    fault = Fault("open", hold=asyncio.Event(), at=300_000)
    core.other.faults = [fault]
    put(core, "blobs", BODY)
    core.fly(PINNED)
    return fault


async def proven(core: Core) -> None:
    """Wait until the public repository's upstream has shown the blob, and whoever asked is on."""
    await until(lambda: core.catalog.link("blobs", Pinned(HERE, PINNED.digest)) is not None)
    for _ in range(10):
        await asyncio.sleep(0)


async def arrive(core: Core, fault: Fault) -> None:
    assert fault.hold is not None
    fault.hold.set()
    await core.settled()


async def test_nobody_boards_a_flight_his_upstream_does_not_show(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        fault = under_way(core)
        await fault.reached.wait()
        with pytest.raises(BlobUnknown):
            await core.get("blobs", Pinned(HERE, PINNED.digest))
        await arrive(core, fault)


async def test_who_is_shown_it_boards_the_flight_of_another_repository(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        fault = under_way(core)
        await fault.reached.wait()
        core.first.blob(HERE, BODY)
        joining = asyncio.create_task(core.get("blobs", Pinned(HERE, PINNED.digest)))
        await proven(core)
        await arrive(core, fault)
        body, outcome = await joining
        assert (body, outcome.word) == (BODY, "collapsed")
        assert (core.first.count("stat"), core.first.count("open"), core.other.count("open")) == (1, 0, 1)


async def test_a_flight_that_lands_while_his_upstream_is_asked_is_not_flown_again(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        fault = under_way(core)
        await fault.reached.wait()
        core.first.blob(HERE, BODY)
        question = Fault("stat", hold=asyncio.Event())
        core.first.faults = [question]
        joining = asyncio.create_task(core.get("blobs", Pinned(HERE, PINNED.digest)))
        await question.reached.wait()
        assert fault.hold is not None
        fault.hold.set()
        await until(lambda: len(core.flights) == 0)
        assert question.hold is not None
        question.hold.set()
        assert (await joining)[0] == BODY
        assert core.first.count("open") + core.other.count("open") == 1


async def test_a_flight_that_fails_for_another_repository_is_flown_for_his_own(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        fault = Fault("open", hold=asyncio.Event())
        core.other.faults = [fault]
        core.fly(PINNED)  # which its upstream does not have
        await fault.reached.wait()
        core.first.blob(HERE, BODY)
        joining = asyncio.create_task(core.get("blobs", Pinned(HERE, PINNED.digest)))
        await proven(core)
        await arrive(core, fault)
        assert (await joining)[0] == BODY


async def test_who_loses_patience_with_the_flight_of_another_repository_is_told(tmp_path: Path) -> None:
    async with running(tmp_path, Setting(patience=0.0)) as core:
        core.other.faults = [fault := Fault("open", hold=asyncio.Event())]
        put(core, "blobs", BODY)
        core.fly(PINNED)
        await fault.reached.wait()
        core.first.blob(HERE, BODY)
        with pytest.raises(UpstreamTimeout):
            await core.get("blobs", Pinned(HERE, PINNED.digest))
        await arrive(core, fault)


async def test_a_whole_left_by_a_crash_is_no_permission(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        core.store.layout.partial_of(PINNED.digest).write_bytes(BODY)
        with pytest.raises(BlobUnknown):
            await core.get("blobs", Pinned(HERE, PINNED.digest))


async def test_a_beginning_left_by_a_crash_is_no_permission(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        core.store.layout.partial_of(PINNED.digest).write_bytes(BODY[:-1])
        with pytest.raises(BlobUnknown):
            await core.get("blobs", Pinned(HERE, PINNED.digest))


async def test_who_stops_waiting_for_the_proof_leaves_nothing_open(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        digest = await brought(core, "blobs", BODY)
        core.first.faults = [question := Fault("stat", hold=asyncio.Event())]
        joining = asyncio.create_task(core.get("blobs", Pinned(HERE, digest)))
        await question.reached.wait()
        joining.cancel()
        with pytest.raises(asyncio.CancelledError):
            await joining
        assert files_open_below(tmp_path, "blobs") == []

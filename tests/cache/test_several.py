"""One blob from several upstreams, and over several connections."""

import asyncio
from pathlib import Path

import pytest

from edgeproxy.cache.pilot import Lesson
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.errors import BlobUnknown, DigestMismatch, Unavailable
from edgeproxy.oci.reference import Pinned
from tests.cache.core import HERE, Core, Setting, running, until
from tests.fakes.shelf import Fault, Shelf

BODY = bytes(range(256)) * 4096 * 8
SIZE = len(BODY)
PINNED = Pinned(HERE, Digest.of(BODY))
MIRRORED = Setting(mirrored=True)


def asked(shelf: Shelf) -> list[int]:
    return sorted(question.start for question in shelf.asked if question.method == "open")


def learned(core: Core, **width: int) -> None:
    """As if transfers had found out how many connections are best."""
    for name, count in width.items():
        core.fetch.lessons.learn(name, name, Lesson(count, True, 1e6 * count, core.clock.now()))


async def test_connections_bring_segments_of_one_blob(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        learned(core, first=4)
        core.first.blob(HERE, BODY)
        assert (await core.get("blobs", PINNED))[0] == BODY
        assert len(asked(core.first)) >= 4
        assert len(set(asked(core.first))) == len(asked(core.first))
        assert core.traffic.fetched["docker.io"] < SIZE + 2**20


async def test_a_connection_that_breaks_is_replaced_while_the_others_go_on(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        learned(core, first=4)
        core.first.blob(HERE, BODY)
        core.first.faults = [Fault("open", at=at, breaks=True, times=1) for at in (3 * 2**20, 5 * 2**20 + 7)]
        assert (await core.get("blobs", PINNED))[0] == BODY
        assert core.clock.naps == []


async def test_gaps_left_by_a_stop_are_all_that_is_asked_for(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        writer = await core.store.create(PINNED.digest)
        await writer.write(BODY[: 2**20])
        await writer.write(BODY[2**22 : 2**22 + 2**21], 2**22)
        await writer.close(keep=True)
        core.first.blob(HERE, BODY)
        assert (await core.get("blobs", PINNED))[0] == BODY
        assert asked(core.first) == [2**20, 2**22 + 2**21]
        assert core.traffic.fetched["docker.io"] < SIZE


async def test_an_upstream_without_ranges_is_asked_once(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        core.first.blob(HERE, BODY)
        core.first.faults = [Fault("open", at=100, breaks=True, times=1), Fault("open", ignores_range=True)]
        assert (await core.get("blobs", PINNED))[0] == BODY
        assert asked(core.first) == [0, 100]


# late answers


@pytest.mark.parametrize("kind", ["blobs", "manifests"])
async def test_another_is_asked_when_the_first_is_late(tmp_path: Path, kind: str) -> None:
    async with running(tmp_path, MIRRORED) as core:
        pinned = PINNED
        for shelf in (core.first, core.second):
            shelf.blob(HERE, BODY)
            image = shelf.image(HERE)
        if kind == "manifests":
            pinned = image
        core.first.faults = [Fault("open", hold=asyncio.Event())]
        getting = asyncio.create_task(core.get("blobs" if kind == "blobs" else "manifests", pinned))
        await core.lateness.asleep()
        assert core.second.asked == []
        core.lateness.advance(2.0)
        assert Digest.of((await getting)[0]) == pinned.digest
        assert (core.first.count("open"), core.second.count("open")) == (1, 1)


async def test_the_first_may_still_win(tmp_path: Path) -> None:
    async with running(tmp_path, MIRRORED) as core:
        for shelf in (core.first, core.second):
            shelf.blob(HERE, BODY)
            shelf.faults = [Fault("open", hold=asyncio.Event())]
        getting = asyncio.create_task(core.get("blobs", PINNED))
        await core.lateness.asleep()
        core.lateness.advance(2.0)
        await until(lambda: bool(core.second.asked))
        for fault in core.first.faults:
            assert fault.hold
            fault.hold.set()
        assert (await getting)[0] == BODY
        await until(lambda: core.second.reading == 0)
        assert core.traffic.fetched["docker.io"] == SIZE


async def test_where_both_are_asked_and_one_fails_the_other_goes_on(tmp_path: Path) -> None:
    async with running(tmp_path, MIRRORED) as core:
        core.first.blob(HERE, BODY)
        core.second.faults = [Fault("open", refusal=Unavailable("down"))]
        core.first.faults = [fault := Fault("open", hold=asyncio.Event())]
        getting = asyncio.create_task(core.get("blobs", PINNED))
        await core.lateness.asleep()
        core.lateness.advance(2.0)
        await until(lambda: bool(core.second.asked))
        assert fault.hold
        fault.hold.set()
        assert (await getting)[0] == BODY


# wrong content


async def test_a_liar_is_found_out_before_anybody_has_a_byte(tmp_path: Path) -> None:
    async with running(tmp_path, MIRRORED) as core:
        core.first.blob(HERE, BODY)
        core.second.blob(HERE, BODY)
        core.first.faults = [Fault("open", body=b"x" + BODY[1:])]
        assert (await core.get("blobs", PINNED))[0] == BODY
        assert core.traffic.mismatches == 1
        again = core.first.blob(HERE, BODY[:-1])
        core.second.blob(HERE, BODY[:-1])
        await core.get("blobs", again)
        assert (core.first.count("open"), core.second.count("open")) == (1, 2)


async def test_who_was_always_right_is_passed_on_at_once(tmp_path: Path) -> None:
    async with running(tmp_path, MIRRORED) as core:
        proven = core.first.blob(HERE, BODY[: 2**20])
        await core.get("blobs", proven)
        core.first.blob(HERE, BODY)
        core.first.faults = [fault := Fault("open", hold=asyncio.Event(), at=SIZE // 2)]
        flight = core.fly(PINNED)
        await until(lambda: flight.released == SIZE // 2)
        assert fault.hold
        fault.hold.set()
        await flight.landed()


async def test_a_trusted_one_that_lies_reaches_nobody_whole(tmp_path: Path) -> None:
    async with running(tmp_path, MIRRORED) as core:
        await core.get("blobs", core.first.blob(HERE, BODY[: 2**20]))
        for shelf in (core.first, core.second):
            shelf.blob(HERE, BODY)
        core.first.faults = [Fault("open", body=BODY[:-1] + b"x")]
        with pytest.raises(DigestMismatch):
            await core.get("blobs", PINNED)
        await core.settled()
        assert (await core.get("blobs", PINNED))[0] == BODY
        assert core.second.count("open") == 1


async def test_of_two_that_shared_the_work_the_liar_is_named(tmp_path: Path) -> None:
    async with running(tmp_path, MIRRORED) as core:
        for shelf in (core.first, core.second):
            shelf.blob(HERE, BODY)
        wrong = BODY[: SIZE // 2] + b"x" + BODY[SIZE // 2 + 1 :]
        core.first.faults = [Fault("open", at=SIZE // 4, breaks=True, times=1)]
        core.second.faults = [Fault("open", body=wrong)]
        assert (await core.get("blobs", PINNED))[0] == BODY
        await core.settled()
        first, second = (each.estimate for _, each in core.ranking if each.name in ("first", "second"))
        assert (first.shamed_until, second.shamed_until > core.clock.now()) == (0.0, True)


async def test_that_nobody_has_it_is_said_so(tmp_path: Path) -> None:
    async with running(tmp_path, MIRRORED) as core:
        with pytest.raises(BlobUnknown):
            await core.get("blobs", PINNED)
        assert (core.first.count("open"), core.second.count("open")) == (1, 1)

"""The journal: an event for every write that is news, in its transaction or not at all."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import overload

import pytest

from edgeproxy.interfaces import TagState
from edgeproxy.oci.manifest import OCI_MANIFEST
from edgeproxy.oci.reference import Pinned, Tag
from edgeproxy.store.disk import DiskStore
from edgeproxy.store.outbox import Event, News, Outbox
from edgeproxy.store.pushed import Pushed
from edgeproxy.store.removal import Removal
from edgeproxy.store.versions import Change, TagStates
from tests.fakes.clock import ManualClock
from tests.store.stores import opened
from tests.store.writes import HERE, LAYER, MANIFEST, OWN, TAG, VERSION, publication, stored, writes

SIZE = len(LAYER) + len(MANIFEST)


async def events(store: DiskStore) -> list[Event]:
    return await Outbox(store.catalog).events(100)


async def test_every_write_that_is_news_leaves_an_event(store: DiskStore) -> None:
    await stored(store)
    pushed = Pushed(store.catalog, journal=True)
    await pushed.publish(publication(None), 1.0)
    await pushed.publish(publication(None), 2.0)  # which the repository keeps already
    await pushed.publish(publication(merge=writes(OWN, via=("far", "site"))), 3.0)
    await pushed.publish(publication(merge=lambda known: None), 4.0)
    await pushed.remove_tag(TAG, Removal(writes(None), 5.0))
    await pushed.publish(publication(), 6.0)
    await pushed.remove_manifest(Pinned(HERE, OWN.digest), Removal(writes(None), 7.0, via=("site",)))
    tagged = News(HERE, "1.0", OWN.digest, OCI_MANIFEST, "a/b", SIZE, 3.0, ("far", "site"), str(VERSION))
    gone = News(HERE, "1.0", None, "", None, 0, 5.0, ("site",), str(VERSION))
    assert await events(store) == [
        Event(1, News(HERE, None, OWN.digest, OCI_MANIFEST, "a/b", SIZE, 1.0, ("site",))),
        Event(2, tagged),
        Event(3, gone),
        Event(4, tagged._replace(at=6.0, via=("site",))),
        Event(5, gone._replace(at=7.0)),
        Event(6, News(HERE, None, OWN.digest, "", None, 0, 7.0, ("site",))),
    ]


async def test_an_event_tells_what_holds_not_what_was_written(store: DiskStore) -> None:
    """The write of another site lost: what is news is that the states were merged."""
    await stored(store)
    pushed = Pushed(store.catalog, journal=True)
    await pushed.publish(publication(), 1.0)
    merged = VERSION._replace(vector={"site": 1, "far": 1})
    assert (await pushed.remove_tag(TAG, Removal(writes(OWN, merged), 2.0, forced=True))).news
    holds = News(HERE, "1.0", OWN.digest, OCI_MANIFEST, "a/b", SIZE, 2.0, ("site",), str(merged))
    assert (await events(store))[1].news == holds
    assert TagStates(store.catalog).state(TAG) == TagState(OWN, merged)
    assert store.catalog.tag(TAG) is not None


async def test_where_nobody_listens_nothing_is_written(store: DiskStore) -> None:
    await stored(store)
    pushed = Pushed(store.catalog)
    for tag in (None, TAG):
        await pushed.publish(publication(tag), 1.0)
    await pushed.remove_tag(TAG, Removal(writes(None), 2.0))
    await pushed.publish(publication(), 3.0)
    await pushed.remove_manifest(Pinned(HERE, OWN.digest), Removal(writes(None), 3.0))
    assert await events(store) == []
    assert TagStates(store.catalog).state(TAG) == TagState(None, VERSION)


async def test_settling_deletes_events_and_changes_rows_in_one_go(store: DiskStore) -> None:
    await stored(store)
    pushed, outbox = Pushed(store.catalog, journal=True), Outbox(store.catalog)
    for number in range(12):
        await pushed.publish(publication(Tag(HERE, str(number))), 1.0)
    assert [event.sequence for event in await outbox.events(10)] == list(range(1, 11))
    await outbox.settle(10, {"task/b": "1", "task/a": "2", "target/x": "3"}, [])
    assert [event.sequence for event in await outbox.events(10)] == [11, 12]
    await outbox.settle(0, {"task/a": "4"}, ["task/b", "task/absent"])
    assert outbox.rows("task/") == [("task/a", "4")]
    assert outbox.rows("target/") == [("target/x", "3")]
    await outbox.settle(12, {}, [])
    await pushed.publish(publication(), 2.0)
    assert [event.sequence for event in await outbox.events(10)] == [13]


@pytest.mark.parametrize("key", ["tag/a", "event/1", "task", "", "blob/task/"])
async def test_other_rows_are_not_replication_s_to_change(store: DiskStore, key: str) -> None:
    outbox = Outbox(store.catalog)
    for put, drop in (({key: ""}, []), ({}, [key])):
        with pytest.raises(ValueError, match="no row of replication's"):
            await outbox.settle(10, {"task/a": "1", **put}, drop)
    assert outbox.rows("task/") == []


# one transaction


class Trap(Sequence[str]):
    """The sites of an event, which is the last that is written: reading them ends all."""

    def __init__(self, ends: str) -> None:
        self._ends = ends

    def __len__(self) -> int:
        return 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        raise AssertionError(index)

    def __iter__(self) -> Iterator[str]:
        if self._ends == "process":
            os.kill(os.getpid(), signal.SIGKILL)
        raise RuntimeError("in between")


def trapped(ends: str) -> "Change":
    return Change(TagState(OWN, VERSION), Trap(ends))


async def nothing_was_written(store: DiskStore) -> None:
    assert store.catalog.tag(TAG) is None
    assert TagStates(store.catalog).state(TAG) is None
    assert store.catalog.link("manifests", Pinned(HERE, OWN.digest)) is None
    held = store.catalog.held(OWN.digest)
    assert held is not None
    assert not held.pinned
    assert await events(store) == []
    assert store.catalog.row("total/events") is None


async def test_what_fails_at_its_end_leaves_nothing(store: DiskStore) -> None:
    await stored(store)
    pushed = Pushed(store.catalog, journal=True)
    with pytest.raises(RuntimeError, match="in between"):
        await pushed.publish(publication(merge=lambda known: trapped("transaction")), 1.0)
    await nothing_was_written(store)
    await pushed.publish(publication(), 1.0)
    with pytest.raises(RuntimeError, match="in between"):
        await pushed.remove_tag(TAG, Removal(lambda known: Change(TagState(None, VERSION), Trap("transaction")), 2.0))
    assert store.catalog.tag(TAG) is not None
    assert TagStates(store.catalog).state(TAG) == TagState(OWN, VERSION)
    assert len(await events(store)) == 1


async def test_who_is_killed_at_its_end_leaves_nothing(tmp_path: Path) -> None:
    lines = ["import asyncio, pathlib, sys", f"from {__name__} import publish_until_killed"]
    script = "; ".join([*lines, "asyncio.run(publish_until_killed(pathlib.Path(sys.argv[1])))"])
    ended = subprocess.run([sys.executable, "-c", script, tmp_path / "data"], check=False, timeout=60)
    assert ended.returncode == -signal.SIGKILL
    async with opened(tmp_path / "data", ManualClock()) as store:
        await nothing_was_written(store)


async def publish_until_killed(data: Path) -> None:
    async with opened(data, ManualClock()) as store:
        await stored(store)
        await Pushed(store.catalog, journal=True).publish(publication(merge=lambda known: trapped("process")), 1.0)

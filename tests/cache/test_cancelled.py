"""Cancelled at each await in turn, whatever is left is whole or can be gone on with."""

import asyncio
from collections.abc import Awaitable, Callable, Generator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from edgeproxy.interfaces import Kind
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.errors import Refusal
from edgeproxy.oci.reference import Pinned, Reference, Tag
from tests.cache.core import HERE, PLAIN, THERE, Core, Setting, Work, running
from tests.fakes.shelf import Fault
from tests.store.stores import content, files_open_below, keep

BODY = bytes(range(256)) * 130
PINNED = Pinned(HERE, Digest.of(BODY))
TAG = Tag(HERE, "latest")
OLD = [bytes([number]) * 20_000 for number in range(3)]


class CancelledAt:
    """Work whose task is cancelled while it waits at its `nth` await."""

    def __init__(self, nth: int) -> None:
        self.nth = nth
        self.struck = False

    def __call__(self, work: Work) -> Work:
        return self._driven(work)

    async def _driven(self, work: Work) -> None:
        await _Drive(work, self._waits)

    def _waits(self, place: int) -> None:
        if place == self.nth and not self.struck:
            self.struck = True
            task = asyncio.current_task()
            assert task is not None
            task.cancel()


class _Drive(Awaitable[None]):
    """Awaits a coroutine, and tells of each of its waits."""

    def __init__(self, work: Work, waits: Callable[[int], None]) -> None:
        self._work = work
        self._waits = waits

    def __await__(self) -> Generator[Any, Any, None]:
        resume: Callable[[], Any] = partial(self._work.send, None)
        for place in count(1):
            try:
                waited_for = resume()
            except StopIteration:
                return
            self._waits(place)
            try:
                yield waited_for
            except BaseException as error:
                resume = partial(self._work.throw, error)
            else:
                resume = partial(self._work.send, None)


@dataclass(frozen=True)
class Scenario:
    """What is asked for, after what."""

    name: str
    kind: Kind
    reference: Reference
    setting: Setting = PLAIN

    async def prepare(self, core: Core) -> None:
        core.first.blob(HERE, BODY)
        core.first.image(HERE, "latest", [BODY])
        match self.name:
            case "resumed":
                core.first.faults = [Fault("open", at=20_000, breaks=True, times=1)]
            case "evicting":
                for body in OLD:
                    await keep(core.store, body)
                core.clock.advance(86400)
            case "proving":
                core.other.blob(THERE, BODY)
                await core.get("blobs", Pinned(THERE, PINNED.digest))
            case "moved":
                await core.get("manifests", TAG)
                core.first.image(HERE, "latest", [b"new"])
                core.clock.advance(301)
        await core.settled()


TIGHT = Setting(budget=80_000)
SCENARIOS = [
    Scenario("blob", "blobs", PINNED),
    Scenario("resumed", "blobs", PINNED),
    Scenario("evicting", "blobs", PINNED, TIGHT),
    Scenario("manifest", "manifests", TAG),
    Scenario("moved", "manifests", TAG),
    Scenario("proving", "blobs", PINNED),
]
EVERY_SCENARIO = pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)


async def is_sound(core: Core) -> None:
    """Nothing is open or promised, every row has its file and every file its row."""
    assert files_open_below(core.store.layout.data, "blobs", "partial", "uploads") == []
    assert core.store.growing == set()
    assert len(core.flights) == 0
    rows = {held.digest: held.size for held in core.catalog.all_held()}
    assert {digest: stat.st_size for digest, stat in core.store.layout.files()} == rows
    assert core.catalog.total() == sum(rows.values()) <= core.room.limits.budget
    for digest in rows:
        assert Digest.of(await content(core.store, digest) or b"") == digest
    for body in OLD:
        with suppress(Refusal):
            await core.store.delete([Digest.of(body)])
    async with core.room.kept(core.room.limits.budget - core.room.used()):
        pass


async def answers(core: Core, scenario: Scenario) -> None:
    body, _ = await core.get(scenario.kind, scenario.reference)
    await core.settled()
    assert body in [known for _, known in core.first.contents.values()]


@EVERY_SCENARIO
async def test_the_daemon_s_task_may_be_cancelled_at_each_await(tmp_path: Path, scenario: Scenario) -> None:
    for nth in count(1):
        interruption = CancelledAt(nth)
        async with running(tmp_path / str(nth), scenario.setting) as core:
            await scenario.prepare(core)
            core.interrupt = interruption
            with suppress(Refusal, asyncio.CancelledError):
                await core.get(scenario.kind, scenario.reference)
            await core.settled()
            await is_sound(core)
            await answers(core, scenario)
        if not interruption.struck:
            break
    assert nth > (5 if scenario.name != "proving" else 0)  # the proof is the client's own business


@EVERY_SCENARIO
async def test_the_client_s_task_may_be_cancelled_at_each_await(tmp_path: Path, scenario: Scenario) -> None:
    for nth in count(1):
        interruption = CancelledAt(nth)
        async with running(tmp_path / str(nth), scenario.setting) as core:
            await scenario.prepare(core)
            client = asyncio.create_task(interruption(_get(core, scenario)))
            await asyncio.wait([client])
            assert client.cancelled() == interruption.struck
            await core.settled()
            await is_sound(core)
            await answers(core, scenario)
            assert core.first.count("open", PINNED.digest) <= 2
        if not interruption.struck:
            break
    assert nth > (1 if scenario.name != "moved" else 0)  # what is stale is answered without a wait


async def _get(core: Core, scenario: Scenario) -> None:
    await core.get(scenario.kind, scenario.reference)

"""Upstreams that remember how they answered."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from edgeproxy.interfaces import Kind
from edgeproxy.metrics import Traffic
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.errors import BlobUnknown, Refusal, TooManyRequests, Unavailable
from edgeproxy.oci.reference import Pinned, Repository, Tag
from edgeproxy.remote.measured import Measured, MeasuredRanking
from tests.fakes.clock import ManualClock
from tests.fakes.shelf import Fault, Shelf
from tests.fakes.upstream import MemoryBody, MemoryUpstream

HERE = Repository("a.test", "app")
BODY = bytes(2**20)
PINNED = Pinned(HERE, Digest.of(BODY))
NAMES = ("near", "far")


class Site:
    """Two upstreams of one registry and one of another, at distances that a test decides."""

    def __init__(self) -> None:
        self.clock, self.traffic = ManualClock(), Traffic()
        self.shelves = {name: Shelf() for name in (*NAMES, "only")}
        self.upstreams = {name: self._measured(name) for name in self.shelves}
        both = [self.upstreams[name] for name in NAMES]
        self.ranking = MeasuredRanking({"a.test": both, "b.test": [self.upstreams["only"]]}, self.clock, self.traffic)

    def _measured(self, name: str) -> Measured:
        upstream = MemoryUpstream(name, self.shelves[name])
        return Measured(upstream, 0, self.clock, upstream.knock)

    def order(self) -> list[str]:
        return [each.name for each in self.ranking.order("a.test")]

    async def asks(self, name: str, seconds: float, refusal: Refusal | None = None) -> None:
        """One question to an upstream, which takes so long."""
        shelf = self.shelves[name]
        shelf.image(HERE, "1")
        shelf.faults = [fault := Fault(hold=asyncio.Event(), refusal=refusal)]
        asking = asyncio.create_task(self.upstreams[name].resolve(Tag(HERE, "1")))
        await fault.reached.wait()
        self.clock.advance(seconds)
        assert fault.hold
        fault.hold.set()
        await asyncio.wait([asking])
        shelf.faults = []
        if asking.exception() is None or refusal is None:
            asking.result()


async def test_the_faster_is_asked_first() -> None:
    site = Site()
    for _ in range(2):
        await site.asks("near", 0.12)
        await site.asks("far", 0.02)
    assert site.order() == ["far", "near"]


async def test_trouble_opens_the_circuit_and_an_answer_closes_it() -> None:
    site = Site()
    await site.asks("near", 0.02)
    await site.asks("far", 0.2)
    await site.asks("near", 0.0, Unavailable("down"))
    assert site.order() == ["far", "near"]
    await site.upstreams["near"].probe()
    assert site.order() == ["near", "far"]


async def test_that_something_is_not_there_is_no_trouble() -> None:
    site = Site()
    await site.asks("far", 0.2)
    await site.asks("near", 0.02, BlobUnknown("no"))
    assert site.order() == ["near", "far"]


async def test_who_limits_is_left_alone_until_it_said() -> None:
    site = Site()
    await site.asks("near", 0.02)
    await site.asks("far", 0.2)
    await site.asks("near", 0.0, TooManyRequests("slow down", retry_after=30))
    assert site.order() == ["far", "near"]
    site.clock.advance(31)
    assert site.order() == ["near", "far"]


@pytest.mark.parametrize("kind", ["blobs", "manifests"])
async def test_a_body_that_breaks_is_trouble(kind: Kind) -> None:
    site = Site()
    near = site.upstreams["near"]
    shelf = site.shelves["near"]
    pinned = shelf.blob(HERE, BODY) if kind == "blobs" else shelf.image(HERE)
    shelf.faults = [Fault("open", at=10, breaks=True)]
    with pytest.raises(Unavailable):
        async with near.open(kind, pinned) as body:
            assert [len(chunk) async for chunk in body.chunks()] == [10]
    assert near.estimate.rests(site.clock.now())


class Slow(MemoryUpstream):
    """Its bytes take their time, by the clock."""

    def __init__(self, shelf: Shelf, clock: ManualClock, rate: float) -> None:
        super().__init__("slow", shelf)
        self._clock, self._rate = clock, rate

    @asynccontextmanager
    async def open(
        self, kind: Kind, pinned: Pinned, start: int = 0, stop: int | None = None
    ) -> AsyncIterator[MemoryBody]:
        async with super().open(kind, pinned, start, stop) as body:
            chunks = body.chunks

            async def slowly() -> AsyncIterator[bytes]:
                async for chunk in chunks():
                    self._clock.advance(len(chunk) / self._rate)
                    yield chunk

            body.chunks = slowly  # type: ignore[method-assign]
            yield body


async def test_a_pace_is_taken_down_while_the_body_comes() -> None:
    shelf, clock = Shelf(), ManualClock()
    upstream = Slow(shelf, clock, 100_000)
    slow = Measured(upstream, 0, clock, upstream.knock)
    shelf.blob(HERE, BODY)
    async with slow.open("blobs", PINNED) as body:
        rates = [slow.estimate.rate async for _ in body.chunks()]
    assert rates[0] is None
    assert slow.estimate.rate == pytest.approx(100_000, rel=0.2)
    assert any(rates[: len(rates) // 4])


async def test_a_reader_that_takes_its_time_says_nothing_of_upstream() -> None:
    site = Site()
    near = site.upstreams["near"]
    site.shelves["near"].blob(HERE, BODY)
    async with near.open("blobs", PINNED) as body:
        async for chunk in body.chunks():
            site.clock.advance(len(chunk) / 1000)
    assert near.estimate.rate is None


async def test_who_reads_no_further_leaves_nothing_open() -> None:
    site = Site()
    site.shelves["near"].blob(HERE, BODY)
    with pytest.raises(ZeroDivisionError):
        async with site.upstreams["near"].open("blobs", PINNED):
            raise ZeroDivisionError
    assert site.shelves["near"].reading == 0
    assert not site.upstreams["near"].estimate.rests(site.clock.now())


# probes


async def test_idle_ones_are_probed_often_where_clients_are_at_work_and_seldom_elsewhere() -> None:
    site = Site()
    counts = []
    site.order()
    for _ in range(4):
        site.clock.advance(2.0)
        await site.ranking.probe()
        counts.append(sum(site.shelves[name].count("knock") for name in NAMES))
    assert counts == [2, 4, 6, 8]
    site.clock.advance(60.0)
    await site.ranking.probe()
    site.clock.advance(2.0)
    await site.ranking.probe()
    assert sum(site.shelves[name].count("knock") for name in NAMES) == 10
    assert site.shelves["only"].asked == []


async def test_who_was_heard_of_needs_no_probe() -> None:
    site = Site()
    site.order()
    await site.asks("near", 0.02)
    await site.ranking.probe()
    assert (site.shelves["near"].count("knock"), site.shelves["far"].count("knock")) == (0, 1)


async def test_a_probe_that_fails_is_no_error() -> None:
    site = Site()
    site.shelves["far"].faults = [Fault("knock", refusal=Unavailable("down"))]
    await site.ranking.probe()
    assert site.order() == ["near", "far"]


# patience and trust


async def test_patience_grows_out_of_what_is_usual() -> None:
    site = Site()
    near = site.upstreams["near"]
    assert site.ranking.patience(near) == 2.0
    for seconds in [0.3] * 20:
        await site.asks("near", seconds)
    assert site.ranking.patience(near) == pytest.approx(0.3)
    for seconds in [0.001] * 60:
        await site.asks("near", seconds)
    assert site.ranking.patience(near) == 0.1


def test_trust_is_earned_and_lost() -> None:
    site = Site()
    near, only = site.upstreams["near"], site.upstreams["only"]
    assert (site.ranking.trusts(only), site.ranking.trusts(near)) == (True, False)
    site.ranking.judge(near, 2**20, right=True)
    assert site.ranking.trusts(near)
    site.ranking.judge(near, 1, right=False)
    assert not site.ranking.trusts(near)
    assert site.traffic.lies == {("a.test", "near"): 1}
    assert site.order() == ["far", "near"]


async def test_a_registry_answers_while_one_of_its_upstreams_did_lately() -> None:
    site = Site()
    assert not site.ranking.answers("a.test"), "nobody has been asked"
    assert not site.ranking.answers("elsewhere.test")
    await site.asks("near", 0.1)
    await site.asks("far", 0.1, Unavailable("down"))
    assert site.ranking.answers("a.test")
    await site.asks("near", 0.1, Unavailable("down"))
    assert not site.ranking.answers("a.test")
    await site.asks("far", 0.1)
    assert site.ranking.answers("a.test")
    site.clock.advance(3599.0)
    assert site.ranking.answers("a.test")
    site.clock.advance(1.0)
    assert not site.ranking.answers("a.test")

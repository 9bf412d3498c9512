"""A site's traffic, request by request, at a whole daemon whose clock is moved on; and the simulation of the same."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from edgeproxy.config import Config, load
from edgeproxy.interfaces import Access, Method
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.reference import Repository, Tag, path_of
from edgeproxy.predict.model import Model
from edgeproxy.predict.shipped import shipped
from edgeproxy.process import run
from edgeproxy.replay.requests import Trace, trace
from edgeproxy.replay.simulate import missed
from edgeproxy.replay.site import Site
from edgeproxy.replay.tally import Missed
from edgeproxy.store.record import read
from loadtests.days.callers import Callers, Told
from loadtests.days.clock import SteppedClock
from loadtests.days.goods import Goods
from loadtests.days.origin import Origin
from loadtests.report import Ratio, Result, table
from tests.parts.processes import free_port, responds, wait_until

_WARM = 7 * 86400.0
_DAYS, _SHIFTED_DAYS = 14.0, 21.0
"""A site that is not like those that the shipped model was fitted to is followed longer: in the last week its own model
may be in use."""
_REFIT = 7 * 86400.0
"""Before the end."""
_SERVICES, _NODES = 100, 30
_SCALE = 0.05
"""Bytes here of a byte of the site: 2 MB for a usual large layer."""
_SHARE = 0.1
"""Of the footprint, for the cache."""
_STEP, _AT_ONCE = 10.0, 2000
"""Seconds of the site, and requests, after which its jobs have their turn."""
_BEHIND = ("evict", "make room")
"""What a request leaves behind, and is over long before the next one that comes seconds later."""
_PATIENT = {"scrub": 288.0}
"""All that is held here is less than what it verifies at a time; once a day is enough."""
_CONFIG = """\
listen = "127.0.0.1:{port}"
admin = "127.0.0.1:{admin}"
data = "{directory}/data"
log_requests = false
[limits]
idle = "1h"
[cache]
budget = "{budget}B"
reserve = "0%"
memory = "8MB"
[learn]
refit = "{refit}s"
waste = "0%"
[registry."registry.example"]
[[registry."registry.example".upstream]]
url = "{origin}"
[registry."docker.io"]
[[registry."docker.io".upstream]]
url = "{origin}"
"""


@dataclass
class Tally:
    """Of GETs after the warm-up."""

    requests: int = 0
    bytes: int = 0
    missed: int = 0
    missed_bytes: int = 0
    stale: int = 0
    """Answers that were not what upstream's tag named."""

    def add(self, access: Access, told: Told | None) -> None:
        """`told`: nothing, where what was asked for is of an image that the client was not told of."""
        self.requests += 1
        self.bytes += access.size
        if told is not None:
            had = "fwd=uri-miss" not in told.came_by or "collapsed" in told.came_by
            self.missed += not had
            self.missed_bytes += 0 if had else access.size
            self.stale += told.digest != access.digest

    def shares(self) -> tuple[float, float]:
        """Of requests, and of bytes."""
        return self.missed / self.requests, self.missed_bytes / self.bytes


@dataclass(frozen=True)
class _Ended:
    tally: Tally
    origin: Origin
    own: Model | None
    """The model that was fitted on the way."""
    seconds: float


async def days(directory: Path, seed: int, *, shifted: bool) -> Result:
    """One site, its sizes scaled down; a cache of a tenth of the footprint; all after the first week counts."""
    goods, many = Goods(_SCALE), _SHIFTED_DAYS if shifted else _DAYS
    site = Site(seed, many, _SERVICES, _NODES)
    site = site.shifted() if shifted else site
    asked = await asyncio.to_thread(lambda: trace(goods.translated(site.happenings()), _WARM))
    budget = int(asked.footprint * _SHARE)
    ended = await _lived(directory, goods, asked, budget, many * 86400.0 - _REFIT)
    simulated = await asyncio.to_thread(_simulated, asked, budget, ended.own)
    recorded = trace(read([directory / "data" / "record"]), _WARM)
    told_the_same = await asyncio.to_thread(lambda: missed(recorded, "learned", budget, shipped(), refit=ended.own))
    simulated["told what the daemon recorded"] = told_the_same
    by_record = _missed(recorded) / told_the_same.bytes
    ratios = [
        Ratio("bytes missed, over those of the replay of the daemon's record", by_record, at_most=1.02),
        *_figures(ended, simulated, refits=int(shifted)),
    ]
    title = (
        f"days: {many:g} days of {len(asked.requests):,} pulls, {budget / 1e6:.0f} MB of {asked.footprint / 1e6:.0f}"
    )
    more = {
        "seed": seed,
        "shifted": shifted,
        "budget": budget,
        "simulated": {name: one._asdict() for name, one in simulated.items()},
    }
    return Result("days", table(title, ratios), ratios, more)


def _missed(recorded: Trace) -> float:
    """The share of the bytes asked for that the record says were fetched for who asked."""
    asked = [each for each in recorded.happenings if isinstance(each, Access) and each.method == "GET"]
    counted = [each for each in asked if each.digest is not None and each.time >= recorded.counts_from]
    return sum(each.size for each in counted if each.outcome == "miss") / sum(each.size for each in counted)


def _simulated(asked: Trace, budget: int, own: Model | None) -> dict[str, Missed]:
    found = {name: missed(asked, name, budget) for name in ("lru", "s3fifo")}
    found["shipped"] = missed(asked, "learned", budget, shipped())
    if own is not None:
        found["refitted"] = missed(asked, "learned", budget, shipped(), refit=own)
        found["own from the start"] = missed(asked, "learned", budget, own)
    return found


def _figures(ended: _Ended, simulated: dict[str, Missed], refits: int) -> list[Ratio]:
    tally = ended.tally
    requests_missed, bytes_missed = tally.shares()
    like = simulated.get("refitted", simulated["shipped"])
    return [
        Ratio("bytes missed, over the simulated policy's", bytes_missed / like.bytes, at_most=1.02),
        Ratio("objects missed, over the simulated policy's", requests_missed / like.requests, at_most=1.02),
        Ratio("refits of the site's own model on the way", float(ended.own is not None), at_least=refits),
        Ratio("bytes upstream sent, over those missed", ended.origin.bytes / tally.missed_bytes),
        Ratio("bytes missed: the daemon", bytes_missed),
        *(Ratio(f"bytes missed: simulated, {name}", one.bytes) for name, one in simulated.items()),
        Ratio("objects missed: the daemon", requests_missed),
        *(Ratio(f"objects missed: simulated, {name}", one.requests) for name, one in simulated.items()),
        Ratio("share of pulls that got what the tag no longer named", tally.stale / tally.requests),
        Ratio("tags checked upstream, of a hundred pulls", 100 * ended.origin.checks / tally.requests),
        Ratio("seconds for all days", ended.seconds),
    ]


# what is lived through


async def _lived(directory: Path, goods: Goods, asked: Trace, budget: int, refit: float) -> _Ended:
    origin, tally, began = Origin(goods), Tally(), time.monotonic()
    clock, port, admin = SteppedClock(asked.happenings[0].time, _PATIENT), free_port(), free_port()
    async with origin.listening() as url:
        file = directory / "edgeproxy.toml"
        words = {"port": port, "admin": admin, "directory": directory, "budget": budget, "origin": url}
        file.write_text(_CONFIG.format(**words, refit=int(refit)), encoding="utf-8")
        async with _serving(load(file, {}), clock, f"http://127.0.0.1:{admin}/readyz"):
            callers = Callers(port)
            try:
                await _pulled(asked, goods, origin, callers, clock, tally)
            finally:
                callers.close()
    own = directory / "data" / "model" / "current.model"
    model = Model.load(own.read_bytes()) if own.exists() else None
    return _Ended(tally, origin, model, time.monotonic() - began)


@asynccontextmanager
async def _serving(config: Config, clock: SteppedClock, ready: str) -> AsyncIterator[None]:
    """The daemon as `edgeproxy serve` runs it, in this process, by this clock."""
    daemon = asyncio.create_task(run(config, lambda: config, clock))
    try:
        await wait_until(lambda: _answers(daemon, ready), "the daemon is ready")
        yield
    finally:
        if not daemon.done():
            signal.raise_signal(signal.SIGTERM)
        await daemon
        for number in (signal.SIGTERM, signal.SIGINT):  # as it was: the rest may be ended, too
            asyncio.get_running_loop().remove_signal_handler(number)


async def _answers(daemon: asyncio.Task[None], ready: str) -> bool:
    return daemon.done() or await responds(ready)


async def _pulled(
    asked: Trace, goods: Goods, origin: Origin, callers: Callers, clock: SteppedClock, tally: Tally
) -> None:
    """All requests in order, each at its time. Who is told what a tag named before pulls that, and has it already."""
    turn, since, counts = asked.happenings[0].time, 0, False
    outdated = set[tuple[int, Repository]]()
    for each in asked.happenings:
        if not isinstance(each, Access):
            continue
        if each.time > clock.now() + 1.0:
            await _settled()
        if each.time >= turn + _STEP or since >= _AT_ONCE:
            clock.move(min(turn + _STEP, each.time))
            await clock.wake()
            turn, since = each.time, 0
        clock.move(each.time)
        if not counts and each.time >= asked.counts_from:
            counts = True
            origin.reset()
        where = each.client, each.reference.repository
        if isinstance(each.reference, Tag) and each.digest is not None:
            goods.named[each.reference] = each.digest
            outdated.discard(where)
        told = None
        if where not in outdated:
            told = await _pull(callers, goods, each)
            if told.digest != each.digest:
                outdated.add(where)
        since += 1
        if counts and each.method == "GET":
            tally.add(each, told)


async def _settled() -> None:
    behind = [task for task in asyncio.all_tasks() if task.get_name() in _BEHIND]
    if behind:
        await asyncio.wait(behind)


async def _pull(callers: Callers, goods: Goods, access: Access) -> Told:
    reference = access.reference
    target = f"/v2/{reference.repository.path}/{path_of(access.kind, reference)}?ns={reference.repository.registry}"
    told = await callers.ask(access.client, access.method, target)
    assert told.status == 200, f"{access.method} {target}: {told.status} {bytes(told.body[:300])!r}"
    _check(access.method, goods, told)
    return told


def _check(method: Method, goods: Goods, told: Told) -> None:
    """The body is what its digest says; which was found out when it was made."""
    right = method == "HEAD" or bytes(told.body) == goods.body(Digest(told.digest))
    assert right, f"wrong bytes for {told.digest}"

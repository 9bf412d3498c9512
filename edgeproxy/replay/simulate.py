"""What a cache of some size would have missed, policy by policy; the learned one in the code that the daemon runs."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

from edgeproxy.cache.eviction import to_evict_singly
from edgeproxy.interfaces import Access, Happening, Held
from edgeproxy.oci.digest import Digest
from edgeproxy.predict.fixed import FixedPolicy
from edgeproxy.predict.learned import LearnedPolicy
from edgeproxy.predict.ledger import key_of
from edgeproxy.predict.model import Model
from edgeproxy.predict.shadow import Gdsf, Lru, S3Fifo, Shadow
from edgeproxy.replay.baselines import Belady, Fifo, Sieve, following

_LOW = 0.97
"""Share of the budget that is kept when something has to leave; many leave at once, as in the daemon."""
PUBLISHED: Mapping[str, Callable[[int], Shadow]] = {
    "lru": Lru,
    "fifo": Fifo,
    "sieve": Sieve,
    "s3fifo": S3Fifo,
    "gdsf": Gdsf,
}
POLICIES = (*PUBLISHED, "learned", "belady")


class Request(NamedTuple):
    """A GET of content."""

    time: float
    digest: Digest
    key: int
    size: int


@dataclass(frozen=True)
class Trace:
    happenings: Sequence[Happening]
    requests: Sequence[Request]
    footprint: int
    """Bytes of all that is asked for, each once."""
    compulsory: tuple[int, int]
    """Requests and bytes of what is asked for the first time, after the warm-up: nobody's cache has it."""
    counts_from: float
    """When the warm-up is over."""


class Missed(NamedTuple):
    """After the warm-up; shares of what was asked for."""

    requests: float
    bytes: float


def trace(happenings: Iterable[Happening], warm: float) -> Trace:
    """`warm`: seconds at its beginning that do not count. Raises ValueError where nothing is left."""
    found = list(happenings)
    requests = [
        Request(each.time, each.digest, key_of(each.digest), each.size)
        for each in found
        if isinstance(each, Access) and each.method == "GET" and each.digest is not None
    ]
    if not requests or requests[-1].time < requests[0].time + warm:
        raise ValueError("nothing is left after the warm-up: say less by --warm")
    since, seen = requests[0].time + warm, dict[int, int]()
    first = [each for each in requests if seen.setdefault(each.key, each.size) and each.time >= since]
    new = set(seen) - {each.key for each in requests if each.time < since}
    once = {each.key: each.size for each in first if each.key in new}
    return Trace(found, requests, sum(seen.values()), (len(once), sum(once.values())), since)


def missed(trace: Trace, policy: str, budget: int, model: Model | None = None) -> Missed:
    """`policy`: one of `POLICIES`; `model` is for the learned one."""
    if policy == "learned":
        return _learned(trace, budget, model)
    if policy == "belady":
        return _counted(trace, Belady(budget, following([each.key for each in trace.requests])))
    return _counted(trace, PUBLISHED[policy](budget))


def compulsory(trace: Trace) -> Missed:
    """What nobody can avoid to miss without knowing it beforehand."""
    tally = _Tally(trace.counts_from)
    for each in trace.requests:
        tally.add(each, had=True)
    return Missed(trace.compulsory[0] / tally.requests, trace.compulsory[1] / tally.bytes)


class _Tally:
    def __init__(self, counts_from: float) -> None:
        self._since = counts_from
        self.requests = self.bytes = self._missed = self._missed_bytes = 0

    def add(self, request: Request, *, had: bool) -> None:
        if request.time >= self._since:
            self.requests += 1
            self.bytes += request.size
            if not had:
                self._missed += 1
                self._missed_bytes += request.size

    def missed(self) -> Missed:
        return Missed(self._missed / max(1, self.requests), self._missed_bytes / max(1, self.bytes))


def _counted(trace: Trace, shadow: Shadow) -> Missed:
    tally = _Tally(trace.counts_from)
    for each in trace.requests:
        tally.add(each, had=shadow.request(each.key, each.size, each.time))
    return tally.missed()


def _learned(trace: Trace, budget: int, model: Model | None) -> Missed:
    policy, held, total = LearnedPolicy(FixedPolicy(), model, budget), dict[Digest, Held](), 0
    tally, asked = _Tally(trace.counts_from), iter(trace.requests)
    for happening in trace.happenings:
        policy.observe(happening)
        if not (isinstance(happening, Access) and happening.method == "GET" and happening.digest is not None):
            continue
        request = next(asked)
        known = held.get(request.digest)
        tally.add(request, had=known is not None)
        if known is not None:
            held[request.digest] = replace(known, used=request.time, uses=known.uses + 1)
        elif request.size <= budget:
            held[request.digest] = Held(request.digest, request.size, request.time, request.time)
            total += request.size
        if total > budget:
            judged = partial(policy.worths, now=request.time)
            for digest in to_evict_singly(list(held.values()), total - int(budget * _LOW), judged):
                total -= held.pop(digest).size
    return tally.missed()

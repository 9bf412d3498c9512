"""What a cache of some size would have missed, policy by policy; the learned one in the code that the daemon runs."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from edgeproxy.predict.model import Model
from edgeproxy.predict.shadow import Gdsf, Lru, S3Fifo, Shadow
from edgeproxy.replay.baselines import Belady, Fifo, Sieve, following
from edgeproxy.replay.learned import Learned
from edgeproxy.replay.link import Link
from edgeproxy.replay.requests import Trace
from edgeproxy.replay.tally import Missed, Tally

PUBLISHED: Mapping[str, Callable[[int], Shadow]] = {
    "lru": Lru,
    "fifo": Fifo,
    "sieve": Sieve,
    "s3fifo": S3Fifo,
    "gdsf": Gdsf,
}
POLICIES = (*PUBLISHED, "learned", "foreseeing", "belady")
"""`foreseeing` is the learned one that brings ahead what is likely to be wanted."""


class Line(NamedTuple):
    """To upstream."""

    rate: float = 12.5e6
    """Bytes per second."""
    delay: float = 0.05
    """Seconds."""


USUAL = Line()


def missed(
    trace: Trace, policy: str, budget: int, model: Model | None = None, line: Line = USUAL, refit: Model | None = None
) -> Missed:
    """`policy`: one of `POLICIES`; `model` is for the learned ones, `refit` as in `Learned`."""
    link = Link(*line)
    if policy in ("learned", "foreseeing"):
        return Learned(trace, budget, model, link, foresees=policy == "foreseeing", refit=refit).missed()
    if policy == "belady":
        return _counted(trace, Belady(budget, following([each.key for each in trace.requests])), link)
    return _counted(trace, PUBLISHED[policy](budget), link)


def compulsory(trace: Trace) -> Missed:
    """What nobody can avoid to miss without knowing it beforehand."""
    seen, tally = set[int](), Tally(trace)
    for each in trace.requests:
        tally.add(each, had=each.key in seen, here=each.time)
        seen.add(each.key)
    return tally.missed()


def _counted(trace: Trace, shadow: Shadow, link: Link) -> Missed:
    tally = Tally(trace)
    for each in trace.requests:
        had = shadow.request(each.key, each.size, each.time)
        here = link.here(each.key, each.time) if had else link.fetch(each.key, each.size, each.time)
        tally.add(each, had=had, here=here)
    return tally.missed()

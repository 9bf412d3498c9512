"""The learned policy and eight of libcachesim on the same made-up sites: what each misses from day 7 on."""

import asyncio
import json
import subprocess
from array import array
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from math import sqrt
from pathlib import Path
from statistics import mean, stdev
from typing import NamedTuple

from edgeproxy.predict.shipped import shipped
from edgeproxy.replay.requests import Trace, trace
from edgeproxy.replay.simulate import missed
from edgeproxy.replay.site import Site
from loadtests.report import Ratio, Result, table

PEERS = ("LRU", "S3FIFO", "ARC", "Sieve", "GDSF", "LHD", "LRB", "ThreeLCache")
"""As libcachesim calls them, with the settings that it gives them."""
_SIZES = (0.05, 0.10)
"""Of the footprint."""
_WARM = 7 * 86400.0
_PATIENCE = 1200.0
"""Seconds for one policy on one trace."""
_ABSENT = """\
published: skipped, for {python} cannot import libcachesim (GPL-3.0; no part of this project, and only a peer).
  To compare: python3 -m venv /tmp/peer && /tmp/peer/bin/pip install libcachesim
  and then:   make bench ARGS='published --libcachesim /tmp/peer/bin/python'"""


class Shares(NamedTuple):
    """Of what was asked for after the warm-up, what was missed."""

    requests: float
    bytes: float


_KINDS: Mapping[str, Callable[[Shares], float]] = {"bytes": lambda one: one.bytes, "objects": lambda one: one.requests}
_Found = defaultdict[tuple[float, str], list[Shares]]
"""By size and policy, seed by seed."""


async def published(directory: Path, seeds: Sequence[int], python: str) -> Result:
    """`python`: the interpreter that has libcachesim."""
    if not await asyncio.to_thread(_has_peers, python):
        return Result("published", _ABSENT.format(python=python), [])
    found = await asyncio.to_thread(_all_missed, directory, seeds, python)
    own = [
        (ours, theirs) for size in _SIZES for ours, theirs in zip(found[size, "lru"], found[size, "LRU"], strict=True)
    ]
    apart = max(abs(ours.bytes / theirs.bytes - 1.0) for ours, theirs in own)
    ratios = [Ratio("LRU here and there: the most that bytes missed lie apart", apart, at_most=0.01)]
    for size in _SIZES:
        for kind, of in _KINDS.items():
            ratios += _compared(
                f"{size:.0%}, {kind} missed", {name: list(map(of, found[size, name])) for name in _NAMES}
            )
    text = table(f"published: {len(seeds)} made-up sites of 28 days, from day 7 on; mean ± 95 % interval", ratios)
    shares = {f"{size:g} {name}": [one._asdict() for one in some] for (size, name), some in found.items()}
    return Result("published", text, ratios, {"seeds": list(seeds), "missed": shares})


_NAMES = ("learned", *PEERS)


def _compared(about: str, missed_by: Mapping[str, Sequence[float]]) -> list[Ratio]:
    """The learned policy over the best of the peers on each site, and everybody over LRU."""
    best = [min(each) for each in zip(*(missed_by[peer] for peer in PEERS), strict=True)]
    goal = 1.0 if "bytes" in about else None
    over_best = _over(f"{about}: learned over the best peer's", missed_by["learned"], best, goal)
    return [over_best, *(_over(f"{about}: {name} over LRU's", missed_by[name], missed_by["LRU"]) for name in _NAMES)]


def _over(name: str, ours: Sequence[float], theirs: Sequence[float], at_most: float | None = None) -> Ratio:
    each = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    interval = f" ± {1.96 * stdev(each) / sqrt(len(each)):.3f}" if len(each) > 1 else ""
    return Ratio(f"{name}{interval}", mean(each), at_most=at_most, rounds=each)


def _has_peers(python: str) -> bool:
    try:
        done = subprocess.run([python, "-c", "import libcachesim"], capture_output=True, timeout=60, check=False)
    except OSError:
        return False
    return done.returncode == 0


def _all_missed(directory: Path, seeds: Sequence[int], python: str) -> _Found:
    found, model = _Found(list), shipped()
    for seed in seeds:
        site = trace(Site(seed).happenings(), _WARM)
        file = directory / f"{seed}.trace"
        first = _write(site, file)
        for size in _SIZES:
            budget = int(site.footprint * size)
            found[size, "lru"].append(Shares(*missed(site, "lru", budget)[:2]))
            found[size, "learned"].append(Shares(*missed(site, "learned", budget, model)[:2]))
            for peer in PEERS:
                found[size, peer].append(_by_peer(python, file, peer, budget, first))
        file.unlink()
    return found


def _write(site: Trace, file: Path) -> int:
    """The trace as `replayed.py` reads it; the number of the first request that counts."""
    requests, numbers = site.requests, dict[int, int]()
    begin = requests[0].time
    columns = array("q", [int(each.time - begin) for each in requests])
    columns.extend(numbers.setdefault(each.key, len(numbers)) for each in requests)
    columns.extend(each.size for each in requests)
    file.write_bytes(columns.tobytes())
    return next(number for number, each in enumerate(requests) if each.time >= site.counts_from)


def _by_peer(python: str, file: Path, peer: str, budget: int, first: int) -> Shares:
    """In a process of its own: what is not ours may crash, and has libraries of its own."""
    script = Path(__file__).with_name("replayed.py")
    done = subprocess.run(
        [python, str(script), str(file), peer, str(budget), str(first)],
        capture_output=True,
        timeout=_PATIENCE,
        check=False,
    )
    assert done.returncode == 0, f"{peer} on {file.name} ended with {done.returncode}: {done.stderr.decode()[-500:]}"
    return Shares(**json.loads(done.stdout))

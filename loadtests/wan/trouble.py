"""A link with faults, of one kind at a time: who gets the whole layer nevertheless, and for how many bytes."""

from collections import defaultdict
from dataclasses import asdict, replace
from pathlib import Path

from loadtests.link.terms import Terms
from loadtests.peers import in_turn
from loadtests.report import Ratio, median
from loadtests.wan.distance import LAYER
from loadtests.wan.reading import read_together
from loadtests.wan.site import Site, quiet, site

_LINK = Terms(delay=0.01, total=60e6)
_EVERY = 60_000_000
_CLIENTS = 2
_PATIENCE = 20.0
"""Seconds after which a client has failed: several times what the link alone needs."""
_FAULTS: dict[str, Terms] = {
    "ended every 60 MB": replace(_LINK, fault="fin", every=_EVERY, counting="link"),
    "reset every 60 MB": replace(_LINK, fault="rst", every=_EVERY, counting="link"),
    "stalled every 60 MB": replace(_LINK, fault="stall", every=_EVERY, counting="link"),
    "reset behind every third header": replace(_LINK, resets=3),
    "503 for every third request": replace(_LINK, unavailable=3),
}
_PATIENT_FOR_LESS = '[timeout]\nidle = "2s"\n'
"""A stall is noticed by waiting, and a run should be short."""


async def trouble(directory: Path, rounds: int) -> list[Ratio]:
    ratios: list[Ratio] = []
    async with site(directory, Terms(), _PATIENT_FOR_LESS) as place:
        for name, terms in _FAULTS.items():
            failed, upstream, seconds = defaultdict[str, list[float]](list), list[float](), list[float]()
            for number in range(rounds):
                await _round(place, terms, number, failed, upstream, seconds)
            about = f"connections {name}:" if "503" not in name else f"{name}:"
            clients = f"{about} clients of {_CLIENTS} without the layer"
            ratios += [
                Ratio(f"{clients}, edgeproxy", max(failed["edgeproxy"]), at_most=0, rounds=failed["edgeproxy"]),
                *(median(f"{clients}, {peer}", failed[peer]) for peer in ("docker-registry", "nginx")),
                Ratio(
                    f"{about} bytes from upstream / bytes of the layer", max(upstream), at_most=1.05, rounds=upstream
                ),
                median(f"{about} seconds, edgeproxy", seconds),
            ]
    return ratios


async def _round(
    place: Site, terms: Terms, number: int, failed: dict[str, list[float]], upstream: list[float], seconds: list[float]
) -> None:
    image = await place.supply.image(LAYER)
    for contestant in in_turn(place.contestants, number):
        before = await place.link.change(**asdict(terms))
        readings = await read_together(contestant.url, image, _CLIENTS, _PATIENCE)
        await place.link.change(**asdict(_LINK))
        after = await quiet(place.link)
        failed[contestant.name].append(sum(not each.right for each in readings))
        if contestant.name == "edgeproxy":
            upstream.append((after.carried - before.carried) / LAYER)
            seconds.append(max(each.seconds for each in readings))

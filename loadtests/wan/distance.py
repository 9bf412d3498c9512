"""A link without faults: one client far away, and a crowd behind a narrow link."""

from collections import defaultdict
from pathlib import Path

from loadtests.link.terms import Terms
from loadtests.peers import in_turn
from loadtests.report import Ratio, compared, median
from loadtests.wan.reading import all_right, read_together
from loadtests.wan.site import Site, quiet, site

LAYER = 129_000_000
_PATIENCE = 120.0
_FAR = Terms(delay=0.04, rate=10e6)
_NARROW = Terms(delay=0.02, total=40e6)
_CROWD = 8
_Figures = dict[str, list[float]]


async def alone(directory: Path, rounds: int) -> list[Ratio]:
    """One client, and a registry that gives each connection little."""
    seconds: _Figures = defaultdict(list)
    async with site(directory, _FAR) as place:
        for number in range(rounds):
            image = await place.supply.image(LAYER)
            for contestant in in_turn(place.contestants, number):
                readings = await read_together(contestant.url, image, 1, _PATIENCE)
                all_right(readings, contestant.name)
                seconds[contestant.name].append(readings[0].seconds)
                await quiet(place.link)
    about = "1 client, 129 MB, 80 ms, 10 MB/s a connection:"
    return [
        *(compared(f"{about} times as fast as {peer}", seconds[peer], seconds["edgeproxy"], 4.0) for peer in _peers()),
        *(median(f"{about} seconds, {name}", figures) for name, figures in sorted(seconds.items())),
    ]


async def crowd(directory: Path, rounds: int) -> list[Ratio]:
    """Many clients at once on one cold layer, and one link for all."""
    seconds: _Figures = defaultdict(list)
    first_bytes: _Figures = defaultdict(list)
    upstream: _Figures = defaultdict(list)
    async with site(directory, _NARROW) as place:
        for number in range(rounds):
            await _crowd(place, number, seconds, first_bytes, upstream)
    about = f"{_CROWD} clients, 129 MB, 40 ms, 40 MB/s in all:"
    ratios = []
    for name in ("edgeproxy", *_peers()):
        goal = name == "edgeproxy"
        wall, begin, carried = seconds[name], first_bytes[name], upstream[name]
        ratios += [
            median(f"{about} seconds over those of the link alone, {name}", wall, at_most=1.2 if goal else None),
            median(f"{about} round trips to the last one's first byte, {name}", begin, at_most=3.0 if goal else None),
            median(f"{about} bytes from upstream / bytes of the layer, {name}", carried),
        ]
    return ratios


async def _crowd(place: Site, number: int, seconds: _Figures, first_bytes: _Figures, upstream: _Figures) -> None:
    assert _NARROW.total is not None
    image = await place.supply.image(LAYER)
    for contestant in in_turn(place.contestants, number):
        before = await place.link.counts()
        readings = await read_together(contestant.url, image, _CROWD, _PATIENCE)
        all_right(readings, contestant.name)
        after = await quiet(place.link)
        seconds[contestant.name].append(max(each.seconds for each in readings) / (LAYER / _NARROW.total))
        first_bytes[contestant.name].append(max(each.first_byte for each in readings) / (2 * _NARROW.delay))
        upstream[contestant.name].append((after.carried - before.carried) / LAYER)


def _peers() -> tuple[str, ...]:
    return ("docker-registry", "nginx")

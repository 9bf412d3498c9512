"""The parts of the scenario `wan`, each with an origin and links of its own."""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from loadtests.report import Ratio, Result, table
from loadtests.wan.budget import budget
from loadtests.wan.distance import alone, crowd
from loadtests.wan.trouble import trouble
from loadtests.wan.upstreams import liar, nearer, together

_Part = Callable[[Path, int], Awaitable[list[Ratio]]]
PARTS: dict[str, _Part] = {
    "alone": alone,
    "crowd": crowd,
    "trouble": trouble,
    "nearer": nearer,
    "together": together,
    "liar": liar,
    "budget": budget,
}


async def wan(directory: Path, rounds: int, chosen: Sequence[str] = ()) -> Result:
    """Only the parts that are `chosen`, or all."""
    ratios: list[Ratio] = []
    for name, part in PARTS.items():
        if name in chosen or not chosen:
            ratios += await part(directory / name, rounds)
    return Result("wan", table("wan: behind a link that is long, narrow or unreliable", ratios), ratios)

"""python -m loadtests [hot|logins|cold|catalogue|wan|replicate|siege|days|published|all]"""

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click

from edgeproxy.cli.train import seeds_of
from loadtests.catalogue import catalogue
from loadtests.cold import cold
from loadtests.days.scenario import days
from loadtests.hot import hot
from loadtests.logins import logins
from loadtests.published.scenario import published
from loadtests.replicate import PARTS as REPLICATE_PARTS
from loadtests.replicate import replicate
from loadtests.report import Result
from loadtests.siege import siege
from loadtests.wan.scenario import PARTS as WAN_PARTS
from loadtests.wan.scenario import wan
from tests.parts.processes import missing

_SCENARIOS = ["hot", "logins", "cold", "catalogue", "wan", "replicate", "siege", "days", "published"]
_NEEDED = {
    "hot": ["docker-registry", "nginx", "wrk"],
    "logins": ["docker-registry", "wrk"],
    "cold": ["docker-registry", "nginx", "curl", "skopeo"],
    "wan": ["docker-registry", "nginx"],
    "replicate": ["docker-registry", "skopeo"],
    "siege": ["docker-registry", "nginx", "wrk", "curl"],
}


@click.command()
@click.argument("scenario", type=click.Choice([*_SCENARIOS, "all"]), default="all")
@click.option(
    "--rounds",
    type=click.IntRange(1),
    default=3,
    show_default=True,
    help="How often everything is measured; medians are reported.",
)
@click.option(
    "--seconds",
    type=click.IntRange(1),
    default=4,
    show_default=True,
    help="How long each load of `hot` and `siege` lasts.",
)
@click.option(
    "--part",
    "parts",
    type=click.Choice([*WAN_PARTS, *REPLICATE_PARTS]),
    multiple=True,
    help="Only these parts of `wan` and `replicate`.",
)
@click.option(
    "--seeds",
    default="1-3",
    show_default=True,
    help="Of the made-up sites of `published`: 1-3 or 1,5,9. `days` takes the first.",
)
@click.option("--shifted", is_flag=True, help="For `days`: a site that the shipped model was not made for.")
@click.option(
    "--libcachesim",
    "python",
    default=sys.executable,
    help="For `published`: a Python that has libcachesim; else this one.",
)
@click.option("--json", "file", type=click.Path(path_type=Path), help="Also write the figures here.")
def main(
    scenario: str, rounds: int, seconds: int, parts: tuple[str, ...], seeds: str, shifted: bool, python: str,
    file: Path | None,
) -> None:  # fmt: skip
    """Measure, and print every figure beside its goal."""
    chosen = _SCENARIOS if scenario == "all" else [scenario]
    if absent := missing(*(part for name in chosen for part in _NEEDED.get(name, []))):
        raise click.ClickException(f"not installed: {', '.join(sorted(set(absent)))}; `make parts` installs them")
    results: list[dict[str, object]] = []
    for name in chosen:
        busy = os.getloadavg()[0]
        result = asyncio.run(_measure(name, rounds, seconds, parts, seeds_of(seeds), shifted, python))
        click.echo(f"{result.text}\n  (load average before: {busy:.2f})")
        results.append({**result.document(), "load_average_before": busy})
        if file:
            file.write_text(json.dumps(results, indent=2) + "\n")


async def _measure(
    scenario: str, rounds: int, seconds: int, parts: Sequence[str], seeds: Sequence[int], shifted: bool, python: str
) -> Result:
    with tempfile.TemporaryDirectory(prefix="edgeproxy-bench-") as directory:
        place = Path(directory)
        if scenario == "hot":
            return await hot(place, rounds, seconds)
        if scenario == "logins":
            return await logins(place, rounds, seconds)
        if scenario == "cold":
            return await cold(place, rounds)
        if scenario == "wan":
            return await wan(place, rounds, parts)
        if scenario == "replicate":
            return await replicate(place, rounds, parts)
        if scenario == "siege":
            return await siege(place, rounds, seconds)
        if scenario == "days":
            return await days(place, seeds[0], shifted=shifted)
        if scenario == "published":
            return await published(place, seeds, python)
        return await catalogue(place, rounds)


main()

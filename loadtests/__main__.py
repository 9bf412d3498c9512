"""python -m loadtests [hot|cold|catalogue|all]"""

import asyncio
import json
import tempfile
from pathlib import Path

import click

from loadtests.catalogue import catalogue
from loadtests.cold import cold
from loadtests.hot import hot
from loadtests.report import Result


@click.command()
@click.argument("scenario", type=click.Choice(["hot", "cold", "catalogue", "all"]), default="all")
@click.option("--rounds", default=3, show_default=True, help="How often everything is measured; medians are reported.")
@click.option("--seconds", default=4, show_default=True, help="How long each load of `hot` lasts.")
@click.option("--json", "file", type=click.Path(path_type=Path), help="Also write the figures here.")
def main(scenario: str, rounds: int, seconds: int, file: Path | None) -> None:
    """Measure, and print every figure beside its goal."""
    results = asyncio.run(_measure(scenario, rounds, seconds))
    if file:
        file.write_text(json.dumps([result.document() for result in results], indent=2) + "\n")


async def _measure(scenario: str, rounds: int, seconds: int) -> list[Result]:
    results = []
    chosen = ["hot", "cold", "catalogue"] if scenario == "all" else [scenario]
    for name in chosen:
        with tempfile.TemporaryDirectory(prefix="edgeproxy-bench-") as directory:
            place = Path(directory)
            if name == "hot":
                result = await hot(place, rounds, seconds)
            elif name == "cold":
                result = await cold(place, rounds)
            else:
                result = await catalogue(place)
        click.echo(result.text)
        results.append(result)
    return results


main()

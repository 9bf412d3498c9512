"""edgeproxy train"""

import os
from functools import partial
from pathlib import Path

import click

from edgeproxy.cli.client import json_option, print_json
from edgeproxy.cli.words import sized
from edgeproxy.predict.model import Model
from edgeproxy.predict.shipped import shipped
from edgeproxy.predict.train import Lesson, TooLittle, harvested, learn
from edgeproxy.predict.trial import Trial, trial
from edgeproxy.replay.site import Site
from edgeproxy.store import record
from edgeproxy.units import parse_size


@click.command()
@click.argument("records", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("--generate", "seeds", metavar="SEEDS", help="Made-up sites to learn from, too: 1-4 or 1,5,9.")
@click.option(
    "--days", type=click.FloatRange(6.0, 366.0), default=28.0, show_default=True, help="Of each made-up site."
)
@click.option("--services", type=click.IntRange(1, 10000), default=600, show_default=True, help="Of each made-up site.")
@click.option("--nice", type=click.IntRange(0, 19), default=0, help="Leave the processor to others.")
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The model's file."
)
@click.option(
    "--than",
    metavar="FILE",
    help="Only if it would not have missed more bytes than this model, of what has come since that was fitted; "
    "`shipped` is the one that comes with edgeproxy.",
)
@click.option("--size", default="10GB", show_default=True, help="Of the cache, for --than.")
@json_option
def train(
    records: tuple[Path, ...], seeds: str | None, days: float, services: int, nice: int, output: Path,
    than: str | None, size: str, as_json: bool,
) -> None:  # fmt: skip
    """Fit a model of what is asked for again, to access RECORDS: DIR/record of a data directory, or exported files.

    The same records and seeds give the same file, bit for bit.
    """
    if not records and not seeds:
        raise click.UsageError("name an access record, as in /var/lib/edgeproxy/record, or use --generate")
    os.nice(nice)
    lessons = [Lesson(str(path), partial(record.read, [path])) for path in records]
    lessons += [Lesson(f"site {seed}", Site(seed, days, services).happenings) for seed in seeds_of(seeds or "")]
    try:
        if than is None:
            model = learn([harvested(lesson) for lesson in lessons])
        else:
            other = Model.load(Path(than).read_bytes()) if than != "shipped" else shipped()
            tried = [_tried(lesson, other, parse_size(size)) for lesson in lessons]
            model = learn([each.harvest for each in tried], tried[0].begun if len(tried) == 1 else None)
    except (TooLittle, ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error
    aside = output.with_name(f".{output.name}.new")
    aside.write_bytes(model.dump())
    aside.replace(output)
    if as_json:
        return print_json(
            {"file": str(output), "horizons": model.horizons, "gain": model.about["gain"], "rows": model.about["rows"]}
        )
    for horizon, loss in zip(model.horizons, model.about["gain"], strict=True):
        click.echo(f"within {horizon / 3600:g} h: {loss:.1%} less uncertain than by how often alone")
    click.echo(f"{output}: {model.about['rows']} rows of {model.about['happenings']} happenings")
    return None


def _tried(lesson: Lesson, other: Model, budget: int) -> Trial:
    """Raises ValueError where a model of this is worse than the other one."""
    found = trial(lesson, other, budget)
    if found.own > found.other:
        own, its = sized(found.own), sized(found.other)
        raise ValueError(f"the model in use is better: since then it misses {its}, not {own}")
    return found


def seeds_of(text: str) -> list[int]:
    """Raises a usage error, which is exit code 2."""
    found: list[int] = []
    for part in filter(None, text.split(",")):
        first, dash, last = part.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise click.BadParameter(
                f"{part!r} is no number and no range of numbers: say 1-4 or 1,5,9", param_hint="--generate"
            )
        found += range(int(first), int(last or first) + 1)
    if text and not 1 <= len(found) <= 64:
        raise click.BadParameter("one to 64 sites", param_hint="--generate")
    return found

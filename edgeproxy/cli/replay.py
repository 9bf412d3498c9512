"""edgeproxy replay"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from math import inf
from pathlib import Path

import click
from rich.console import Console

from edgeproxy.cli.client import print_json
from edgeproxy.cli.tables import print_table
from edgeproxy.cli.train import seeds_of
from edgeproxy.cli.words import lasting
from edgeproxy.predict.model import Model
from edgeproxy.predict.shipped import shipped
from edgeproxy.replay.plots import NoPlots, plot
from edgeproxy.replay.registry import Published
from edgeproxy.replay.requests import Trace, trace
from edgeproxy.replay.simulate import POLICIES, Line, compulsory, missed
from edgeproxy.replay.site import Site
from edgeproxy.replay.spread import spread
from edgeproxy.replay.tags import FIXED, Asked, fixed, learned
from edgeproxy.replay.tally import Missed
from edgeproxy.replay.trace import happenings
from edgeproxy.replay.unused import FIXED as FOR
from edgeproxy.replay.unused import Stayed
from edgeproxy.replay.unused import fixed as for_seconds
from edgeproxy.replay.unused import learned as as_learned
from edgeproxy.units import parse_duration, parse_rate, parse_size

_STALE = (0.001, 0.003, 0.01, 0.03)
"""Shares of answers that may be stale, of tags that are kept fresh as long as that allows."""
_LATE = (0.001, 0.003, 0.01)
"""Shares of requests for manifests that may come for what was let go."""
_CURVE = ("1%", "2%", "5%", "10%", "20%", "50%")
_FIRST_TIME = "first time"
"""What nobody can avoid to miss: where a policy would stand."""
_Results = dict[tuple[str, str], list[Missed]]


@click.command()
@click.argument("traces", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("--generate", "seeds", metavar="SEEDS", help="Made-up sites, too: 1-10 or 1,5,9.")
@click.option("--shifted", is_flag=True, help="Made-up sites of another kind than the shipped model was fitted to.")
@click.option(
    "--days", type=click.FloatRange(2.0, 366.0), default=28.0, show_default=True, help="Of each made-up site."
)
@click.option("--size", "sizes", multiple=True, help="Of the cache: 500GB, or 10% of all there is; may be repeated.")
@click.option("--curve", is_flag=True, help="Sizes from 1% to 50%.")
@click.option("--policy", "policies", multiple=True, type=click.Choice(POLICIES), help="May be repeated; else all.")
@click.option(
    "--model", type=click.Path(exists=True, path_type=Path), help="For the learned policy; else the shipped one."
)
@click.option("--link", default="12.5MB", show_default=True, help="Of the line to upstream: bytes a second.")
@click.option("--delay", default="50ms", show_default=True, help="Of the line to upstream.")
@click.option(
    "--plot",
    "picture",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Draw what is missed: FILE.svg, FILE.png.",
)
@click.option("--tags", is_flag=True, help="Instead, how often upstream would have been asked what tags name.")
@click.option("--unused", is_flag=True, help="Instead, what would be held by how long images stay unused, given room.")
@click.option("--warm", default="7d", show_default=True, help="Time at the beginning that does not count.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def replay(
    traces: Sequence[Path], seeds: str | None, shifted: bool, days: float, sizes: Sequence[str], curve: bool,
    policies: Sequence[str], model: Path | None, link: str, delay: str, picture: Path | None, tags: bool, unused: bool,
    warm: str, as_json: bool,
) -> None:  # fmt: skip
    """What caches of some sizes would have missed, policy by policy.

    TRACES: an access record (the directory `record` of the data directory, or files of it), or a text of
    `time id size` lines. Of several, the mean and its 95 % interval.

    `foreseeing` is the learned policy that also brings ahead what it takes for likely.
    """
    if not traces and not seeds:
        raise click.UsageError("name an access record, as in /var/lib/edgeproxy/record, or use --generate")
    if tags:
        return _replay_tags(_all(traces, seeds, shifted, days, _seconds(warm)), as_json)
    if unused:
        return _replay_unused(_all(traces, seeds, shifted, days, _seconds(warm)), as_json)
    chosen = sizes or (_CURVE if curve else ("5%", "10%"))
    results: _Results = defaultdict(list)
    try:
        judge = Model.load(model.read_bytes()) if model else shipped()
        line = Line(parse_rate(link), parse_duration(delay))
        for each in _all(traces, seeds, shifted, days, parse_duration(warm)):
            _replay(each, chosen, policies or POLICIES, judge, line, results)
        if picture is not None:
            plot(picture, results)
    except (ValueError, NoPlots) as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        return print_json([_document(size, policy, some) for (size, policy), some in results.items()])
    _print(results)
    return None


def _print(results: _Results) -> None:
    _table("", ("size", "policy", "requests missed", "bytes missed", "images not whole", "bytes, to lru's"), [
        (*about, *_missed(some), _against(results, about[0], some)) for about, some in results.items()
    ])  # fmt: skip
    _table(
        "What pulls waited for",
        ("size", "policy", "came late", "95 % wait at most", "99 %", "new ones here", "95 % of these wait"),
        [(*about, *_waited(some)) for about, some in results.items() if about[1] != _FIRST_TIME],
    )
    ahead = [(size, *_brought(some)) for (size, policy), some in results.items() if policy == "foreseeing"]
    if ahead:
        columns = ("size", "brought ahead", "asked for", "in vain", "all from upstream")
        _table("Of the bytes asked for, foreseeing", columns, ahead)


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    print_table(Console(), title, columns, rows)


def _seconds(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise click.ClickException(str(error)) from error


def _replay_tags(traces: Iterable[Trace], as_json: bool) -> None:
    """By how tags are kept fresh: revalidations a thousand requests, and stale ones of a thousand answers."""
    results: dict[str, list[Asked]] = defaultdict(list)
    try:
        for each in traces:
            for seconds in FIXED:
                results[f"fresh for {lasting(seconds)}"].append(fixed(each.happenings, each.counts_from, seconds))
            for stale in _STALE:
                results[f"learned, {stale:.1%} stale"].append(learned(each.happenings, each.counts_from, stale))
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        return print_json([{"policy": name, **_columns(some)} for name, some in results.items()])
    rows = [
        (name, spread([one.revalidations / max(1, one.requests) for one in some]), spread([one.stale for one in some]))
        for name, some in results.items()
    ]
    print_table(Console(), "", ("tags are", "upstream asked again", "stale answers"), rows)
    return None


def _replay_unused(traces: Iterable[Trace], as_json: bool) -> None:
    results: dict[str, list[Stayed]] = defaultdict(list)
    try:
        for each in traces:
            for seconds in FOR:
                results[f"for {lasting(seconds)}"].append(for_seconds(each, seconds))
            for late in _LATE:
                results[f"learned, {late:.1%} late"].append(as_learned(each, late))
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        return print_json([{"policy": name, **_columns(some)} for name, some in results.items()])
    columns = ("unused images stay", "bytes held", "requests too late", "bytes too late")
    rows = [(name, *(spread(list(values)) for values in zip(*some, strict=True))) for name, some in results.items()]
    print_table(Console(), "", columns, rows)
    return None


def _columns(some: Sequence[Asked] | Sequence[Stayed]) -> dict[str, object]:
    return {field: [getattr(one, field) for one in some] for field in some[0]._fields}


def _all(traces: Sequence[Path], seeds: str | None, shifted: bool, days: float, warm: float) -> Iterator[Trace]:
    for path in traces:
        yield trace(happenings(path), warm)
    for seed in seeds_of(seeds or ""):
        site, published = Site(seed, days), list[Published]()
        yield trace((site.shifted() if shifted else site).happenings(published), warm, published)


def _replay(
    each: Trace, sizes: Sequence[str], policies: Sequence[str], model: Model, line: Line, results: _Results
) -> None:
    for size in sizes:
        budget = int(each.footprint * float(size[:-1]) / 100) if size.endswith("%") else parse_size(size)
        for policy in policies:
            results[size, policy].append(missed(each, policy, budget, model, line))
        results[size, _FIRST_TIME].append(compulsory(each))


def _document(size: str, policy: str, some: Sequence[Missed]) -> dict[str, object]:
    return {"size": size, "policy": policy, **{name: [getattr(one, name) for one in some] for name in Missed._fields}}


def _missed(some: Sequence[Missed]) -> tuple[str, ...]:
    return tuple(spread([getattr(one, name) for one in some]) for name in ("requests", "bytes", "images"))


def _waited(some: Sequence[Missed]) -> tuple[str, ...]:
    return (
        spread([one.delayed for one in some]),
        spread([one.waits[1] for one in some], " s"),
        spread([one.waits[2] for one in some], " s"),
        spread([one.firsts for one in some]),
        spread([one.firsts_wait for one in some], " s"),
    )


def _brought(some: Sequence[Missed]) -> tuple[str, ...]:
    return (
        spread([one.ahead for one in some]),
        spread([one.ahead * one.used for one in some]),
        spread([one.ahead * (1.0 - one.used) for one in some]),
        spread([one.upstream for one in some]),
    )


def _against(results: _Results, size: str, some: Sequence[Missed]) -> str:
    usual = results.get((size, "lru"), [])
    return spread([_ratio(one.upstream, lru.upstream) for one, lru in zip(some, usual, strict=True)]) if usual else ""


def _ratio(ours: float, usual: float) -> float:
    """Where all fits, nobody misses anything."""
    return ours / usual if usual else 1.0 if not ours else inf

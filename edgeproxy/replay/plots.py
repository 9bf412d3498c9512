"""Miss-ratio curves: what a cache of each size would have missed, drawn by matplotlib where that is installed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from edgeproxy.replay.tally import Missed

_WHAT = (("bytes", "share of bytes from upstream"), ("requests", "share of requests missed"))


class NoPlots(Exception):
    """Nothing can be drawn here."""


def plot(file: Path, results: Mapping[tuple[str, str], Sequence[Missed]]) -> None:
    """One picture by the file's ending, `svg` or `png`: a curve for each policy over the sizes, of bytes and requests.

    `results` by size and policy, the sizes in their order. Raises `NoPlots` that says what is wanting.
    """
    if file.suffix not in (".svg", ".png"):
        raise NoPlots(f"{file.name}: a picture is called FILE.svg or FILE.png")
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise NoPlots("nothing can be drawn without matplotlib: pip install 'edgeproxy[plots]'") from error
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    for axes, (field, title) in zip(figure.subplots(1, 2), _WHAT, strict=True):
        _draw(axes, results, "upstream" if field == "bytes" else field)
        axes.set_title(title)
    figure.savefig(file)


def _draw(axes: Any, results: Mapping[tuple[str, str], Sequence[Missed]], field: str) -> None:
    sizes = list(dict.fromkeys(size for size, _ in results))
    for policy in dict.fromkeys(policy for _, policy in results):
        shares = [mean(getattr(one, field) for one in results[size, policy]) for size in sizes]
        ours = policy in ("learned", "foreseeing")
        axes.plot(range(len(sizes)), shares, marker="o", linewidth=2.5 if ours else 1.0, label=policy)
    axes.set_xticks(range(len(sizes)), sizes)
    axes.set_xlabel("size of the cache")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend()

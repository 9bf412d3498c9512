"""Figures against their goals, as text and as JSON."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field


@dataclass(frozen=True)
class Ratio:
    """One figure; the goals it is held against, where there are any, and what each round said."""

    name: str
    value: float
    at_least: float | None = None
    at_most: float | None = None
    rounds: Sequence[float] = ()

    @property
    def met(self) -> bool:
        above = self.at_least is None or self.value >= self.at_least
        return above and (self.at_most is None or self.value <= self.at_most)

    def line(self) -> str:
        goal = f">= {self.at_least:g}" if self.at_least is not None else ""
        goal = f"<= {self.at_most:g}" if self.at_most is not None else goal
        mark = "" if not goal else "met" if self.met else "MISSED"
        spread = f"{min(self.rounds):.2f} .. {max(self.rounds):.2f}" if len(self.rounds) > 1 else ""
        return f"  {self.value:10.3f}  {goal:9}{mark:7} {spread:19} {self.name}"


def compared(
    name: str,
    ours: Sequence[float],
    theirs: Sequence[float],
    at_least: float | None = None,
    at_most: float | None = None,
) -> Ratio:
    """The median of the rounds' ratios: what drifts from round to round does so for both."""
    rounds = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    return Ratio(name, statistics.median(rounds), at_least, at_most, rounds)


def median(name: str, rounds: Sequence[float], at_least: float | None = None, at_most: float | None = None) -> Ratio:
    """A figure of its own, over nobody's."""
    return Ratio(name, statistics.median(rounds), at_least, at_most, rounds)


@dataclass(frozen=True)
class Result:
    scenario: str
    text: str
    ratios: Sequence[Ratio]
    more: dict[str, object] = field(default_factory=dict)

    def document(self) -> dict[str, object]:
        ratios = [{**asdict(ratio), "met": ratio.met} for ratio in self.ratios]
        return {"scenario": self.scenario, "ratios": ratios, **self.more}


def table(title: str, ratios: Sequence[Ratio]) -> str:
    return "\n".join([title, *(ratio.line() for ratio in ratios)])

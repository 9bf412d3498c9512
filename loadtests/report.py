"""Figures against their goals, as text and as JSON."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field


@dataclass(frozen=True)
class Ratio:
    """One figure; the goals it is held against, where there are any."""

    name: str
    value: float
    at_least: float | None = None
    at_most: float | None = None

    @property
    def met(self) -> bool:
        above = self.at_least is None or self.value >= self.at_least
        return above and (self.at_most is None or self.value <= self.at_most)

    def line(self) -> str:
        goal = f">= {self.at_least:g}" if self.at_least is not None else ""
        goal = f"<= {self.at_most:g}" if self.at_most is not None else goal
        mark = "" if not goal else "met" if self.met else "MISSED"
        return f"  {self.value:10.3f}  {goal:9}{mark:7} {self.name}"


@dataclass(frozen=True)
class Result:
    scenario: str
    text: str
    ratios: Sequence[Ratio]
    more: dict[str, float] = field(default_factory=dict)

    def document(self) -> dict[str, object]:
        return {"scenario": self.scenario, "ratios": [asdict(ratio) for ratio in self.ratios], **self.more}


def table(title: str, ratios: Sequence[Ratio]) -> str:
    return "\n".join([title, *(ratio.line() for ratio in ratios)])

"""A model from a record: rows of what was known at moments past, and what was asked for again after them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgeproxy.interfaces import Access, Happening
from edgeproxy.predict.features import NAMES, Rows, rows
from edgeproxy.predict.forest import Trees
from edgeproxy.predict.ledger import Ledger
from edgeproxy.predict.model import Model
from edgeproxy.predict.table import Slots, stamp

HORIZONS = (1.5 * 3600.0, 6 * 3600.0, 24 * 3600.0, 72 * 3600.0, 192 * 3600.0)
"""Seconds. How long a cache can keep something that is not asked for lies between them."""
_LEAST_HORIZONS = 4
"""A record that is not twice as long as all of them is fitted to so many."""
SETTINGS = {
    "max_iter": 25, "learning_rate": 0.25, "max_leaf_nodes": 31, "min_samples_leaf": 40, "l2_regularization": 1.0,
    "early_stopping": False, "random_state": 0,
}  # fmt: skip
_EVERY = 600.0
_EACH = 24
_RECENT = 6 * 3600.0
_FEWEST = 500
"""Rows, to fit on and to judge by."""


class Harvest:
    """Collects rows while a record passes: every ten minutes those of some objects, as an eviction would see them."""

    def __init__(self, ledger: Ledger, name: str = "", seed: int = 0, horizon: float = HORIZONS[-1]) -> None:
        self.name = name
        """Of the record."""
        self.happenings = 0
        self._ledger = ledger
        self._chance = np.random.default_rng(seed)
        self._horizon = horizon
        self._next: float | None = None
        self._rows: list[Rows] = []
        self._times: list[float] = []
        self._after: list[float] = []
        """Seconds from the row to the next request; infinite where there has been none yet."""
        self._open: dict[int, list[int]] = {}
        self._first: float | None = None
        self._now = 0.0

    @property
    def until(self) -> float:
        """When the last happening was."""
        return self._now

    @property
    def span(self) -> float:
        """Seconds from the first happening to the last."""
        return self._now - (self._now if self._first is None else self._first)

    def observe(self, happening: Happening) -> None:
        """In the order of time."""
        self._now = now = happening.time
        self.happenings += 1
        if self._next is None:
            self._first, self._next = now, now + _EVERY
        if now >= self._next:
            self._next = now + _EVERY
            self._sample(now)
        slot = self._ledger.observe(happening)
        if slot in self._open and isinstance(happening, Access) and happening.method == "GET":
            for index in self._open.pop(slot):
                self._after[index] = now - self._times[index]

    def _sample(self, now: float) -> None:
        slots = self._choose(now)
        if not len(slots):
            return
        self._rows.append(rows(self._ledger, slots, now))
        for slot in slots.tolist():
            self._open.setdefault(slot, []).append(len(self._times))
            self._times.append(now)
            self._after.append(np.inf)

    def _choose(self, now: float) -> Slots:
        last = self._ledger.objects.whole("last")
        used = np.flatnonzero(last > stamp(now - 3 * self._horizon))
        recent = used[last[used] > stamp(now - _RECENT)]
        picks = [self._chance.choice(some, min(_EACH // 2, len(some)), replace=False) for some in (used, recent)]
        return np.unique(np.concatenate(picks)).astype(np.intp)

    def matured(self, horizon: float) -> tuple[Rows, NDArray[np.float64], NDArray[np.float64]]:
        """Rows whose future is known as far as that: the rows, seconds to the next request, times."""
        times, after = np.array(self._times), np.array(self._after)
        if not len(times):
            return np.zeros((0, len(NAMES)), np.float32), after, times
        ripe = times <= self._now - horizon
        return np.concatenate(self._rows)[ripe], after[ripe], times[ripe]


def fit(
    table: Rows, after: NDArray[np.float64], about: Mapping[str, Any], horizons: tuple[float, ...] = HORIZONS
) -> Model:
    """Trees for each horizon. The same rows give the same model, bit for bit, on one machine."""
    fitted = [_classifier(table, after <= horizon) for horizon in horizons]
    columns: list[list[Any]] = [[] for _ in Trees._fields]
    for output, (_, predictors) in enumerate(fitted):
        for column, alone in zip(columns, ([output], [1], [-1], [0.0], [0], [0], [0.0]), strict=True):
            column += [alone] if not predictors else []
        for nodes in predictors:
            leaf = nodes["is_leaf"].astype(bool)
            columns[0].append([output])
            columns[1].append([len(nodes)])
            columns[2].append(np.where(leaf, -1, nodes["feature_idx"].astype(np.int64)))
            columns[3].append(np.where(leaf, 0.0, nodes["num_threshold"]))
            columns[4].append(np.where(leaf, 0, nodes["left"]))
            columns[5].append(np.where(leaf, 0, nodes["right"]))
            columns[6].append(np.where(leaf, nodes["value"], 0.0))
    trees = Trees(*(np.concatenate(column) for column in columns))
    return Model(horizons, np.array([baseline for baseline, _ in fitted]), trees, about)


def _classifier(table: Rows, again: NDArray[np.bool_]) -> tuple[float, list[Any]]:
    """The baseline, and the nodes of each tree."""
    from sklearn.ensemble import HistGradientBoostingClassifier  # slow to import, and only needed here
    from threadpoolctl import threadpool_limits

    if again.all() or not again.any():
        return (8.0 if again.any() else -8.0), []
    boosted = HistGradientBoostingClassifier(**SETTINGS)
    with threadpool_limits(1):  # sums in another order would be another model; so few rows take no less time by two
        boosted.fit(table, again)
    return float(boosted._baseline_prediction.ravel()[0]), [one.nodes for (one,) in boosted._predictors]


class TooLittle(Exception):
    """What there is to learn from does not make a model."""


class Lesson(NamedTuple):
    """A record of one site."""

    name: str
    happenings: Callable[[], Iterable[Happening]]
    """In the order of time."""


def harvested(lesson: Lesson) -> Harvest:
    """All of a record. Raises what reading it does."""
    harvest = Harvest(Ledger(), lesson.name)
    for happening in lesson.happenings():
        harvest.observe(happening)
    return harvest


class Early(NamedTuple):
    """A model of the beginning of a record."""

    model: Model
    rows: int
    """That it was fitted on: the first."""


def early(harvest: Harvest) -> Early:
    """Of what there is so far. Raises `TooLittle`."""
    horizons = _horizons(harvest.span)
    table, after, _ = harvest.matured(horizons[-1])
    if len(table) < _FEWEST:
        raise _too_little(len(table), horizons)
    return Early(fit(table, after, {}, horizons), len(table))


def learn(harvests: Sequence[Harvest], begun: Early | None = None) -> Model:
    """One model from the records of several sites. Raises `TooLittle`.

    How well it does is found out by `begun`, a model of the beginning of the only record, on the rest of that; else by
    one of the earlier four fifths of each.
    """
    horizons = _horizons(min((harvest.span for harvest in harvests), default=0.0))
    found = [_matured(harvest, horizons[-1]) for harvest in harvests]
    table, after, late = (np.concatenate([one[part] for one in found]) for part in range(3))
    if begun is not None and (begun.model.horizons != horizons or len(table) - begun.rows < _FEWEST):
        begun = None
    if begun is not None:
        late = np.arange(len(table)) >= begun.rows
    if late.sum() < _FEWEST or len(late) - late.sum() < _FEWEST:
        raise _too_little(len(late), horizons)
    other = begun.model if begun is not None else fit(table[~late], after[~late], {}, horizons)
    about = {
        "sites": [harvest.name for harvest in harvests],
        "happenings": sum(harvest.happenings for harvest in harvests),
        "rows": len(table),
        "until": max(harvest.until for harvest in harvests),
        "gain": _gain(other, table[late], after[late]),
        "ordinary": [float(middle) for middle in np.median(table, axis=0)],
    }
    return fit(table, after, about, horizons)


def _too_little(rows: int, horizons: tuple[float, ...]) -> TooLittle:
    days = horizons[-1] / 86400
    return TooLittle(f"{rows} rows are too few: what is recorded counts when {days:g} days have passed after it")


def _horizons(span: float) -> tuple[float, ...]:
    """What a record of that many seconds tells enough about."""
    return tuple(each for place, each in enumerate(HORIZONS) if place < _LEAST_HORIZONS or each <= span / 2)


def _matured(harvest: Harvest, horizon: float) -> tuple[Rows, NDArray[np.float64], NDArray[np.bool_]]:
    """Rows, seconds to the next request, and whether they are of the last fifth."""
    table, after, times = harvest.matured(horizon)
    return table, after, times > np.quantile(times, 0.8) if len(times) else np.zeros(0, np.bool_)


def _gain(model: Model, table: Rows, after: NDArray[np.float64]) -> list[float]:
    """By horizon, the share of the uncertainty (log loss) that the model takes away."""
    chances = np.clip(model.chances(table), 1e-9, 1 - 1e-9)
    gains = []
    for place, horizon in enumerate(model.horizons):
        again: NDArray[np.bool_] = after <= horizon
        known, usual = chances[:, place], float(np.clip(again.mean(), 1e-9, 1 - 1e-9))
        ours = np.log(np.where(again, known, 1.0 - known)).sum()
        plain = np.log(np.where(again, usual, 1.0 - usual)).sum()
        gains.append(round(float(1.0 - ours / plain), 4))
    return gains

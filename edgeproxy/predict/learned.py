"""The learned policy: what the model wants kept, as long as that is not worse than what others would keep.

Four caches run in the shadow of the real one: the model's, LRU, S3-FIFO and GDSF. Whichever has missed the fewest bytes
lately governs: where that is the model's, blobs leave in the order of its verdicts, else what the governing shadow
holds stays. A model that was worse over a day does not govern until it was better over another (`proof`).
"""

from collections.abc import Mapping, Sequence
from math import inf
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgeproxy.foreseen import Look, Wish
from edgeproxy.interfaces import Access, Happening, Held
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.manifest import Descriptor
from edgeproxy.oci.reference import Tag
from edgeproxy.predict.ahead import BUDGET as WASTE
from edgeproxy.predict.calibration import Calibration
from edgeproxy.predict.council import MODEL, Council
from edgeproxy.predict.features import NAMES, counted, rows
from edgeproxy.predict.fixed import FixedPolicy
from edgeproxy.predict.foresight import Foresight
from edgeproxy.predict.freshness import BUDGET, Freshness
from edgeproxy.predict.ledger import Ledger, key_of, keys_of
from edgeproxy.predict.model import Model
from edgeproxy.predict.retention import Retention
from edgeproxy.predict.shadow import Gdsf, Lru, S3Fifo
from edgeproxy.predict.shelf import Shelf
from edgeproxy.predict.table import ORIGIN, Slots
from edgeproxy.predict.tuning import Tuning
from edgeproxy.predict.verdicts import Verdicts, saved_per_byte

REQUEST = 1 << 20
"""Bytes of an answer that a request upstream costs as much as."""
_SOON = 3600.0
"""Seconds in which what was brought ahead is asked for, about."""


class Standing(NamedTuple):
    """How the policy does; for metrics and the operator."""

    governs: str
    """`model`, `lru`, `s3fifo` or `gdsf`; `fixed` before anything was observed."""
    misses: Mapping[str, float]
    """By shadow, the share of requested bytes that it missed lately."""
    exponent: float
    """Of what a hit saves per byte, as the model's worths have it; 1 without a model."""
    known: int
    """Objects in the ledger."""
    suspended: bool
    """Whether the model was worse over a day, and has not been better over one since: it does not govern."""
    suspended_at: float
    """When that last began; infinitely long ago where it never did."""


class Contribution(NamedTuple):
    feature: str
    value: float
    """As it is in the row: see `features.NAMES`."""
    weight: float
    """What it adds to the log-odds of being asked for again, against the object that the feature is ordinary for."""


class Explanation(NamedTuple):
    worth: float
    """What eviction ranks by: the lowest goes first."""
    chances: Mapping[float, float]
    """By horizon in seconds, how likely it is asked for again within it; empty without a model."""
    contributions: Sequence[Contribution]
    """The largest first."""
    governs: str
    clients: int
    """About how many have asked for it."""


class LearnedPolicy:
    """Implements `interfaces.Policy` and `foreseen.Foresight`. Told of all happenings as time goes, by `observe`."""

    def __init__(
        self,
        fixed: FixedPolicy,
        model: Model | None,
        budget: int,
        *,
        request: int = REQUEST,
        limit: int = 400_000,
        stale: float = BUDGET,
        waste: float = WASTE,
        late: float = 0.0,
    ) -> None:
        """For a cache of `budget` bytes, where a request upstream costs as much as `request` bytes of its answer do.

        `stale`: the share of answers that may be, of those to requests that name a tag.
        `waste`: the share of incoming bytes that may be brought ahead in vain; 0 is to bring nothing.
        `late`: the share of requests for manifests that may come after those were let go; 0 is to let nothing go.

        Without a model the shadows alone decide, and before anything was observed `fixed` does.
        """
        self._fixed = fixed
        self._request = request
        self._budget = budget
        self.ledger = Ledger(limit)
        self.freshness = Freshness(stale)
        self.retention = Retention(late)
        self.calibration = Calibration(self.ledger)
        self.foresight = Foresight(self.ledger, waste)
        self._council = Council({"lru": Lru, "s3fifo": S3Fifo, "gdsf": Gdsf}, budget)
        self._verdicts: Verdicts | None = None
        self._tuning: Tuning | None = None
        self._until = float("-inf")
        """When the last happening was that is known of."""
        self.adopt(model)

    @property
    def _exponent(self) -> float:
        return self._verdicts.exponent if self._verdicts else 1.0

    @property
    def model(self) -> Model | None:
        return self._verdicts.model if self._verdicts else None

    def adopt(self, model: Model | None) -> None:
        """Judge by this model from now on. It governs at once where there was none before; in the place of one that
        is suspended it has to be better over a day first."""
        if model is None:
            self._verdicts = self._tuning = None
            self._council.dismiss()
            return
        if self._verdicts is not None:
            self._verdicts.adopt(model)
            self._council.proof.restart()
            return
        verdicts = self._verdicts = Verdicts(self.ledger, model, self._request)
        self._tuning = Tuning(self._budget, self.ledger, verdicts)
        self._council.admit(lambda budget: Shelf(budget, self.ledger, verdicts))

    def observe(self, happening: Happening) -> None:
        self._until = happening.time
        self.freshness.observe(happening)
        self.retention.observe(happening)
        slot = self.ledger.observe(happening)
        self.foresight.observe(happening, slot)
        if self._verdicts is not None:
            self.calibration.observe(self._verdicts.model, happening.time)
        if slot >= 0 and isinstance(happening, Access) and happening.method == "GET" and happening.digest is not None:
            size = happening.size or int(self.ledger.objects.columns["size"][slot])
            if self._verdicts is not None:
                self._verdicts.asked += 1
            key = self.ledger.objects.keys[slot]
            self._council.request(key, size, happening.time)
            if self._tuning is not None:
                self._tuning.request(key, size, happening.time)

    def ttl(self, tag: Tag, now: float) -> float:
        return self.freshness.ttl(tag)

    def due(self, now: float, most: int) -> Sequence[Look]:
        return self.foresight.due(now, most)

    def wishes(self, now: float) -> list[Wish]:
        return self.foresight.wishes(now, self.model)

    def choose(self, wish: Wish, lacking: Sequence[Descriptor], now: float) -> Sequence[Descriptor]:
        return self.foresight.choose(wish, lacking, now)

    def brought(self, blob: Descriptor, wish: Wish, now: float) -> None:
        self.ledger.expect(blob.digest, blob.size, now)
        self.foresight.ahead.brought(key_of(blob.digest), blob.size, wish, now)

    @property
    def singly(self) -> bool:
        """Before anything was observed all is as without a model."""
        return self._council.observed

    def worths(self, held: Sequence[Held], now: float) -> list[float]:
        """For each blob by itself, how much it is worth per byte: the lowest goes first. Of some thousands at once.

        What was stored after all that was observed is not judged before it is: it is worth more than all else.
        """
        if not self._council.observed:
            return [self._fixed.worth(blob, now) for blob in held]
        observed = [blob for blob in held if blob.stored <= self._until]
        if len(observed) == len(held):
            worths: list[float] = self._judged(held, now).tolist()
            return worths
        judged = iter(self._judged(observed, now).tolist())
        return [next(judged) if blob.stored <= self._until else inf for blob in held]

    def _judged(self, held: Sequence[Held], now: float) -> NDArray[np.float64]:
        keys = keys_of([blob.digest for blob in held])
        slots = self.ledger.objects.find_all(keys)
        for place in np.flatnonzero(slots < 0).tolist():
            slots[place] = self.ledger.adopt(held[place])
        if self._council.governs == MODEL and self._verdicts is not None:
            worth = self._verdicts.worths(slots, now, self._until)
        else:
            holds = self._council.governing(lambda: _by_use(held), now).holds
            since = np.maximum(0.0, now + ORIGIN - self.ledger.objects.get("last", slots))
            worth = np.array([holds(key) for key in keys.tolist()], np.float64) + 1.0 / (1.0 + since)
        self._keep_for_those_to_come(slots, worth, now)
        return worth

    def _keep_for_those_to_come(self, slots: Slots, worth: NDArray[np.float64], now: float) -> None:
        """What was brought ahead is worth what it was brought for."""
        ahead, objects = self.foresight.ahead, self.ledger.objects
        awaited = objects.find_all(np.fromiter(ahead.awaited, np.int64, len(ahead.awaited)))
        places = np.flatnonzero(np.isin(slots, awaited))
        saved = saved_per_byte(objects.get("size", slots[places]), self._request, self._exponent)
        chances = [ahead.chance(objects.keys[slot], now) for slot in slots[places].tolist()]
        worth[places] = np.maximum(worth[places], np.array(chances) / _SOON * saved)

    def standing(self) -> Standing:
        governs = self._council.governs if self._council.observed else "fixed"
        proof = self._council.proof
        known = len(self.ledger.objects)
        misses = self._council.misses()
        return Standing(governs, misses, self._exponent, known, proof.suspended, proof.suspended_at)

    def explain(self, digest: Digest, now: float) -> Explanation | None:
        """Why it stays or goes; `None` where nothing is known of it."""
        slot = self.ledger.find(digest)
        if slot < 0:
            return None
        slots = np.array([slot], np.intp)
        governs = self.standing().governs
        if self._verdicts is None:
            return Explanation(0.0, {}, [], governs, self._clients(slots))
        worth = float(self._verdicts.worths(slots, now, self._until)[0])
        chances, weights = self._verdicts.model.explain(rows(self.ledger, slots, now)[0])
        values = rows(self.ledger, slots, now)[0]
        found = [Contribution(name, float(values[place]), float(weights[place])) for place, name in enumerate(NAMES)]
        found.sort(key=lambda one: -abs(one.weight))
        rising = np.maximum.accumulate(chances)  # each is fitted by itself
        by_horizon = dict(zip(self._verdicts.model.horizons, rising.tolist(), strict=True))
        return Explanation(worth, by_horizon, [one for one in found if one.weight], governs, self._clients(slots))

    def _clients(self, slots: Slots) -> int:
        return round(float(np.exp2(counted(self.ledger.objects.bits("crowd", slots)))[0]) - 1.0)


def _by_use(held: Sequence[Held]) -> list[tuple[int, int]]:
    """Keys and sizes, the least lately used first."""
    return [(key_of(blob.digest), blob.size) for blob in sorted(held, key=lambda blob: blob.used)]

"""Which of several shadow caches governs the real one."""

from collections.abc import Callable, Iterable, Mapping
from math import sqrt

from edgeproxy.predict.proof import Proof
from edgeproxy.predict.shadow import Listed, Shadow

MODEL = "model"
Kind = Callable[[int], Listed]
"""Makes a shadow of so many bytes."""
_MEMORY = 4000.0
"""Requests after which what was missed counts about a third."""
_GAIN = 1.0 / (1.0 - 1.0 / _MEMORY)
_MOST = 16_384
"""Things that a shadow holds at most before all of them are thinned."""
_LOOK = 32
"""Requests between two looks at who is the best."""
_MARGIN = 0.97
"""Another one governs when it misses less than this share of what the governing one misses; the model, when it misses
less at all."""
_SURE = 1.5
"""Standard errors by which it has to miss less than the model, too: a few large blobs that it happened to have say
little."""


class Council:
    """Judges shadows by the bytes they miss, and lets the best govern.

    It looks back twice: some thousand requests, so that what is worse governs no longer than that; and a day, by which
    a model is suspended and comes back.

    Where there is much, shadows are thinned: each sees a half of all keys, a quarter and so on, with as much of the
    budget, which tells as well who is better (SHARDS: Waldspurger et al., FAST 2015). What governs sees all.
    """

    def __init__(self, kinds: Mapping[str, Kind], budget: int, most: int = _MOST) -> None:
        self._kinds = dict(kinds)
        self._budget = budget
        self._most = most
        self._mask = 0
        """Keys that have one of these bits are not seen by the shadows."""
        self._shadows = {name: kind(budget) for name, kind in kinds.items()}
        self._whole: Shadow | None = None
        """Like the governing shadow, of all keys, where that is thinned."""
        self._missed = dict.fromkeys(self._shadows, 0.0)
        self._apart = dict.fromkeys(kinds, 0.0)
        """By shadow, the sum of the squares of what either it missed or the model."""
        self._asked = 0.0
        self._weight = 1.0
        """What a byte counts: more and more, so that what was missed before counts less."""
        self._since = 0
        self.proof = Proof(MODEL, kinds)
        self.governs = "s3fifo"
        self.observed = False

    def governing(self, held: Callable[[], Iterable[tuple[int, int]]], now: float) -> Shadow:
        """What it holds is to be kept. `held`: keys and sizes of what is there, the least lately used first."""
        if not self._mask:
            return self._shadows[self.governs]
        if self._whole is None:
            self._whole = self._kinds[self.governs](self._budget)
            for key, size in held():
                self._whole.request(key, size, now)
        return self._whole

    def admit(self, model: Kind) -> None:
        """The first model; it governs until it turns out to be worse."""
        self._kinds[MODEL] = model
        self._shadows[MODEL] = model(self._budget // (self._mask + 1))
        self._missed[MODEL] = self._missed[self.governs]
        self._prove_anew()
        self._govern(MODEL)

    def dismiss(self) -> None:
        """There is no model any more."""
        if self._shadows.pop(MODEL, None) is not None:
            del self._missed[MODEL]
            self._prove_anew()
        if self.governs == MODEL:
            self._govern(self._best())

    def request(self, key: int, size: int, now: float) -> None:
        self.observed = True
        if self._whole is not None:
            self._whole.request(key, size, now)
        if key & self._mask:
            return
        if self.proof.request(now):  # what it missed before that day is not held against it
            self._missed[MODEL] = min(self._missed[MODEL], self._missed[self.governs])
        self._weight *= _GAIN
        weighted, lately, today = self._weight * size, self._missed, self.proof.missed
        self._asked += weighted
        missed = {name for name, shadow in self._shadows.items() if not shadow.request(key, size, now)}
        for name in missed:
            lately[name] += weighted
            today[name] += size
        for name in self._apart:
            if (name in missed) != (MODEL in missed):
                self._apart[name] += weighted * weighted
        self._since += 1
        if self._since >= _LOOK:
            self._since = 0
            self._elect()
            if self._weight > 1e6:
                self._weigh_anew()
            if max(map(len, self._shadows.values())) > self._most:
                self._thin(now)

    def _elect(self) -> None:
        best = self._best()
        suspended = self.governs == MODEL and self.proof.suspended
        margin = 1.0 if best == MODEL else _MARGIN
        if suspended or (self._missed[best] < margin * self._missed[self.governs] and self._is_sure(best)):
            self._govern(best)

    def _is_sure(self, best: str) -> bool:
        """Whether it is more than chance that it misses less than the model, where that governs."""
        if self.governs != MODEL:
            return True
        return self._missed[MODEL] - self._missed[best] > _SURE * sqrt(self._apart[best])

    def _prove_anew(self) -> None:
        self.proof = Proof(MODEL, [name for name in self._kinds if name != MODEL])

    def _weigh_anew(self) -> None:
        """The same in smaller numbers."""
        self._asked /= self._weight
        self._missed = {name: missed / self._weight for name, missed in self._missed.items()}
        self._apart = {name: apart / self._weight**2 for name, apart in self._apart.items()}
        self._weight = 1.0

    def _govern(self, name: str) -> None:
        if name != self.governs:
            self.governs, self._whole = name, None

    def _thin(self, now: float) -> None:
        if not self._mask and self.governs != MODEL:
            self._whole = self._shadows[self.governs]
        self._mask = 2 * self._mask + 1
        for name, shadow in list(self._shadows.items()):
            smaller = self._shadows[name] = self._kinds[name](self._budget // (self._mask + 1))
            for key, size in shadow.kept():
                if not key & self._mask:
                    smaller.request(key, size, now)

    def _best(self) -> str:
        able = [name for name in self._missed if name != MODEL or not self.proof.suspended]
        return min(able, key=lambda name: self._missed[name])

    def misses(self) -> Mapping[str, float]:
        """By shadow, the share of the bytes asked for lately that it missed."""
        return {name: missed / max(1.0, self._asked) for name, missed in self._missed.items()}

"""Which of several shadow caches governs the real one."""

from collections.abc import Callable, Iterable, Mapping

from edgeproxy.predict.panel import Kind, Panel, refill
from edgeproxy.predict.proof import Proof
from edgeproxy.predict.shadow import Shadow

MODEL = "model"
_MOST = 16_384
"""Things that a shadow holds at most before all of them are thinned."""
_LOOK = 32
"""Requests between two looks at who is the best."""
_MARGIN = 0.97
"""Another one governs when it misses less than this share of what the governing one misses; the model, when it misses
less at all."""
_SURE = 1.5
"""Standard errors by which it has to miss less than the model, too."""


class Council:
    """Judges shadows by the bytes they miss, and lets the best govern.

    It looks back twice: some thousand requests, so that what is worse governs no longer than that; and a day, by which
    a model is suspended and comes back. Shadows may be thinned; what governs sees all keys.
    """

    def __init__(self, kinds: Mapping[str, Kind], budget: int, most: int = _MOST) -> None:
        self._names = tuple(kinds)
        self._panel = Panel(kinds, budget, most, MODEL)
        self._whole: Shadow | None = None
        """Like the governing shadow, of all keys, where that is thinned."""
        self._since = 0
        self.proof = Proof(MODEL, self._names)
        self.governs = "s3fifo"
        self.observed = False

    def governing(self, held: Callable[[], Iterable[tuple[int, int]]], now: float) -> Shadow:
        """What it holds is to be kept. `held`: keys and sizes of what is there, the least lately used first."""
        if not self._panel.mask:
            return self._panel.shadows[self.governs]
        if self._whole is None:
            self._whole = whole = self._panel.whole(self.governs)
            refill(whole, held(), now)
        return self._whole

    def admit(self, model: Kind) -> None:
        """The first model; it governs until it turns out to be worse."""
        self._panel.put(MODEL, model, like=self.governs)
        self.proof = Proof(MODEL, self._names)
        self._govern(MODEL)

    def dismiss(self) -> None:
        """There is no model any more."""
        if self._panel.remove(MODEL):
            self.proof = Proof(MODEL, self._names)
        if self.governs == MODEL:
            self._govern(self._best())

    def request(self, key: int, size: int, now: float) -> None:
        self.observed = True
        if self._whole is not None:
            self._whole.request(key, size, now)
        if not self._panel.sees(key):
            return
        if self.proof.request(now):  # what it missed before that day is not held against it
            lately = self._panel.missed
            lately[MODEL] = min(lately[MODEL], lately[self.governs])
        today = self.proof.missed
        for name in self._panel.request(key, size, size, now):
            today[name] += size
        self._since += 1
        if self._since >= _LOOK:
            self._since = 0
            self._elect()
            self._tidy(now)

    def _elect(self) -> None:
        best, missed = self._best(), self._panel.missed
        suspended = self.governs == MODEL and self.proof.suspended
        margin = 1.0 if best == MODEL else _MARGIN
        if suspended or (missed[best] < margin * missed[self.governs] and self._is_sure(best)):
            self._govern(best)

    def _is_sure(self, best: str) -> bool:
        return self.governs != MODEL or self._panel.surely_better(best, _SURE)

    def _govern(self, name: str) -> None:
        if name != self.governs:
            self.governs, self._whole = name, None

    def _tidy(self, now: float) -> None:
        governing = None if self._panel.mask or self.governs == MODEL else self._panel.shadows[self.governs]
        if self._panel.tidy(now) and governing is not None:
            self._whole = governing

    def _best(self) -> str:
        missed = self._panel.missed
        able = [name for name in missed if name != MODEL or not self.proof.suspended]
        return min(able, key=lambda name: missed[name])

    def misses(self) -> Mapping[str, float]:
        """By shadow, the share of the bytes asked for lately that it missed."""
        return self._panel.misses()

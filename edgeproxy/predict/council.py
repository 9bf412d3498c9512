"""Which of several shadow caches governs the real one."""

from collections.abc import Mapping

from edgeproxy.predict.proof import Proof
from edgeproxy.predict.shadow import Shadow

MODEL = "model"
_MEMORY = 4000.0
"""Requests after which what was missed counts half."""
_LOOK = 32
"""Requests between two looks at who is the best."""
_MARGIN = 0.97
"""Another one governs when it misses less than this share of what the governing one misses; the model, when it misses
less at all."""


class Council:
    """Judges shadows by the bytes they miss, and lets the best govern.

    It looks back twice: some thousand requests, so that what is worse governs no longer than that; and a day, by which
    a model is suspended and comes back.
    """

    def __init__(self, shadows: Mapping[str, Shadow]) -> None:
        self._shadows = dict(shadows)
        self._missed = dict.fromkeys(self._shadows, 0.0)
        self._asked = 0.0
        self._since = 0
        self.proof = Proof(MODEL)
        self.governs = "s3fifo"
        self.observed = False

    @property
    def governing(self) -> Shadow:
        return self._shadows[self.governs]

    def admit(self, model: Shadow) -> None:
        """The first model; it governs until it turns out to be worse."""
        self._shadows[MODEL] = model
        self._missed[MODEL] = self._missed[self.governs]
        self.proof = Proof(MODEL)
        self.governs = MODEL

    def dismiss(self) -> None:
        """There is no model any more."""
        if self._shadows.pop(MODEL, None) is not None:
            del self._missed[MODEL]
            self.proof = Proof(MODEL)
        if self.governs == MODEL:
            self.governs = self._best()

    def request(self, key: int, size: int, now: float) -> None:
        self.observed = True
        keep = 1.0 - 1.0 / _MEMORY
        self._asked = self._asked * keep + size
        if self.proof.request(now):  # what it missed before that day is not held against it
            self._missed[MODEL] = min(self._missed[MODEL], self._missed[self.governs])
        for name, shadow in self._shadows.items():
            missed = 0 if shadow.request(key, size, now) else size
            self._missed[name] = self._missed[name] * keep + missed
            self.proof.missed[name] += missed
        self._since += 1
        if self._since >= _LOOK:
            self._since = 0
            self._elect()

    def _elect(self) -> None:
        best = self._best()
        suspended = self.governs == MODEL and self.proof.suspended
        margin = 1.0 if best == MODEL else _MARGIN
        if suspended or self._missed[best] < margin * self._missed[self.governs]:
            self.governs = best

    def _best(self) -> str:
        able = [name for name in self._missed if name != MODEL or not self.proof.suspended]
        return min(able, key=lambda name: self._missed[name])

    def misses(self) -> Mapping[str, float]:
        """By shadow, the share of the bytes asked for lately that it missed."""
        return {name: missed / max(1.0, self._asked) for name, missed in self._missed.items()}

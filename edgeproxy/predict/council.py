"""Which of several shadow caches governs the real one."""

from collections.abc import Mapping

from edgeproxy.predict.shadow import Shadow

_MEMORY = 4000.0
"""Requests after which what was missed counts half."""
_LOOK = 32
"""Requests between two looks at who is the best."""
_MARGIN = 0.97
"""Another one governs when it misses less than this share of what the governing one misses."""


class Council:
    """Judges shadows by the bytes they miss, and lets the best govern."""

    def __init__(self, shadows: Mapping[str, Shadow]) -> None:
        self._shadows = dict(shadows)
        self._missed = dict.fromkeys(self._shadows, 0.0)
        self._asked = 0.0
        self._since = 0
        self.governs = "s3fifo"
        self.observed = False

    @property
    def governing(self) -> Shadow:
        return self._shadows[self.governs]

    def admit(self, name: str, shadow: Shadow) -> None:
        """Another one; it governs until it turns out to be worse."""
        self._shadows[name] = shadow
        self._missed[name] = self._missed[self.governs]
        self.governs = name

    def dismiss(self, name: str) -> None:
        if self._shadows.pop(name, None) is not None:
            del self._missed[name]
        if self.governs == name:
            self.governs = min(self._missed, key=lambda one: self._missed[one])

    def request(self, key: int, size: int, now: float) -> None:
        self.observed = True
        keep = 1.0 - 1.0 / _MEMORY
        self._asked = self._asked * keep + size
        for name, shadow in self._shadows.items():
            missed = 0 if shadow.request(key, size, now) else size
            self._missed[name] = self._missed[name] * keep + missed
        self._since += 1
        if self._since >= _LOOK:
            self._since = 0
            self._elect()

    def _elect(self) -> None:
        best = min(self._missed, key=lambda one: self._missed[one])
        if self._missed[best] < _MARGIN * self._missed[self.governs]:
            self.governs = best

    def misses(self) -> Mapping[str, float]:
        """By shadow, the share of the bytes asked for lately that it missed."""
        return {name: missed / max(1.0, self._asked) for name, missed in self._missed.items()}

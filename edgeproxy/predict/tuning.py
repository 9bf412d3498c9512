"""How much it counts that a thing is small: tried out by shadows of a sample of all keys."""

from edgeproxy.predict.ledger import Ledger
from edgeproxy.predict.panel import Kind, Panel
from edgeproxy.predict.shelf import Shelf
from edgeproxy.predict.verdicts import Verdicts

_EXPONENTS = (0.5, 0.7, 1.0, 1.4, 2.0)
_RIGHT = 1.0
"""Where all that the model expects is right."""
_MASK = 7
"""One key in eight is in the sample at first."""
_MOST = 512
"""Things that a shadow holds at most before the sample is halved."""
_LOOK = 64
"""Requests between two looks at which is the best."""
_SURE = 3.0
"""Standard errors by which another has to do better."""


class Tuning:
    """Sets the exponent of the verdicts: the one by which misses cost the least, where one costs its bytes and what a
    request upstream costs by itself."""

    def __init__(self, budget: int, ledger: Ledger, verdicts: Verdicts) -> None:
        def kind(exponent: float) -> Kind:
            return lambda budget: Shelf(budget, ledger, verdicts, exponent)

        self._verdicts = verdicts
        self._panel = Panel({str(each): kind(each) for each in _EXPONENTS}, budget, _MOST, str(_RIGHT), _MASK)
        self._since = 0

    def request(self, key: int, size: int, now: float) -> None:
        if not self._panel.sees(key):
            return
        self._panel.request(key, size, size + self._verdicts.request, now)
        self._since += 1
        if self._since >= _LOOK:
            self._since = 0
            best = min(_EXPONENTS, key=lambda each: self._panel.missed[str(each)])
            self._verdicts.exponent = best if self._panel.surely_better(str(best), _SURE) else _RIGHT
            self._panel.tidy(now)

"""Which of its addresses a target is reached at. Pure: told what happened, and when."""

from collections.abc import Sequence
from dataclasses import dataclass

_FIRST_REST, _LONGEST_REST = 1.0, 60.0
"""Seconds without being asked after a failure, doubled with each in a row."""
_TRYING = 5.0
"""Seconds for which nobody else tries an address that one is trying again."""


@dataclass(slots=True)
class _Path:
    failures: int = 0
    rests_until: float = 0.0


class Paths:
    """Several addresses, the preferred first; each rests after it has failed, longer each time in a row."""

    def __init__(self, count: int) -> None:
        self._paths = [_Path() for _ in range(count)]

    def order(self, now: float) -> Sequence[int]:
        """In which order to try them: those that work by preference, then those that rest, the best rested first.

        One whose rest is over is handed to whoever asks first, and to others when that is known to have gone well.
        """
        rested = [number for number, path in enumerate(self._paths) if path.rests_until <= now]
        resting = sorted(set(range(len(self._paths))) - set(rested), key=lambda each: self._paths[each].rests_until)
        if rested and len(self._paths) > 1 and self._paths[rested[0]].failures:
            self._paths[rested[0]].rests_until = now + _TRYING
        return [*rested, *resting]

    def failed(self, number: int, now: float) -> None:
        path = self._paths[number]
        path.failures += 1
        path.rests_until = now + min(_LONGEST_REST, _FIRST_REST * 2.0 ** min(path.failures - 1, 16))

    def succeeded(self, number: int) -> bool:
        """Whether it had failed before."""
        path = self._paths[number]
        again, path.failures, path.rests_until = path.failures > 0, 0, 0.0
        return again

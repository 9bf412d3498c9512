"""Which of its addresses a target is reached at. Pure: told what happened, and when."""

from collections.abc import Sequence
from dataclasses import dataclass

FIRST_REST, LONGEST_REST = 1.0, 60.0
"""Seconds without being asked after a failure, doubled with each in a row."""
TRYING = 5.0
"""Seconds for which nobody else tries an address that one is trying again."""


@dataclass(slots=True)
class _Path:
    failures: int = 0
    rests_until: float = 0.0
    tried_until: float = 0.0

    def is_open(self, now: float) -> bool:
        """For whoever comes; one that has failed is tried by a single request at a time."""
        return self.failures == 0 or (self.rests_until <= now and self.tried_until <= now)


class Paths:
    """Several addresses, the preferred first; each rests after it has failed, longer each time in a row."""

    def __init__(self, count: int) -> None:
        self._paths = [_Path() for _ in range(count)]

    def order(self, now: float) -> Sequence[int]:
        """In which order to try them, all of them: those that work by preference, then those that rest.

        Of those, the one that has rested enough first, or will have. One whose rest is over is handed to whoever asks
        first, and to others when that is known to have gone well.
        """
        numbers = range(len(self._paths))
        opened = [number for number in numbers if self._paths[number].is_open(now)]
        resting = sorted(set(numbers) - set(opened), key=lambda number: (self._paths[number].rests_until, number))
        if opened and self._paths[opened[0]].failures:
            self._paths[opened[0]].tried_until = now + TRYING
        return [*opened, *resting]

    def failed(self, number: int, now: float) -> None:
        """What was on its way together fails together: that counts once."""
        path = self._paths[number]
        if path.failures and now < path.rests_until:
            return
        path.failures += 1
        path.rests_until = now + min(LONGEST_REST, FIRST_REST * 2.0 ** min(path.failures - 1, 16))
        path.tried_until = 0.0

    def succeeded(self, number: int) -> bool:
        """Whether it had failed before."""
        again = self._paths[number].failures > 0
        self._paths[number] = _Path()
        return again

"""Whether the model is worth its place: a day's bytes missed, its own and the best other policy's."""

from collections import deque
from collections.abc import Iterable
from math import sqrt

_HOUR, _HOURS = 3600.0, 24
_FEWEST = 500
"""Requests in a day that say something about it."""
_SURE = 2.5
"""Standard errors of the hours' differences, by which a day was worse for more than chance."""


class Proof:
    """By the time of requests. A model that misses more than another over a whole day, and not by chance, is suspended,
    until it, or one in its place, misses less than each of them over a whole day after that."""

    def __init__(self, model: str, others: Iterable[str]) -> None:
        """What they are called."""
        self._model = model
        self._names = (model, *others)
        self.suspended = False
        self.suspended_at = float("-inf")
        """When it last was."""
        self.restart()

    def restart(self) -> None:
        """Another model, or another trial: a day begins with the next request."""
        self._hours = deque[tuple[int, dict[str, int], int]]()
        self._begun: float | None = None
        self._hour = 0
        self._requests = 0
        self.missed = dict.fromkeys(self._names, 0)
        """By shadow, bytes of this hour."""

    def request(self, now: float) -> bool:
        """One more; what is missed of it is to be added to `missed`. Whether the model has proven itself just now."""
        if self._begun is None:
            self._begun = now
        hour = int((now - self._begun) / _HOUR)
        before = self.suspended
        if hour > self._hour:
            self._end_hour(hour, now)
        self._requests += 1
        return before and not self.suspended

    def _end_hour(self, hour: int, now: float) -> None:
        self._hours.append((self._hour, self.missed, self._requests))
        self._hour, self._requests, self.missed = hour, 0, dict.fromkeys(self._names, 0)
        while self._hours and self._hours[0][0] < hour - _HOURS:
            self._hours.popleft()
        if hour >= _HOURS and sum(requests for _, _, requests in self._hours) >= _FEWEST:
            self._judge(now)

    def _judge(self, now: float) -> None:
        worse = [[missed[self._model] - missed[name] for _, missed, _ in self._hours] for name in self._names[1:]]
        if self.suspended:
            self.suspended = any(sum(hours) >= 0 for hours in worse)
        elif any(sum(hours) > _SURE * sqrt(sum(hour * hour for hour in hours)) for hours in worse):
            self.suspended, self.suspended_at = True, now
            self.restart()
            self._begun = now

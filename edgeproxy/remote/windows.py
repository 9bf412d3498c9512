"""What a link may carry, by the time of day."""

import re
import time
from typing import NamedTuple

_WINDOW = re.compile(r"(\d\d):(\d\d)\s*-\s*(\d\d):(\d\d)\s+(\S.*)")
_DAY = 24 * 3600


class Window(NamedTuple):
    """From second `start` of the local day up to `stop`, maybe of the next one; a whole day where both are equal.

    In it a link carries `rate` bytes per second, or what it can where that is `None`.
    """

    start: int
    stop: int
    rate: int | None

    def covers(self, second: int) -> bool:
        if self.start < self.stop:
            return self.start <= second < self.stop
        return second >= self.start or second < self.stop

    def __str__(self) -> str:
        rate = "unlimited" if self.rate is None else f"{self.rate}B"
        return f"{_time(self.start)}-{_time(self.stop)} {rate}"


class Terms(NamedTuple):
    """What a link may carry: `rate` bytes per second outside its windows, `burst` bytes at once; `None` is no bound."""

    rate: int | None = None
    burst: int | None = None
    """`None` is the default: a second's worth, `LEAST_BURST` at the least."""
    windows: tuple[Window, ...] = ()

    @property
    def bind(self) -> bool:
        """Whether there is a bound at any time."""
        return self.rate is not None or any(window.rate is not None for window in self.windows)

    def in_force(self, second: int) -> int | None:
        """Bytes per second at this second of the local day; the first window that covers it decides."""
        return next((window.rate for window in self.windows if window.covers(second)), self.rate)


LEAST_BURST = 1024 * 1024
"""Bytes: as many as one read hands on, so that no chunk goes into debt that the next one has to wait for."""


def split_window(text: str) -> tuple[int, int, str]:
    """`"22:00-05:00 20MB"` is (79200, 18000, "20MB"); 24:00 is 00:00. Raises ValueError."""
    found = _WINDOW.fullmatch(text.strip())
    times = (
        [int(hour) * 3600 + int(minute) * 60 for hour, minute in (found.group(1, 2), found.group(3, 4))]
        if found
        else []
    )
    if not found or max(times) > _DAY or int(found[2]) > 59 or int(found[4]) > 59:
        raise ValueError(
            f"{text!r} is not a window: write local times and a rate per second, "
            'as in "08:00-18:00 5MB" or "22:00-05:00 unlimited"'
        )
    return times[0] % _DAY, times[1] % _DAY, found[5]


def second_of_day(now: float) -> int:
    """The local time at `now` seconds since the epoch."""
    local = time.localtime(now)
    return local.tm_hour * 3600 + local.tm_min * 60 + local.tm_sec


def _time(second: int) -> str:
    return f"{second // 3600:02}:{second // 60 % 60:02}"

"""What is counted of a replay."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from edgeproxy.replay.requests import Request, Trace


class Missed(NamedTuple):
    """After the warm-up."""

    requests: float
    """Share of them for what was neither here nor on its way."""
    bytes: float
    """Share of those asked for, likewise."""
    images: float
    """Share of pulls for which something had to come."""
    delayed: float
    """Share of requests for what was on its way."""
    upstream: float
    """Bytes from upstream for each that was asked for, those in vain included."""
    ahead: float
    """Bytes brought ahead for each that was asked for."""
    used: float
    """Share of the bytes brought ahead that was asked for; 1 where none was."""
    waits: tuple[float, ...]
    """Seconds that a pull waited for upstream: of half of them at most, of 95 and of 99 in a hundred."""
    firsts: float
    """Share of the first pulls of releases for which nothing had to come."""
    firsts_wait: float
    """Seconds that 95 in a hundred of these waited at most."""


class Tally:
    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._waits: dict[int, float] = {}
        """By pull."""
        self._requests = self._bytes = self._missed = self._missed_bytes = self._delayed = 0
        self._ahead = self._used = 0

    def add(self, request: Request, *, had: bool, here: float) -> None:
        """`here`: when it was."""
        if request.time < self._trace.counts_from:
            return
        self._requests += 1
        self._bytes += request.size
        wait = here - request.time
        self._waits[request.pull] = max(self._waits.get(request.pull, 0.0), wait)
        if not had:
            self._missed += 1
            self._missed_bytes += request.size
        elif wait > 0:
            self._delayed += 1

    def brought(self, size: int, now: float) -> None:
        """Ahead."""
        if now >= self._trace.counts_from:
            self._ahead += size

    def used(self, size: int, brought: float) -> None:
        """For the first time, what was brought ahead then."""
        if brought >= self._trace.counts_from:
            self._used += size

    def missed(self) -> Missed:
        requests, asked = max(1, self._requests), max(1, self._bytes)
        firsts = [wait for pull, wait in self._waits.items() if pull in self._trace.firsts]
        return Missed(
            requests=self._missed / requests,
            bytes=self._missed_bytes / asked,
            images=sum(wait > 0 for wait in self._waits.values()) / max(1, len(self._waits)),
            delayed=self._delayed / requests,
            upstream=(self._missed_bytes + self._ahead) / asked,
            ahead=self._ahead / asked,
            used=self._used / self._ahead if self._ahead else 1.0,
            waits=tuple(_percentiles(list(self._waits.values()), (50, 95, 99))),
            firsts=sum(wait <= 0 for wait in firsts) / max(1, len(firsts)),
            firsts_wait=_percentiles(firsts, (95,))[0],
        )


def _percentiles(values: Sequence[float], shares: Sequence[int]) -> list[float]:
    return [float(each) for each in np.percentile(values, shares)] if values else [0.0] * len(shares)

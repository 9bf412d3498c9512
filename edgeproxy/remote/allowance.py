"""How many requests an upstream still grants, by what its answers say: decided with the time given.

Reads Docker Hub's `ratelimit-limit: 100;w=21600`, the fields of draft-ietf-httpapi-ratelimit-headers in their plain
form (`RateLimit-Limit`, `-Remaining`, `-Reset`) and their structured one (`RateLimit`, `RateLimit-Policy`), and
`Retry-After` (RFC 9110, section 10.2.3). What cannot be read counts as not said.
"""

import re
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import NamedTuple

from edgeproxy.interfaces import Urgency

RESERVE = 0.2
"""The part of a limit that is kept for clients, where nothing else is configured."""
_FIRST_REST, _LONGEST_REST = 1.0, 300.0
"""Seconds to wait after a 429 that does not say how long, doubled with each in a row."""
_LONGEST = 86400.0
"""Seconds that an upstream may make us wait, whatever it says."""
_KNOWN = 3600.0
"""Seconds for which a count holds whose window is not told."""
_NUMBER = re.compile(r"\s*(\d{1,15})\s*")
_PARAMETER = re.compile(r";\s*([a-z]+)\s*=\s*(\d{1,15})(?![\d.])", re.IGNORECASE)


class Count(NamedTuple):
    """What a limit said: requests granted, those that remain, and the seconds until there are more."""

    limit: int | None = None
    remaining: int | None = None
    reset: float | None = None


class Allowance:
    """Of one upstream and one identity there."""

    def __init__(self, reserve: float = RESERVE) -> None:
        """`reserve` is the part of the limit that only clients' misses may use."""
        self._reserve = reserve
        self._limit: int | None = None
        self._remaining: int | None = None
        self._known_until = 0.0
        self._rests_until = 0.0
        self._refused = 0
        """Answers of 429 in a row."""

    def limit(self, now: float) -> int | None:
        """Requests granted per window, as far as that is known."""
        return self._limit if now < self._known_until else None

    def remaining(self, now: float) -> int | None:
        """Requests left of them."""
        return self._remaining if now < self._known_until else None

    def answered(self, status: int, headers: Mapping[str, str], now: float) -> None:
        """`headers` may be in any case."""
        fields = {name.lower(): text for name, text in headers.items()}
        count = read_count(fields, now)
        if count.limit is not None or count.remaining is not None:
            self._limit = self._limit if count.limit is None else count.limit
            self._remaining = self._remaining if count.remaining is None else count.remaining
            self._known_until = now + min(count.reset or _KNOWN, _LONGEST)
        self._refused = self._refused + 1 if status == 429 else 0
        if status in (429, 503):
            rest = read_retry_after(fields.get("retry-after", ""), now)
            if rest is None and status == 429:
                rest = min(_LONGEST_REST, _FIRST_REST * 2 ** min(self._refused - 1, 16))
            self._rests_until = max(self._rests_until, now + min(rest or 0.0, _LONGEST))

    def may_ask(self, urgency: Urgency, now: float) -> bool:
        """Clients may as long as upstream does not tell us to wait; all others leave them the reserve."""
        if self.retry_after(now) is not None:
            return False
        limit, remaining = self.limit(now), self.remaining(now)
        if urgency is Urgency.CLIENT or remaining is None:
            return True
        return remaining > self._reserve * (remaining if limit is None else limit)

    def retry_after(self, now: float) -> float | None:
        """Seconds for which nobody asks."""
        return self._rests_until - now if now < self._rests_until else None


def read_count(fields: Mapping[str, str], now: float) -> Count:
    """`fields` by their names in lower case."""
    structured = _structured(fields.get("ratelimit", ""), fields.get("ratelimit-policy", ""))
    if structured.remaining is not None:
        return structured
    limits, remaining = fields.get("ratelimit-limit", ""), fields.get("ratelimit-remaining", "")
    reset = _number(fields.get("ratelimit-reset", ""))
    if reset is not None and reset > _LONGEST:
        reset = max(0, reset - int(now))  # some write when, not how long
    window = _parameters(limits).get("w", _parameters(remaining).get("w"))
    return Count(_number(limits), _number(remaining), window if reset is None else reset)


def read_retry_after(text: str, now: float) -> float | None:
    """Seconds to wait; an HTTP date that has passed is 0."""
    if _NUMBER.fullmatch(text):
        return float(text)
    try:
        then = parsedate_to_datetime(text)
        return max(0.0, (then if then.tzinfo else then.replace(tzinfo=UTC)).timestamp() - now)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _structured(text: str, policy: str) -> Count:
    """`"burst";r=50;t=30`, of several the one with the least left; the policies say `"burst";q=100;w=60`."""
    policies = {_name(item): _parameters(item) for item in policy.split(",")}
    counts = []
    for item in text.split(","):
        said = _parameters(item)
        if "r" in said:
            ruled = policies.get(_name(item), {})
            counts.append(Count(ruled.get("q"), said["r"], said.get("t", ruled.get("w"))))
    return min(counts, key=lambda count: count.remaining or 0, default=Count())


def _name(item: str) -> str:
    return item.partition(";")[0].strip()


def _number(text: str) -> int | None:
    found = _NUMBER.match(text)
    return int(found[1]) if found else None


def _parameters(item: str) -> dict[str, int]:
    return {key.lower(): int(value) for key, value in _PARAMETER.findall(item)}

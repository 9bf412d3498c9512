"""A line to upstream: clients first, one after another, and what is brought ahead when none of them waits."""

from collections import OrderedDict

_FORGETS = 20_000


class Link:
    """Times in seconds, as they rise; sizes in bytes."""

    def __init__(self, rate: float, delay: float) -> None:
        """`rate` in bytes per second."""
        self._rate = rate
        self._delay = delay
        self._free = float("-inf")
        """When the last byte for a client is through."""
        self._until = float("-inf")
        self._here: dict[int, float] = {}
        """When each is here."""
        self._ahead: OrderedDict[int, float] = OrderedDict()
        """What is left of each."""

    def fetch(self, key: int, size: int, now: float) -> float:
        """For a client; what came of it already is not fetched again. When it is here."""
        left = self._ahead.pop(key, float(size))
        self._free = max(self._free, now) + left / self._rate
        if len(self._here) > _FORGETS:
            self._here = {each: when for each, when in self._here.items() if when > now}
        self._here[key] = self._free + self._delay
        return self._here[key]

    def here(self, key: int, now: float) -> float:
        """When what was fetched is here: now, or later."""
        return max(now, self._here.get(key, now))

    def bring(self, key: int, size: int) -> None:
        """Ahead: when nobody waits."""
        self._ahead.setdefault(key, float(size))

    def is_on_its_way(self, key: int) -> bool:
        return key in self._ahead

    def advance(self, now: float) -> list[int]:
        """What was brought ahead by now."""
        landed, idle = list[int](), max(0.0, now - max(self._until, self._free)) if self._ahead else 0.0
        self._until = now
        left = idle * self._rate
        while self._ahead and left > 0:
            key, size = next(iter(self._ahead.items()))
            if size > left:
                self._ahead[key] = size - left
                break
            left -= size
            del self._ahead[key]
            landed.append(key)
        return landed

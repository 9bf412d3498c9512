"""What the operator says of tags: the first rule that matches a tag decides."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import translate

from edgeproxy.oci.reference import Tag

_MOST_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class Rule:
    """`match` is a shell pattern on `registry/repository:tag`; times in seconds, `None` leaves them to the policy."""

    match: str
    fresh: float | None = None
    max_stale: float | None = None
    pushed_for: float | None = None
    """How long a tag that was pushed here stays what it is, whatever upstream has and however little room there is."""
    kept_for: float | None = None
    """How long what it names stays after it was last asked for, however little room there is."""
    unused_for: float | None = None
    """After how long without being asked for it goes, however much room there is."""


class Rules:
    """Looked up for every request that names a tag, so the answers are remembered."""

    def __init__(self, rules: Sequence[Rule] = ()) -> None:
        self._rules = [(re.compile(translate(rule.match)), rule) for rule in rules]
        self._otherwise = Rule("*")
        self._known: dict[Tag, Rule] = {}

    def have(self, term: str) -> bool:
        """Whether any rule says this: a field of `Rule`."""
        return any(getattr(rule, term) is not None for _, rule in self._rules)

    def of(self, tag: Tag) -> Rule:
        try:
            return self._known[tag]
        except KeyError:
            if len(self._known) >= _MOST_REMEMBERED:
                self._known.clear()
            name = str(tag)
            found = next((rule for pattern, rule in self._rules if pattern.match(name)), self._otherwise)
            self._known[tag] = found
            return found

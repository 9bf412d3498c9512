"""Versions of tags that several sites write: who wrote, when, and what the writer had seen by then."""

import re
from collections.abc import Mapping
from typing import NamedTuple

from edgeproxy.oci.errors import RequestInvalid

_SOURCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LONGEST = 8192
"""Characters of a version's text: a hundred sites and more."""


class Version(NamedTuple):
    """`stamp` is a hybrid logical clock in milliseconds: later than any version that its writer knew.

    `vector` counts, for every site by its source id, the writes to this tag that are part of this state.
    """

    stamp: int
    source: str
    vector: Mapping[str, int]

    def __str__(self) -> str:
        """As in the field `Edgeproxy-Version`: `1764207600000;edge-1;edge-1=3,edge-2=1`."""
        counts = ",".join(f"{source}={count}" for source, count in sorted(self.vector.items()))
        return f"{self.stamp};{self.source};{counts}"


def parse_version(text: str) -> Version:
    """Raises `RequestInvalid`."""
    stamp, _, rest = text.partition(";")
    source, _, counts = rest.partition(";")
    vector = dict(_count(item) for item in counts.split(",")) if counts and len(text) <= _LONGEST else {}
    if not _is_number(stamp) or not is_source(source) or vector.get(source, 0) < 1:
        raise RequestInvalid(f"{text[:100]!r} is no version: write stamp;source;source=count,… with the writer's own")
    return Version(int(stamp), source, vector)


def is_source(text: str) -> bool:
    """Whether this may be a site's id."""
    return _SOURCE.fullmatch(text) is not None


def _count(item: str) -> tuple[str, int]:
    source, _, count = item.partition("=")
    if not is_source(source) or not _is_number(count) or int(count) < 1:
        raise RequestInvalid(f"{item[:80]!r} is no count of a version: write source=count")
    return source, int(count)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 18

"""Rows of releases: tags of one repository that differ in digits only."""

import re
from collections.abc import Iterable
from functools import lru_cache

from edgeproxy.oci.reference import Tag

_HASH = re.compile(r"[0-9a-f]{7,}|[0-9]{8,}")
_DIGITS = re.compile(r"[0-9]+")


@lru_cache(4096)
def shape_of(name: str) -> str:
    """What the tags of one row have in common."""
    return "#" if _HASH.fullmatch(name) else _DIGITS.sub("0", name)


def numbers_of(name: str) -> list[int]:
    """They rise from release to release."""
    return [int(each) for each in _DIGITS.findall(name)]


def newest(tag: Tag, names: Iterable[str]) -> Tag:
    """Of the tags by these names that are of the same row; itself where none is later."""
    shape = shape_of(tag.name)
    row = [tag, *(Tag(tag.repository, name) for name in names if shape_of(name) == shape)]
    return max(row, key=lambda each: numbers_of(each.name))

"""How often upstream would have been asked what a tag names, and how many answers would have been stale."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from edgeproxy.interfaces import Access, Checked, Happening
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.manifest import Descriptor
from edgeproxy.oci.reference import Tag
from edgeproxy.predict.freshness import Freshness

FIXED = (60.0, 300.0, 900.0, 1800.0, 3600.0, 3 * 3600.0, 6 * 3600.0, 12 * 3600.0, 86400.0)
"""Seconds for which all tags alike stay fresh, to compare with."""


class Asked(NamedTuple):
    requests: int
    revalidations: int
    """Of tags that were known."""
    stale: float
    """The share of answers that named what upstream no longer did."""


def fixed(happenings: Iterable[Happening], counts_from: float, seconds: float) -> Asked:
    """All tags stay fresh for so long."""
    return _asked(happenings, counts_from, lambda tag: seconds, lambda happening: None)


def learned(happenings: Iterable[Happening], counts_from: float, stale: float) -> Asked:
    """In the code that the daemon runs; `stale` is the share of answers that may be."""
    freshness = Freshness(stale)
    return _asked(happenings, counts_from, freshness.ttl, freshness.observe)


def _asked(
    happenings: Iterable[Happening],
    counts_from: float,
    ttl: Callable[[Tag], float],
    tell: Callable[[Happening], None],
) -> Asked:
    """What a record says was answered or found upstream is what upstream has from then on."""
    known, now_is = dict[Tag, tuple[Digest, float]](), dict[Tag, Digest]()
    requests = revalidations = stale = 0
    for each in happenings:
        if isinstance(each, Checked) and each.descriptor is not None:
            now_is[each.tag] = each.descriptor.digest
        if not (isinstance(each, Access) and isinstance(each.reference, Tag) and each.digest is not None):
            continue
        tag, counts = each.reference, each.time >= counts_from
        digest = now_is[tag] = each.digest
        had = known.get(tag)
        requests += counts
        if had is None or each.time - had[1] >= ttl(tag):
            revalidations += counts and had is not None
            known[tag] = digest, each.time
            tell(Checked(each.time, tag, Descriptor("", digest, each.size)))
        else:
            stale += counts and had[0] != digest
        tell(each)
    return Asked(requests, revalidations, stale / max(1, requests))

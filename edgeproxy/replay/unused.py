"""What a cache with room for all would hold, and what would come for what it let go, by how long images stay unused."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import inf
from typing import NamedTuple

from edgeproxy.cache.eviction import over_time
from edgeproxy.interfaces import Access, Contents, Happening, Held
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.reference import Pinned, Reference, Tag
from edgeproxy.predict.retention import Retention
from edgeproxy.replay.requests import Trace

FIXED = tuple(days * 86400.0 for days in (3.0, 7.0, 14.0, 30.0))
"""Seconds for which all images alike stay, to compare with."""
_EVERY = 6 * 3600.0
"""Seconds between two looks at what is over."""


class Stayed(NamedTuple):
    """After the warm-up."""

    held: float
    """Bytes here of all that were ever asked for until then, on average."""
    requests: float
    """Share of them for what had been let go."""
    bytes: float
    """Share of those asked for, likewise."""


def fixed(trace: Trace, seconds: float) -> Stayed:
    """Every image stays for so long after it was last asked for."""
    return _Kept(trace, lambda reference: seconds, lambda happening: None).stayed()


def learned(trace: Trace, late: float) -> Stayed:
    """In the code that the daemon runs; `late` is the share of requests for manifests that may come too late."""
    retention = Retention(late)
    return _Kept(trace, retention.ttl, retention.observe).stayed()


class _Kept:
    def __init__(self, trace: Trace, ttl: Callable[[Reference], float], tell: Callable[[Happening], None]) -> None:
        self._trace = trace
        self._ttl = ttl
        self._tell = tell
        self._held = dict[Digest, Held]()
        self._sizes = dict[Digest, int]()
        """Of all that was ever here."""
        self._needs = dict[Digest, tuple[Digest, ...]]()
        self._tags = dict[Tag, Digest]()
        self._shown = dict[Digest, Pinned]()
        self._shares = list[float]()
        self._requests = self._bytes = self._late = self._late_bytes = 0

    def stayed(self) -> Stayed:
        looked = self._trace.happenings[0].time
        for each in self._trace.happenings:
            if each.time >= looked + _EVERY:
                looked = each.time
                self._let_go(looked)
            self._tell(each)
            if isinstance(each, Contents):
                self._needs[each.manifest.digest] = tuple(named.digest for named in each.names)
            elif isinstance(each, Access) and each.digest is not None:
                self._ask(each, each.digest)
        return Stayed(
            sum(self._shares) / max(1, len(self._shares)),
            self._late / max(1, self._requests),
            self._late_bytes / max(1, self._bytes),
        )

    def _ask(self, access: Access, digest: Digest) -> None:
        if access.kind == "manifests":
            if isinstance(access.reference, Tag):
                self._tags[access.reference] = digest
            self._shown[digest] = Pinned(access.reference.repository, digest)
        if access.method == "GET":
            self._count(access, digest)
            if digest not in self._held:
                self._sizes[digest] = access.size
                needs = self._needs.get(digest, ())
                self._held[digest] = Held(digest, access.size, access.time, access.time, needs=needs)
        if digest in self._held:
            self._held[digest] = replace(self._held[digest], used=access.time)

    def _count(self, access: Access, digest: Digest) -> None:
        if access.time < self._trace.counts_from:
            return
        late = digest not in self._held and digest in self._sizes
        self._requests += 1
        self._bytes += access.size
        self._late += late
        self._late_bytes += access.size * late

    def _let_go(self, now: float) -> None:
        for digest in over_time(list(self._held.values()), lambda images: self._over(images, now)):
            del self._held[digest]
        if now >= self._trace.counts_from:
            held = sum(each.size for each in self._held.values())
            self._shares.append(held / max(1, sum(self._sizes.values())))

    def _over(self, images: Sequence[Held], now: float) -> list[Digest]:
        names = defaultdict[Digest, list[Reference]](list)
        for tag, digest in self._tags.items():
            names[digest].append(tag)
        return [image.digest for image in images if image.used + self._stays(image.digest, names) <= now]

    def _stays(self, digest: Digest, names: dict[Digest, list[Reference]]) -> float:
        """What was asked for as a part only stays."""
        shown = self._shown.get(digest)
        return max(map(self._ttl, names.get(digest, [shown] if shown else [])), default=inf)

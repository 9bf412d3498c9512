"""What was asked for, in order, and which requests are one client's pull of one image."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from edgeproxy.interfaces import Access, Happening
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.reference import Repository
from edgeproxy.predict.ledger import key_of
from edgeproxy.replay.registry import Published

_APART = 60.0
"""Seconds after which another request for a manifest begins another pull."""
_LONGEST = 600.0
"""Seconds between two blobs of one pull."""


class Request(NamedTuple):
    """A GET of content."""

    time: float
    digest: Digest
    key: int
    size: int
    pull: int
    """Which pull it is part of, from 0 on."""


@dataclass(frozen=True)
class Trace:
    happenings: Sequence[Happening]
    requests: Sequence[Request]
    footprint: int
    """Bytes of all that is asked for, each once."""
    counts_from: float
    """When the warm-up is over."""
    firsts: frozenset[int]
    """The pulls that are the first of their image, where the repository was known: they follow a release."""
    published: Sequence[Published] = ()
    """What upstream has, and since when, where that is known."""


def trace(happenings: Iterable[Happening], warm: float, published: Sequence[Published] = ()) -> Trace:
    """`warm`: seconds at its beginning that do not count. Raises ValueError where nothing is left.

    `published` may grow while `happenings` are told.
    """
    found, pulls = list(happenings), _Pulls()
    requests = [
        Request(each.time, each.digest, key_of(each.digest), each.size, pull)
        for each, pull in zip(found, map(pulls.of, found), strict=True)
        if isinstance(each, Access) and each.method == "GET" and each.digest is not None
    ]
    if not requests or requests[-1].time < requests[0].time + warm:
        raise ValueError("nothing is left after the warm-up: say less by --warm")
    footprint = sum({each.key: each.size for each in reversed(requests)}.values())
    since = requests[0].time + warm
    return Trace(found, requests, footprint, since, frozenset(pulls.firsts), tuple(published))


class _Pulls:
    def __init__(self) -> None:
        self._count = 0
        self._latest: dict[tuple[int, Repository], tuple[int, float]] = {}
        self._images = set[Digest]()
        self._known = set[Repository]()
        self.firsts: list[int] = []

    def of(self, happening: Happening) -> int:
        """The pull that a request is part of; 0 for what is none."""
        if not isinstance(happening, Access) or happening.digest is None:
            return 0
        where = happening.client, happening.reference.repository
        pull, last = self._latest.get(where, (0, float("-inf")))
        if happening.time - last > (_APART if happening.kind == "manifests" else _LONGEST):
            pull = self._count
            self._count += 1
        self._latest[where] = pull, happening.time
        if happening.kind == "manifests" and happening.method == "GET":
            self._manifest(happening.digest, happening.reference.repository, pull)
        return pull

    def _manifest(self, digest: Digest, repository: Repository, pull: int) -> None:
        if digest not in self._images:
            self._images.add(digest)
            if repository in self._known:
                self.firsts.append(pull)
        self._known.add(repository)

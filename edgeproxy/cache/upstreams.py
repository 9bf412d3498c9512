"""Which upstreams are asked, and whose word counts."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

from edgeproxy.interfaces import Upstream
from edgeproxy.oci.errors import BlobUnknown, ManifestUnknown, NameUnknown, Refusal, RouteUnknown, Unavailable
from edgeproxy.oci.reference import Repository

T = TypeVar("T")
_UNKNOWN = (ManifestUnknown, BlobUnknown, NameUnknown, RouteUnknown)


class Upstreams:
    """Which upstreams serve a registry, in the order to ask them."""

    def __init__(self, by_registry: Mapping[str, Sequence[Upstream]], offline: bool) -> None:
        self._by_registry = by_registry
        self._offline = offline

    def of(self, repository: Repository) -> Sequence[Upstream]:
        """Raises `Unavailable` when nothing may be asked."""
        if self._offline:
            raise Unavailable(f"{repository}: not held here, and this proxy is configured offline")
        return self._by_registry[repository.registry]

    async def first(self, repository: Repository, ask: Callable[[Upstream], Awaitable[T]], otherwise: Refusal) -> T:
        """The first answer that is none of a `Refusal`; else the most telling refusal."""
        refusal = otherwise
        for upstream in self.of(repository):
            try:
                return await ask(upstream)
            except Refusal as error:
                refusal = more_telling(refusal, error)
        raise refusal


def more_telling(one: Refusal, other: Refusal) -> Refusal:
    """That one upstream does not know something is no answer while another could not be asked."""
    return one if isinstance(other, _UNKNOWN) and not isinstance(one, _UNKNOWN) else other

"""Who used what, noted in memory by each answer and carried to the catalogue behind."""

from edgeproxy.interfaces import Clock, StoreFull
from edgeproxy.oci.digest import Digest
from edgeproxy.store.catalog import Catalog


class Accesses:
    """The uses since they were last carried over."""

    def __init__(self, catalog: Catalog, clock: Clock) -> None:
        self._catalog = catalog
        self._clock = clock
        self._uses: dict[Digest, int] = {}

    def note(self, digest: Digest) -> None:
        self._uses[digest] = self._uses.get(digest, 0) + 1

    async def carry_over(self) -> None:
        """Add the uses to the catalogue; the time of use is known to the interval between two calls."""
        uses, self._uses = self._uses, {}
        now = self._clock.now()
        try:
            await self._catalog.add_uses({digest: (count, now) for digest, count in uses.items()})
        except StoreFull:
            for digest, count in uses.items():
                self._uses[digest] = self._uses.get(digest, 0) + count

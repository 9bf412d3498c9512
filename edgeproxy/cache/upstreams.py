"""Which upstreams are asked, and whose word counts."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from edgeproxy.interfaces import Clock, Ranking, Upstream
from edgeproxy.oci.errors import BlobUnknown, ManifestUnknown, NameUnknown, Refusal, RouteUnknown, Unavailable
from edgeproxy.oci.reference import Repository

T = TypeVar("T")
_UNKNOWN = (ManifestUnknown, BlobUnknown, NameUnknown, RouteUnknown)


class Upstreams:
    """Which upstreams serve a registry, in the order to ask them."""

    def __init__(
        self,
        ranking: Ranking,
        clock: Clock,
        offline: bool,
        spares: Callable[[str], bool] = lambda registry: True,
        answers: Callable[[str], bool] = lambda registry: True,
    ) -> None:
        """`clock` tells when an answer is late; `spares` whether a registry grants requests that nobody waits for,
        `answers` whether it has answered lately."""
        self._spares = spares
        self._answers = answers
        self.ranking = ranking
        self.clock = clock
        self._offline = offline

    def of(self, repository: Repository, *, named: bool = False) -> Sequence[Upstream]:
        """Raises `Unavailable` when nothing may be asked. `named`: peers last, their names may be old."""
        if self._offline:
            raise Unavailable(f"{repository}: not held here, and this proxy is configured offline")
        order = self.ranking.order(repository.registry)
        return sorted(order, key=lambda each: each.role == "peer") if named else order

    def may_be_bothered(self, repository: Repository) -> bool:
        """Whether it may be asked for what no client waits for."""
        return not self._offline and self._spares(repository.registry)

    def answer(self, repository: Repository) -> bool:
        """Whether they would, for all that is known: what goes could be had again."""
        return not self._offline and self._answers(repository.registry)

    async def first(
        self,
        repository: Repository,
        ask: Callable[[Upstream], Awaitable[T]],
        otherwise: Refusal,
        *,
        named: bool = False,
    ) -> T:
        """The first answer that is none of a `Refusal`; else the most telling refusal.

        Where an answer is late, the next upstream is asked as well, and whoever answers first is heard.
        """
        refusal, left = otherwise, list(self.of(repository, named=named))
        if len(left) == 1:
            return await ask(left[0])
        asking: set[asyncio.Future[T]] = set()
        try:
            while left or asking:
                if left:
                    upstream = left.pop(0)
                    asking.add(asyncio.ensure_future(ask(upstream)))
                await self._wait(asking, upstream if left else None)
                for answer in [each for each in asking if each.done()]:
                    asking.discard(answer)
                    try:
                        return answer.result()
                    except Refusal as error:
                        refusal = more_telling(refusal, error)
        finally:
            for each in asking:
                each.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
        raise refusal

    async def _wait(self, asking: set[asyncio.Future[T]], upstream: Upstream | None) -> None:
        """Until somebody has answered, or the upstream is late, where one is given."""
        if upstream is None:
            await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
            return
        late = asyncio.ensure_future(self.clock.sleep(self.ranking.patience(upstream)))
        try:
            waiting: set[asyncio.Future[Any]] = {*asking, late}
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            late.cancel()


def more_telling(one: Refusal, other: Refusal) -> Refusal:
    """That one upstream does not know something is no answer while another could not be asked."""
    return one if isinstance(other, _UNKNOWN) and not isinstance(one, _UNKNOWN) else other

"""Whether a repository is shown to a client: what `access` decides, with the facts that it takes.

Whether a repository is private is upstream's to say. Where we have no login of our own, whatever we get is public.
Where we have one, upstream is asked once without it, and the answer is kept in the catalogue.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress

from edgeproxy.access.identity import ANONYMOUS, Caller, Identity, Role
from edgeproxy.access.roles import Binding, Permitted, Verdict, Visibility, decide
from edgeproxy.cache.flights import Spawn
from edgeproxy.cache.questions import Questions
from edgeproxy.cache.upstreams import more_telling
from edgeproxy.interfaces import Clock, Keeper
from edgeproxy.oci.errors import Denied, NameUnknown, Refusal, Unavailable, UpstreamTimeout
from edgeproxy.oci.reference import Repository
from edgeproxy.store.catalog import Catalog

log = logging.getLogger(__name__)
_BELIEVED = 3600.0
"""Seconds after which upstream is asked again, behind an answer by what was known."""
_AGAIN = 30.0
"""Seconds between two such questions about one repository."""
_REMEMBERED = 1.0
"""Seconds for which the hits of a repository need no decision of their own."""
_MOST = 10_000
Question = tuple[Repository, str]
"""A repository, and a path in it."""


class Admission:
    """Refuses what is not for everybody; hits of what is ask nothing but a set."""

    def __init__(
        self,
        catalog: Catalog,
        keepers: Mapping[str, Sequence[Keeper]],
        bindings: Sequence[Binding],
        permitted: Permitted,
        clock: Clock,
        spawn: Spawn,
        patience: float,
        offline: bool = False,
    ) -> None:
        """`keepers`: the upstreams of each registry. `patience` in seconds, as for `Flights`."""
        self._catalog = catalog
        self._keepers = keepers
        self._bindings = bindings
        self._permitted = permitted
        self._clock = clock
        self._patience = patience
        self._offline = offline
        self._open: set[Repository] = set()
        self._open_until = 0.0
        self._questions = Questions[Question, Visibility](spawn)
        self._asked: dict[Repository, float] = {}

    def at_once(self, repository: Repository, now: float) -> bool:
        """Whether it is known to be for everybody; False leaves it to `admit`."""
        if not now < self._open_until <= now + _REMEMBERED:
            self._open.clear()
            self._open_until = now + _REMEMBERED
        if repository in self._open:
            return True
        if self.shows(repository) and not self._is_old(repository):
            self._open.add(repository)
            return True
        return False

    def shows(self, repository: Repository) -> bool:
        """Whether it is for everybody, by what is known; what is not known is private."""
        return str(repository) in self._permitted and self._decide(repository, self._known(repository)).allowed

    def permit(self, repository: Repository) -> None:
        """Raises `Denied` for what may not be had at all, whoever asks."""
        if str(repository) not in self._permitted:
            raise Denied(f"{repository} may not be pulled here: the operator's lists ([fetch]) leave it out")

    async def admit(self, caller: Caller, repository: Repository, path: str, role: Role = Role.PULLER) -> None:
        """Raises `Denied`, or where upstream has to be asked and cannot, the `Refusal` that says why.

        `path` is what is asked for in the repository, as in `Keeper.shows`.
        """
        self.permit(repository)
        known = self._known(repository)
        verdict = self._decide(repository, known, caller.identity, role)
        public = self._decide(repository, Visibility.PUBLIC, caller.identity, role)
        if not verdict.allowed and public.allowed and known is None:
            verdict = self._decide(repository, await self._patiently(repository, path), caller.identity, role)
        elif self._is_old(repository):
            self._ask_behind(repository, path)
        if not verdict.allowed:
            log.info("refused to %s: %s: %s", caller.identity, repository, verdict.reason)
            raise Denied(f"{repository} is not for everybody here: {verdict.reason}; ask the operator for [[access]]")

    async def learn(self, repository: Repository, path: str) -> None:
        """Have it known whether it is public, before the link is cut. Raises `Denied` as `permit` does."""
        self.permit(repository)
        if self._known(repository) is None:
            with suppress(Refusal):
                await self._patiently(repository, path)

    # judging

    def _decide(
        self,
        repository: Repository,
        visibility: Visibility | None,
        identity: Identity = ANONYMOUS,
        role: Role = Role.PULLER,
    ) -> Verdict:
        seen = visibility or Visibility.PRIVATE
        return decide(identity, role, str(repository), seen, proven=False, bindings=self._bindings)

    def _known(self, repository: Repository) -> Visibility | None:
        seen = self._catalog.seen(repository)
        if seen is not None:
            return Visibility.PUBLIC if seen.public else Visibility.PRIVATE
        guarded = any(keeper.guarded for keeper in self._keepers.get(repository.registry, ()))
        return None if guarded else Visibility.PUBLIC

    def _is_old(self, repository: Repository) -> bool:
        seen = self._catalog.seen(repository)
        return seen is not None and not 0 <= self._clock.now() - seen.checked < _BELIEVED

    # asking

    def _ask_behind(self, repository: Repository, path: str) -> None:
        now = self._clock.now()
        if self._offline or now < self._asked.get(repository, 0.0) + _AGAIN:
            return
        if len(self._asked) >= _MOST:
            self._asked.clear()
        self._asked[repository] = now
        self._ask(repository, path)

    async def _patiently(self, repository: Repository, path: str) -> Visibility:
        if self._offline:
            raise Unavailable(f"{repository}: not known to be public, and this proxy is configured offline")
        try:
            async with asyncio.timeout(self._patience):
                return await asyncio.shield(self._ask(repository, path))
        except TimeoutError as error:
            message = f"upstream is slow to say whether {repository} is public; ask again"
            raise UpstreamTimeout(message, retry_after=5) from error

    def _ask(self, repository: Repository, path: str) -> asyncio.Future[Visibility]:
        return self._questions.ask((repository, path), self._learn, f"whether {repository} is public")

    async def _learn(self, question: Question) -> Visibility:
        visibility = await self._visibility(*question)
        await self._catalog.put_seen(question[0], visibility is Visibility.PUBLIC, self._clock.now())
        return visibility

    async def _visibility(self, repository: Repository, path: str) -> Visibility:
        """Public where one upstream shows it to anybody. Raises the most telling `Refusal` where nobody says."""
        trouble: Refusal = NameUnknown(f"{repository} is unknown")
        hidden = False
        for keeper in self._keepers.get(repository.registry, ()):
            try:
                if await keeper.shows(repository, path):
                    return Visibility.PUBLIC
                hidden = True
            except Refusal as refusal:
                trouble = more_telling(trouble, refusal)
        if not hidden:
            raise trouble
        return Visibility.PRIVATE

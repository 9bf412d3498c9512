"""To whom upstream shows a repository: to anybody, or to a caller by a login of its own.

Where we have no login, and no caller's is passed on, whatever we get is public. Else upstream is asked once without a
login, and what it says is kept in the catalogue; what a caller's login opens is kept in memory, and for minutes only.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from edgeproxy.access.roles import Visibility
from edgeproxy.cache.flights import Spawn
from edgeproxy.cache.questions import Questions
from edgeproxy.cache.upstreams import more_telling
from edgeproxy.interfaces import Clock, Keeper
from edgeproxy.oci.credentials import Credentials
from edgeproxy.oci.errors import NameUnknown, Refusal, TooManyRequests, Unavailable, UpstreamTimeout
from edgeproxy.oci.reference import Repository
from edgeproxy.store.catalog import Catalog

_BELIEVED = 3600.0
"""Seconds after which upstream is asked again whether something is public, behind an answer by what was known."""
_AGAIN = 30.0
"""Seconds between two such questions about one repository."""
_PROVEN, _PROVEN_ALONE, _DISPROVEN = 300.0, 3600.0, 10.0
"""Seconds for which a login is known to open a repository; while upstream cannot be asked; and not to open it."""
_MOST = 10_000


class Question(NamedTuple):
    repository: Repository
    path: str
    """What is asked for in it, as in `Keeper.shows`."""
    own: Credentials | None = None


class Proof(NamedTuple):
    opens: bool
    found: float
    """Seconds since the epoch."""


class Visibilities:
    """What is known, and what upstream says where nothing is."""

    def __init__(
        self,
        catalog: Catalog,
        keepers: Mapping[str, Sequence[Keeper]],
        clock: Clock,
        spawn: Spawn,
        patience: float,
        *,
        offline: bool = False,
        pass_through: bool = False,
    ) -> None:
        """`keepers`: the upstreams of each registry. `patience` in seconds, as for `Flights`."""
        self._catalog = catalog
        self._keepers = keepers
        self._clock = clock
        self._patience = patience
        self._offline = offline
        self._pass_through = pass_through
        self._questions = Questions[Question, bool](spawn)
        self._asked: dict[Repository, float] = {}
        self._proofs: dict[tuple[Credentials, Repository], Proof] = {}

    # what is known

    def of(self, repository: Repository) -> Visibility | None:
        """`None` where upstream has to be asked."""
        seen = self._catalog.seen(repository)
        if seen is not None:
            return None if not seen.checked else Visibility.PUBLIC if seen.public else Visibility.PRIVATE
        guarded = self._pass_through or any(keeper.guarded for keeper in self._keepers.get(repository.registry, ()))
        return None if guarded else Visibility.PUBLIC

    def is_old(self, repository: Repository) -> bool:
        seen = self._catalog.seen(repository)
        return seen is not None and bool(seen.checked) and not 0 <= self._clock.now() - seen.checked < _BELIEVED

    def is_proven(self, own: Credentials | None, repository: Repository) -> bool:
        """Whether this login was found a short while ago to open the repository."""
        proof = self._proofs.get((own, repository)) if own is not None else None
        return proof is not None and proof.opens and self._clock.now() < proof.found + _PROVEN

    # what upstream says

    async def ask(self, repository: Repository, path: str) -> Visibility:
        """Raises the `Refusal` that says why upstream does not tell. What was pushed here is private then."""
        try:
            shown = await self._patiently(Question(repository, path))
        except Refusal:
            if self._catalog.seen(repository) is None:
                raise
            shown = False
            await self._catalog.put_seen(repository, shown, self._clock.now())
        return Visibility.PUBLIC if shown else Visibility.PRIVATE

    def ask_behind(self, repository: Repository, path: str) -> None:
        now = self._clock.now()
        if self._offline or now < self._asked.get(repository, 0.0) + _AGAIN:
            return
        if len(self._asked) >= _MOST:
            self._asked.clear()
        self._asked[repository] = now
        self._ask(Question(repository, path))

    async def prove(self, own: Credentials, repository: Repository, path: str) -> bool:
        """Whether this login opens the repository upstream. Raises the `Refusal` that says why that is not known."""
        proof, now = self._proofs.get((own, repository)), self._clock.now()
        if proof is not None and now < proof.found + (_PROVEN if proof.opens else _DISPROVEN):
            return proof.opens
        try:
            return await self._patiently(Question(repository, path, own))
        except (Unavailable, TooManyRequests):
            if proof is not None and proof.opens and now < proof.found + _PROVEN_ALONE:
                return True
            raise

    async def _patiently(self, question: Question) -> bool:
        repository = question.repository
        if self._offline:
            raise Unavailable(f"{repository}: not known to be for you, and this proxy is configured offline")
        try:
            async with asyncio.timeout(self._patience):
                return await asyncio.shield(self._ask(question))
        except TimeoutError as error:
            message = f"upstream is slow to say who may see {repository}; ask again"
            raise UpstreamTimeout(message, retry_after=5) from error

    def _ask(self, question: Question) -> asyncio.Future[bool]:
        return self._questions.ask(question, self._learn, f"who may see {question.repository}")

    async def _learn(self, question: Question) -> bool:
        repository, _, own = question
        shown = await self._is_shown(question)
        if own is None:
            await self._catalog.put_seen(repository, shown, self._clock.now())
        else:
            if len(self._proofs) >= _MOST:
                self._proofs.clear()
            self._proofs[own, repository] = Proof(shown, self._clock.now())
        return shown

    async def _is_shown(self, question: Question) -> bool:
        """By one upstream at least. Raises the most telling `Refusal` where nobody says."""
        trouble: Refusal = NameUnknown(f"{question.repository} is unknown")
        hidden = False
        for keeper in self._keepers.get(question.repository.registry, ()):
            try:
                if await keeper.shows(*question):
                    return True
                hidden = True
            except Refusal as refusal:
                trouble = more_telling(trouble, refusal)
        if not hidden:
            raise trouble
        return False

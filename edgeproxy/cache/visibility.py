"""To whom upstream shows a repository: to anybody, or to a caller by a login of its own.

Where we have no login, and no caller's is passed on, whatever we get is public. Else upstream is asked without a login.
That it shows a repository is kept in the catalogue, and so is that it does not where something of it may be here; all
else is kept in memory, for an hour at the most.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
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
"""Seconds between two such questions about one repository, and between two that upstream does not answer."""
_PROVEN, _PROVEN_ALONE, _DISPROVEN = 300.0, 3600.0, 10.0
"""Seconds for which a login is known to open a repository; while upstream cannot be asked; and not to open it."""
_MOST, _MOST_PROOFS = 10_000, 1000


_LISTS = "tags/list"


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
        self._hidden: dict[Repository, float] = {}
        """What upstream does not show to anybody, and when it said so: any name can be asked for, so this is no row."""
        self._proofs: dict[tuple[Credentials, Repository], Proof] = {}

    # what is known

    def of(self, repository: Repository) -> Visibility | None:
        """`None` where upstream has to be asked."""
        seen = self._catalog.seen(repository)
        if seen is not None and seen.checked:
            return Visibility.PUBLIC if seen.public else Visibility.PRIVATE
        if self._clock.now() < self._hidden.get(repository, -_BELIEVED) + _BELIEVED:
            return Visibility.PRIVATE
        guarded = self._pass_through or any(keeper.guarded for keeper in self._keepers.get(repository.registry, ()))
        return None if guarded or seen is not None else Visibility.PUBLIC

    def is_old(self, repository: Repository) -> bool:
        seen = self._catalog.seen(repository)
        return seen is not None and bool(seen.checked) and not 0 <= self._clock.now() - seen.checked < _BELIEVED

    def is_proven(self, own: Credentials | None, repository: Repository) -> bool:
        """Whether this login was found a short while ago to open the repository."""
        proof = self._proofs.get((own, repository)) if own is not None else None
        return proof is not None and proof.opens and self._clock.now() < proof.found + _PROVEN

    # what upstream says

    async def ask(self, repository: Repository, path: str) -> Visibility:
        """Raises the `Refusal` that says why upstream does not tell. What is here without its word is private then."""
        is_here = self._catalog.seen(repository) is not None
        if is_here and not self._may_ask(repository):
            return Visibility.PRIVATE
        try:
            shown = await self._patiently(Question(repository, path))
        except Refusal:
            if not is_here:
                raise
            shown = False
        return Visibility.PUBLIC if shown else Visibility.PRIVATE

    def ask_behind(self, repository: Repository, path: str) -> None:
        if not self._offline and self._may_ask(repository):
            with suppress(TooManyRequests):
                self._ask(Question(repository, path))

    async def note(self, repository: Repository) -> None:
        """Something of it is about to be here that is not known to be for everybody: that outlives our login."""
        if self._catalog.seen(repository) is None:
            await self._catalog.put_seen(repository, False, self._hidden.get(repository, 0.0))

    def _may_ask(self, repository: Repository) -> bool:
        now = self._clock.now()
        if now < self._asked.get(repository, -_AGAIN) + _AGAIN:
            return False
        _put(self._asked, repository, now)
        return True

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
        repository, path, own = question
        shown = await self._is_shown(question)
        now = self._clock.now()
        if own is not None:
            held = {key: proof for key, proof in self._proofs.items() if now < proof.found + _PROVEN_ALONE}
            self._proofs = {} if len(held) >= _MOST_PROOFS else held
            self._proofs[own, repository] = Proof(shown, now)
        elif path != _LISTS:  # some registries show content to anybody, and lists to nobody
            if shown or self._catalog.seen(repository) is not None:
                await self._catalog.put_seen(repository, shown, now)
            else:
                _put(self._hidden, repository, now)
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


def _put(times: dict[Repository, float], repository: Repository, now: float) -> None:
    if len(times) >= _MOST:
        times.clear()
    times[repository] = now

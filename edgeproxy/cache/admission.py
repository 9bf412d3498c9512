"""Whether something may be done with a repository: what `access` decides, with the facts that it takes."""

from collections.abc import Sequence
from contextlib import suppress

from edgeproxy.access.identity import NOBODY, Caller, Role
from edgeproxy.access.roles import Binding, Permitted, Verdict, Visibility, decide
from edgeproxy.cache.visibility import Visibilities
from edgeproxy.oci.credentials import lent
from edgeproxy.oci.errors import Denied, Refusal, Unauthorized
from edgeproxy.oci.reference import Repository

_REMEMBERED = 1.0
"""Seconds for which hits of the same caller in the same repository need no decision of their own."""


class Admission:
    """Refuses what is not for the caller; hits of what is ask nothing but a set."""

    def __init__(
        self,
        visibilities: Visibilities,
        bindings: Sequence[Binding],
        permitted: Permitted,
        *,
        logins: bool = False,
    ) -> None:
        """`logins`: whether there is a way to log in, so that it is worth telling somebody to."""
        self._visibilities = visibilities
        self._bindings = bindings
        self._permitted = permitted
        self._logins = logins
        self._open: set[tuple[Caller, Repository]] = set()
        self._open_until = 0.0

    def at_once(self, caller: Caller, repository: Repository, now: float) -> bool:
        """Whether it is known that the caller may pull from it; False leaves it to `admit`."""
        if not now < self._open_until <= now + _REMEMBERED:
            self._open.clear()
            self._open_until = now + _REMEMBERED
        if (caller, repository) in self._open:
            return True
        if self.shows(caller, repository) and not self._visibilities.is_old(repository):
            self._open.add((caller, repository))
            return True
        return False

    def shows(self, caller: Caller, repository: Repository) -> bool:
        """Whether the caller may pull from it, by what is known; what is not known is private."""
        if str(repository) not in self._permitted:
            return False
        proven = self._visibilities.is_proven(caller.login_for(repository.registry), repository)
        return self._decide(caller, Role.PULLER, repository, self._visibilities.of(repository), proven).allowed

    def permit(self, repository: Repository) -> None:
        """Raises `Denied` for what may not be had at all, whoever asks."""
        if str(repository) not in self._permitted:
            raise Denied(f"{repository} may not be had here: the operator's lists ([fetch]) leave it out", "unlisted")

    async def admit(self, caller: Caller, repository: Repository, path: str, role: Role = Role.PULLER) -> None:
        """Raises `Unauthorized` or `Denied`, or where upstream has to be asked and cannot, the `Refusal` that says why.

        `path` is what is asked for in the repository, as in `Keeper.shows`. Where the caller's own login is what opens
        the repository, it is lent to what is done from here on.
        """
        lent.set(None)
        self.permit(repository)
        known = self._visibilities.of(repository)
        verdict = self._decide(caller, role, repository, known)
        if not verdict.allowed and known is None and self._decide(caller, role, repository, Visibility.PUBLIC).allowed:
            verdict = self._decide(caller, role, repository, await self._visibilities.ask(repository, path))
        elif self._visibilities.is_old(repository):
            self._visibilities.ask_behind(repository, path)
        if not verdict.allowed and not await self._is_opened(caller, repository, path, role):
            raise self._refusal(caller, repository, verdict)
        if self._visibilities.of(repository) is not Visibility.PUBLIC:
            await self._visibilities.note(repository)

    def welcome(self, caller: Caller, *, guarded: bool) -> None:
        """Whether somebody gets past `/v2/`: raises `Unauthorized` where a login is wrong, or wanted and not there."""
        if self._logins and (caller.trouble or (guarded and caller is NOBODY)):
            raise Unauthorized(f"{caller.trouble or 'a login is wanted under this name'}: log in", "login")

    def replicates(self, caller: Caller) -> bool:
        """Whether the caller is another site, as far as rules or its token say so of any repository."""
        grants = caller.identity.grants
        if grants is not None:
            return any(grant.role is Role.REPLICATOR for grant in grants)
        return any(
            binding.role >= Role.REPLICATOR and not binding.deny and binding.subjects.include(caller.identity)
            for binding in self._bindings
        )

    def operate(self, caller: Caller) -> None:
        """Raises `Unauthorized` or `Denied` for who is no operator."""
        verdict = decide(caller.identity, Role.OPERATOR, "", Visibility.PRIVATE, False, self._bindings)
        if not verdict.allowed:
            raise self._refusal(caller, "the proxy's operation", verdict)

    async def learn(self, repository: Repository, path: str) -> None:
        """Have it known whether it is public, before the link is cut. Raises `Denied` as `permit` does."""
        self.permit(repository)
        if self._visibilities.of(repository) is None:
            with suppress(Refusal):
                await self._visibilities.ask(repository, path)
        if self._visibilities.of(repository) is not Visibility.PUBLIC:
            await self._visibilities.note(repository)

    def _decide(
        self, caller: Caller, role: Role, repository: Repository, visibility: Visibility | None, proven: bool = False
    ) -> Verdict:
        seen = visibility or Visibility.PRIVATE
        return decide(caller.identity, role, str(repository), seen, proven, self._bindings)

    async def _is_opened(self, caller: Caller, repository: Repository, path: str, role: Role) -> bool:
        """By the caller's own login, where that may open it."""
        own = caller.login_for(repository.registry)
        if own is None or not self._decide(caller, role, repository, None, proven=True).allowed:
            return False
        if not await self._visibilities.prove(own, repository, path):
            return False
        lent.set(own)
        return True

    def _refusal(self, caller: Caller, what: Repository | str, verdict: Verdict) -> Refusal:
        own = caller.login_for(what.registry) if isinstance(what, Repository) else None
        trouble = caller.trouble or ("upstream refuses this login" if own is not None else "")
        because = f"{verdict.reason.value}; {trouble}" if trouble else verdict.reason.value
        reason = "login" if trouble else verdict.reason.name.lower()
        if self._logins and not caller.identity.name:
            return Unauthorized(f"{what} is not for everybody here: {because}; log in", reason)
        return Denied(f"{what} is not for {caller.identity} here: {because}; ask the operator for [[access]]", reason)

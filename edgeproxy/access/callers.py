"""Who asks: found from the `Authorization` of a request and the certificate of its connection.

A login that is wrong opens no more than none does, and takes nothing away: what is public is shown to its bearer, too.
"""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from edgeproxy.access.identity import ANONYMOUS, NOBODY, Caller, Identity
from edgeproxy.access.issuer import Issuer, TokenInvalid
from edgeproxy.access.users import Users
from edgeproxy.access.verifier import Verifier
from edgeproxy.interfaces import Clock
from edgeproxy.oci.credentials import Credentials, parse_basic
from edgeproxy.oci.errors import TooManyRequests

_BELIEVED = 300.0
"""Seconds for which a right password is not checked again, unless the users change."""
_DOUBTED = 10.0
"""Seconds for which what was wrong is not checked again."""
_MOST, _LONGEST = 4096, 4096
"""Callers that are remembered, and characters of a login that is."""


class Asking(NamedTuple):
    """What a request says of who makes it."""

    authorization: str = ""
    presented: str = ""
    """The name in a certificate that the connection has been verified by; empty without one."""


class _Known(NamedTuple):
    caller: Caller
    until: float


class Callers:
    """Finds the caller of a request; whom it has found lately it finds again at once."""

    def __init__(
        self,
        issuer: Issuer,
        clock: Clock,
        users: Users | None = None,
        verifier: Verifier | None = None,
        groups: Mapping[str, Collection[str]] | None = None,
        *,
        pass_through: bool = False,
    ) -> None:
        """`groups`: the names in each. `pass_through`: logins of nobody here are the caller's own, for upstream."""
        self._issuer = issuer
        self._clock = clock
        self._users = users
        self._verifier = verifier
        self._groups = groups or {}
        self._pass_through = pass_through
        self._known: dict[Asking, _Known] = {}
        self._doubted: dict[Asking, _Known] = {}
        """Wrong logins, and those that are for upstream to judge: no number of them has a right one checked again."""

    def at_once(self, asking: Asking, now: float) -> Caller | None:
        """The caller, where that takes nothing to find out; `None` leaves it to `identify`."""
        for known in (self._known, self._doubted):
            found = known.get(asking)
            if found is not None and now < found.until:
                return found.caller
        return None

    async def identify(self, asking: Asking) -> Caller:
        """Never fails: a login that cannot be checked now opens no more than none."""
        if asking == _NOTHING:
            return NOBODY
        now = self._clock.now()
        caller = self.at_once(asking, now)
        if caller is not None:
            return caller
        believed, doubted = self._known, self._doubted
        found = await self._find(asking, now)
        known = doubted if found.caller.trouble or found.caller.own is not None else believed
        if len(known) >= _MOST:
            known.clear()
        if len(asking.authorization) <= _LONGEST:
            known[asking] = found
        return found.caller

    async def log_in(self, credentials: Credentials) -> Caller:
        """Somebody with a name and a password; `trouble` where that is wrong."""
        if self._users is not None and (credentials.username in self._users or not self._pass_through):
            if await self._users.check(credentials):
                return Caller(self._named(credentials.username))
            return Caller(trouble="the user or the password is wrong")
        if self._pass_through and len(credentials.username) + len(credentials.password) <= _LONGEST:
            return Caller(own=credentials)
        return Caller(trouble="no passwords are known here")

    def token(self, caller: Caller, registries: Collection[str] = ()) -> tuple[str, int]:
        """A token that says who the caller is, and the seconds for which it holds.

        A login of its own is sealed in it, for these registries only, and kept nowhere else.
        """
        what: dict[str, Any] = {"name": caller.identity.name}
        if caller.own is not None:
            what |= {"own": [caller.own.username, caller.own.password], "for": sorted(registries)}
        elif caller.identity.name and self._users is not None:
            what["mark"] = self._users.mark(caller.identity.name)
        return self._issuer.seal(what, self._clock.now()), self._issuer.life

    def refresh(self) -> None:
        """Forget who was known where the users have changed."""
        if self._users is not None and self._users.refresh():
            self._known, self._doubted = {}, {}  # who is being found now, by what was, is not remembered

    async def _find(self, asking: Asking, now: float) -> _Known:
        certified = Caller(self._named(asking.presented)) if asking.presented else NOBODY
        scheme, _, given = asking.authorization.partition(" ")
        if not asking.authorization:
            return _Known(certified, now + _BELIEVED)
        try:
            if scheme.lower() == "bearer":
                caller, until = self._bearer(given.strip(), now)
            elif scheme.lower() == "basic":
                credentials = parse_basic(given)
                if credentials is None:  # an empty name is how some clients say that they have no login
                    return _Known(certified, now + _BELIEVED)
                caller, until = await self.log_in(credentials), now + _BELIEVED
            else:
                caller, until = Caller(trouble="the login is neither Basic nor Bearer"), now
        except TokenInvalid as error:
            caller, until = Caller(trouble=str(error)), now
        except TooManyRequests as error:
            return _Known(Caller(certified.identity, trouble=error.message), now)
        if caller.trouble:
            return _Known(Caller(certified.identity, trouble=caller.trouble), now + _DOUBTED)
        if caller.identity is ANONYMOUS and certified is not NOBODY:
            caller = Caller(certified.identity, caller.own, caller.own_for)
        return _Known(caller, until)

    def _bearer(self, token: str, now: float) -> tuple[Caller, float]:
        """Ours, or one of the site's token server. Raises `TokenInvalid`."""
        if self._verifier is not None and token.count(".") == 2:
            identity, until = self._verifier.verify(token, now)
            named = self._named(identity.name)
            return Caller(Identity(identity.name, identity.groups | named.groups, identity.grants)), until
        what, until = self._issuer.open(token, now)
        name = what["name"]
        if "own" in what:
            if not self._pass_through:
                raise TokenInvalid("the token is for upstream, and logins are not passed on here any more")
            return Caller(own=Credentials(*what["own"]), own_for=frozenset(what["for"])), until
        if not name:
            return NOBODY, until
        if "mark" in what and (self._users is None or self._users.mark(name) != what["mark"]):
            raise TokenInvalid("the token is of before the user's password was changed")
        return Caller(self._named(name)), until

    def _named(self, name: str) -> Identity:
        return Identity(name, frozenset(group for group, members in self._groups.items() if name in members))


_NOTHING = Asking()

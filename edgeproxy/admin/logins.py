"""/api/v1/logins: who we are at upstreams."""

import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, Protocol

from aiohttp import web

from edgeproxy.admin.problems import problem
from edgeproxy.oci.credentials import Credentials
from edgeproxy.oci.errors import Refusal

_EXAMPLE = 'write {"username": "me", "password": "…"}'
_LONGEST = 16 * 1024


class Account(NamedTuple):
    registry: str
    host: str
    username: str
    """Empty where it is not known before it is asked for."""
    kept: bool
    """Whether it was given to the daemon; else the configuration says it."""


class NotTaken(Exception):
    """What is wrong with a request, and the status that says so."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Accounts(Protocol):
    def known(self) -> Sequence[Account]: ...

    async def login(self, name: str, credentials: Credentials) -> Sequence[Account]:
        """Raises `NotTaken`, OSError, and the `Refusal` of an upstream that does not take it."""
        ...

    async def logout(self, name: str) -> bool:
        """Whether there was a login. Raises `NotTaken`, OSError."""
        ...


class LoginRequests:
    """No password is ever answered."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_get("/api/v1/logins", self._known)
        router.add_put("/api/v1/logins/{registry}", self._login)
        router.add_delete("/api/v1/logins/{registry}", self._logout)

    async def _known(self, request: web.Request) -> web.Response:
        return web.json_response({"logins": [each._asdict() for each in self._accounts.known()]})

    async def _login(self, request: web.Request) -> web.Response:
        """400 for what is no login, 403 where upstream does not take it, 502 where it cannot be asked."""
        try:
            credentials = _credentials(await request.read())
        except (ValueError, RecursionError) as error:
            return problem(400, f"{error}; {_EXAMPLE}")

        async def login() -> Sequence[Account]:
            return await self._accounts.login(request.match_info["registry"], credentials)

        return await _answered(login, lambda found: {"logins": [each._asdict() for each in found]})

    async def _logout(self, request: web.Request) -> web.Response:
        async def logout() -> bool:
            return await self._accounts.logout(request.match_info["registry"])

        return await _answered(logout, lambda was: {"was": was})


async def _answered(act: Callable[[], Awaitable[Any]], told: Callable[[Any], object]) -> web.Response:
    try:
        return web.json_response(told(await act()))
    except NotTaken as error:
        return problem(error.status, str(error))
    except Refusal as refusal:
        return problem(403 if refusal.status in (401, 403) else 502, refusal.message)
    except OSError as error:
        return problem(507, f"the login cannot be kept: {error.strerror}")


def _credentials(body: bytes) -> Credentials:
    """Raises ValueError."""
    if len(body) > _LONGEST:
        raise ValueError("that is too long for a login")
    document = json.loads(body)
    if not isinstance(document, dict) or set(document) != {"username", "password"}:
        raise ValueError("a login has a username and a password")
    name, password = document["username"], document["password"]
    if not all(isinstance(each, str) and each for each in (name, password)) or ":" in name:
        raise ValueError("username and password are texts, neither is empty, and no username has a colon")
    return Credentials(name, password)

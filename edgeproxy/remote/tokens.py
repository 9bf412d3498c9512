"""Tokens and Basic at registries (Docker token authentication; RFC 7617)."""

import asyncio
import json
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from time import monotonic
from typing import NamedTuple

from aiohttp import ClientError, ClientResponse
from yarl import URL

from edgeproxy.oci.credentials import Credentials
from edgeproxy.oci.errors import Refusal, TooManyRequests, Unavailable, UpstreamTimeout, UpstreamUnauthorized
from edgeproxy.remote.allowance import Allowance, read_retry_after
from edgeproxy.remote.logins import AT_MOST_EVERY, Login
from edgeproxy.remote.targets import led, may_send
from edgeproxy.remote.transport import Transport

_SCHEME = re.compile(r"\s*([A-Za-z]+)\s+(.*)", re.DOTALL)
_PARAMETER = re.compile(r'([A-Za-z_]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))')
_LIFE = 60.0
"""Seconds a token lives where its issuer does not say (Docker token authentication)."""
_AHEAD = 0.8
"""The part of a life after which another token is asked for."""
_USED = 0.95
"""The part of a life after which it is no longer sent: clocks differ, and requests take time to arrive."""
_MOST_TOKENS = 10_000
_LARGEST_ANSWER = 1024 * 1024


def parse_challenge(header: str) -> tuple[str, dict[str, str]]:
    """`WWW-Authenticate` as its scheme in lower case and its parameters (RFC 9110, section 11.6.1)."""
    found = _SCHEME.match(header)
    if not found:
        return header.strip().lower(), {}
    parameters = {
        key.lower(): re.sub(r"\\(.)", r"\1", quoted) or bare for key, quoted, bare in _PARAMETER.findall(found[2])
    }
    return found[1].lower(), parameters


Send = Callable[[str | None], Awaitable[ClientResponse]]
"""Sends a request with this `Authorization`, as often as it is called."""


class _Token(NamedTuple):
    authorization: str
    given: float
    life: float
    asked: float
    """When it was given, or another one was last asked for."""
    challenge: Mapping[str, str] | None = None
    """What it answered, where another one can be asked for in the same way."""


class Tokens:
    """The bearer tokens of one upstream, by scope; each asked for once however many wait for it."""

    def __init__(
        self,
        transport: Transport,
        registry: URL,
        login: Login | None,
        timeout: float,
        now: Callable[[], float] = monotonic,
        allowance: Allowance | None = None,
    ) -> None:
        self._transport = transport
        self._registry = registry
        self._login = login
        self._timeout = timeout
        self._now = now
        self.allowance = allowance or Allowance()
        """What upstream grants to whose tokens these are."""
        self._known: dict[str, _Token] = {}
        self._asking: dict[str, asyncio.Task[str]] = {}
        self.renewals = 0
        """How often upstream's refusals were answered by a fresh login or token."""

    async def authorized(self, scope: str, send: Send) -> ClientResponse:
        """A request with the login it takes, and once more with a fresh one: ECR says 403 for a token that is over."""
        since = self.renewals
        try:
            response = await self._challenged(scope, send)
        except UpstreamUnauthorized:
            if not await self.renew(scope, since):
                raise
            return await self._challenged(scope, send)
        if response.status not in (401, 403):
            return response
        try:
            renewed = await self.renew(scope, since)
        except BaseException:
            response.close()
            raise
        if not renewed:  # it may say why
            return response
        response.close()
        return await self._challenged(scope, send)

    async def _challenged(self, scope: str, send: Send) -> ClientResponse:
        sent = self.authorization(scope)
        response = await send(sent)
        if response.status != 401:
            return response
        challenges = response.headers.getall("WWW-Authenticate", [])
        response.close()
        return await send(await self.answer(challenges, scope, sent))

    async def show(self, scope: str) -> None:
        """Send the name and the password without being asked for them, where there are any."""
        credentials = await self._credentials()
        if credentials is not None and not credentials.identity_token and self.authorization(scope) is None:
            await self._basic(scope)

    def authorization(self, scope: str) -> str | None:
        """What to send without having been challenged: a token that still lives.

        Towards its end another one is asked for, and nobody waits.
        """
        token, now = self._known.get(scope), self._now()
        if token is None or now >= token.given + _USED * token.life:
            return None
        if token.challenge is not None and now >= max(token.given + _AHEAD * token.life, token.asked + AT_MOST_EVERY):
            self._known[scope] = token._replace(asked=now)
            self._ask_once(token.challenge, scope)
        return token.authorization

    async def answer(self, challenges: Sequence[str], scope: str, refused: str | None) -> str:
        """The `Authorization` that one of these asks for, and no other than was `refused`, where there is another.

        Raises `UpstreamUnauthorized` where none can be met.
        """
        if (found := self.authorization(scope)) is not None and found != refused:
            return found  # somebody else has asked meanwhile
        known = dict(map(parse_challenge, challenges))
        scheme = next((one for one in ("bearer", "basic") if one in known), next(iter(known), ""))
        parameters = known.get(scheme, {})
        if scheme == "basic":
            return await self._basic(scope)
        if scheme != "bearer" or "realm" not in parameters:
            raise UpstreamUnauthorized(
                f"{self._registry.host} asks for a login of a kind unknown here: {scheme[:40]!r}"
            )
        self._known.pop(scope, None)
        return await asyncio.shield(self._ask_once(parameters, scope))

    async def renew(self, scope: str, since: int) -> bool:
        """Upstream refuses a request that began after so many renewals; whether another attempt may go better.

        That is so where others have renewed meanwhile, where the login has others to give, and where the token is not
        of just now. Raises `UpstreamUnauthorized` where the login cannot be renewed.
        """
        if self.renewals != since:
            return True
        before = self._login.held if self._login else None
        renewed = self._login is not None and await self._login.renew()
        if self.renewals != since:
            return True
        token = self._known.get(scope)
        if not renewed and (token is None or self._now() < token.given + min(AT_MOST_EVERY, token.life)):
            return False
        self.renewals += 1
        if self._login is None or self._login.held == before:  # the refusal says nothing of the other scopes' tokens
            self._known.pop(scope, None)
            self._asking.pop(scope, None)
        else:
            self._known.clear()
            self._asking.clear()  # they ask with the login of before
        return True

    async def _basic(self, scope: str) -> str:
        credentials = await self._credentials()
        if credentials is None:
            raise UpstreamUnauthorized(f"{self._registry.host} wants a login: configure username and password_file")
        if credentials.identity_token:
            raise UpstreamUnauthorized(
                f"{self._registry.host} wants a name and a password, not an identity token: "
                "configure username and password_file"
            )
        now = self._now()
        self._remember(scope, _Token(credentials.basic(), now, _LIFE, now))
        return credentials.basic()

    async def _credentials(self) -> Credentials | None:
        return await self._login.credentials() if self._login else None

    def _ask_once(self, parameters: Mapping[str, str], scope: str) -> asyncio.Task[str]:
        task = self._asking.get(scope)
        if task is None:
            task = self._asking[scope] = asyncio.create_task(self._ask(parameters, scope), name="token")
            task.add_done_callback(lambda task: self._asked(task, scope))
        return task

    def _asked(self, task: asyncio.Task[str], scope: str) -> None:
        if self._asking.get(scope) is task:
            del self._asking[scope]
        if not task.cancelled():
            task.exception()  # whoever waits has it; where nobody does, the token of before is used to its end

    async def _ask(self, parameters: Mapping[str, str], scope: str) -> str:
        began, since = self._now(), self.renewals
        realm = led(self._registry, URL(), parameters["realm"], "token realm")
        credentials = await self._credentials()
        if credentials and not may_send(self._registry, realm):
            credentials = None
        service = {"service": parameters["service"]} if "service" in parameters else {}
        wanted = parameters.get("scope") or scope
        asked = {**service, "scope": wanted} if wanted else service
        try:
            async with asyncio.timeout(self._timeout):
                async with await self._request(realm, asked, credentials) as response:
                    token, life = _token(await _read(response, realm), realm)
        except TimeoutError as error:
            raise UpstreamTimeout(f"{realm.host} is slow to give a token") from error
        except (ClientError, OSError) as error:
            raise Unavailable(f"{realm.host} gives no token: {error}") from error
        if since == self.renewals:
            self._remember(scope, _Token(token, began, life, began, parameters))
        return token

    async def _request(self, realm: URL, asked: dict[str, str], credentials: Credentials | None) -> ClientResponse:
        if credentials and credentials.identity_token:  # RFC 6749, section 6
            form = {**asked, "grant_type": "refresh_token", "client_id": "edgeproxy"}
            return await self._transport.send("POST", realm, data={**form, "refresh_token": credentials.identity_token})
        headers = {"Authorization": credentials.basic()} if credentials else {}
        return await self._transport.send("GET", realm.update_query(list(asked.items())), headers=headers)

    def _remember(self, scope: str, token: _Token) -> None:
        if len(self._known) >= _MOST_TOKENS:
            self._known.clear()
        self._known[scope] = token


def _token(body: bytes, realm: URL) -> tuple[str, float]:
    """The `Authorization`, and the seconds for which it holds."""
    try:
        document = json.loads(body)
        token = document.get("token") or document["access_token"]
        life = float(document.get("expires_in") or _LIFE)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise Unavailable(f"{realm.host} gives something that is not a token") from error
    return f"Bearer {token}", life


async def _read(response: ClientResponse, realm: URL) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > _LARGEST_ANSWER:
            break
    if response.status != 200:
        raise _refused(realm, response)
    return bytes(body)


def _refused(realm: URL, response: ClientResponse) -> Refusal:
    status = response.status
    if status in (400, 401, 403, 404):
        return UpstreamUnauthorized(f"{realm.host} refuses the login (status {status})")
    if status == 429:
        after = read_retry_after(response.headers.get("Retry-After", ""), time.time())
        return TooManyRequests(f"{realm.host} gives no token (status 429): it limits our requests", retry_after=after)
    return Unavailable(f"{realm.host} gives no token (status {status})")

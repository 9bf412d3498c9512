"""Tokens and Basic at registries (Docker token authentication; RFC 7617)."""

import asyncio
import json
import re
import time
from collections.abc import Sequence
from time import monotonic

from aiohttp import ClientError, ClientResponse
from yarl import URL

from edgeproxy.oci.errors import Refusal, TooManyRequests, Unavailable, UpstreamTimeout, UpstreamUnauthorized
from edgeproxy.remote.allowance import read_retry_after
from edgeproxy.remote.logins import Credentials, Login
from edgeproxy.remote.targets import led, may_send
from edgeproxy.remote.transport import Transport

_SCHEME = re.compile(r"\s*([A-Za-z]+)\s+(.*)", re.DOTALL)
_PARAMETER = re.compile(r'([A-Za-z_]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))')
_SHORTEST_LIFE = 60.0
"""Seconds a token lives where its issuer does not say (Docker token authentication)."""
_MARGIN = 10.0
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


class Tokens:
    """The bearer tokens of one upstream, by scope; each asked for once however many wait for it."""

    def __init__(self, transport: Transport, registry: URL, login: Login | None, timeout: float) -> None:
        self._transport = transport
        self._registry = registry
        self._login = login
        self._timeout = timeout
        self._known: dict[str, tuple[str, float]] = {}
        self._asking: dict[str, asyncio.Task[str]] = {}

    def authorization(self, scope: str) -> str | None:
        """What to send without having been challenged: a token that still lives."""
        token, until = self._known.get(scope, ("", 0.0))
        return token if monotonic() < until else None

    async def answer(self, challenges: Sequence[str], scope: str) -> str:
        """The `Authorization` that one of these asks for. Raises `UpstreamUnauthorized` where none can be met."""
        known = dict(map(parse_challenge, challenges))
        scheme = next((one for one in ("bearer", "basic") if one in known), next(iter(known), ""))
        parameters = known.get(scheme, {})
        if scheme == "basic":
            credentials = await self._credentials()
            if credentials is None:
                raise UpstreamUnauthorized(f"{self._registry.host} wants a login: configure username and password_file")
            self._remember(scope, credentials.basic(), monotonic() + _SHORTEST_LIFE)
            return credentials.basic()
        if scheme != "bearer" or "realm" not in parameters:
            raise UpstreamUnauthorized(
                f"{self._registry.host} asks for a login of a kind unknown here: {scheme[:40]!r}"
            )
        self._known.pop(scope, None)
        task = self._asking.get(scope)
        if task is None:
            task = self._asking[scope] = asyncio.create_task(self._ask(parameters, scope), name="token")
            task.add_done_callback(lambda _: self._asking.pop(scope, None))
        return await asyncio.shield(task)

    async def renew(self) -> bool:
        """Upstream refuses what the login gave: get a fresh one. False where there is none, or was one just now."""
        if self._login is None or not await self._login.renew():
            return False
        self._known.clear()
        return True

    async def _credentials(self) -> Credentials | None:
        return await self._login.credentials() if self._login else None

    async def _ask(self, parameters: dict[str, str], scope: str) -> str:
        realm = led(self._registry, URL(), parameters["realm"], "token realm")
        credentials = await self._credentials()
        if credentials and not may_send(self._registry, realm):
            credentials = None
        service = {"service": parameters["service"]} if "service" in parameters else {}
        asked = {**service, "scope": parameters.get("scope") or scope}
        try:
            async with asyncio.timeout(self._timeout):
                async with await self._request(realm, asked, credentials) as response:
                    return self._accept(await _read(response, realm), realm, scope)
        except TimeoutError as error:
            raise UpstreamTimeout(f"{realm.host} is slow to give a token") from error
        except (ClientError, OSError) as error:
            raise Unavailable(f"{realm.host} gives no token: {error}") from error

    async def _request(self, realm: URL, asked: dict[str, str], credentials: Credentials | None) -> ClientResponse:
        if credentials and credentials.identity_token:  # RFC 6749, section 6
            form = {**asked, "grant_type": "refresh_token", "client_id": "edgeproxy"}
            return await self._transport.send("POST", realm, data={**form, "refresh_token": credentials.identity_token})
        headers = {"Authorization": credentials.basic()} if credentials else {}
        return await self._transport.send("GET", realm.update_query(list(asked.items())), headers=headers)

    def _accept(self, body: bytes, realm: URL, scope: str) -> str:
        try:
            document = json.loads(body)
            token = document.get("token") or document["access_token"]
            life = float(document.get("expires_in") or _SHORTEST_LIFE)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise Unavailable(f"{realm.host} gives something that is not a token") from error
        authorization = f"Bearer {token}"
        life = max(life, _SHORTEST_LIFE)
        self._remember(scope, authorization, monotonic() + life - max(_MARGIN, 0.1 * life))
        return authorization

    def _remember(self, scope: str, authorization: str, until: float) -> None:
        if len(self._known) >= _MOST_TOKENS:
            self._known.clear()
        self._known[scope] = (authorization, until)


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

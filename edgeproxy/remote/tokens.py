"""Logins at registries (Docker token authentication; RFC 7617 Basic), and where they may be sent."""

import asyncio
import base64
import json
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address
from time import monotonic

from aiohttp import ClientError, ClientSession
from yarl import URL

from edgeproxy.oci.errors import Refusal, Unavailable, UpstreamTimeout, UpstreamUnauthorized

_SCHEME = re.compile(r"\s*([A-Za-z]+)\s+(.*)", re.DOTALL)
_PARAMETER = re.compile(r'([A-Za-z_]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))')
_SHORTEST_LIFE = 60.0
"""Seconds a token lives where its issuer does not say (Docker token authentication)."""
_WRITTEN = re.compile(r"[!#-;=?-Z\[\]_a-z~]*")
_MARGIN = 10.0
_MOST_TOKENS = 10_000
_LARGEST_ANSWER = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Credentials:
    username: str
    password: str = field(repr=False)

    def basic(self) -> str:
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


def parse_challenge(header: str) -> tuple[str, dict[str, str]]:
    """`WWW-Authenticate` as its scheme in lower case and its parameters (RFC 9110, section 11.6.1)."""
    found = _SCHEME.match(header)
    if not found:
        return header.strip().lower(), {}
    parameters = {
        key.lower(): re.sub(r"\\(.)", r"\1", quoted) or bare for key, quoted, bare in _PARAMETER.findall(found[2])
    }
    return found[1].lower(), parameters


def may_send(credentials_of: URL, to: URL) -> bool:
    """Whether a login for one host may go to another: encrypted unless both are the same, and the same owner's.

    The owner is taken from the last two labels of the name, so that registry-1.docker.io trusts auth.docker.io.
    """
    if credentials_of.origin() == to.origin():
        return True
    if to.scheme != "https":
        return False
    ours, theirs = (credentials_of.host or "").split("."), (to.host or "").split(".")
    return len(ours) > 1 and _address(credentials_of.host or "") is None and ours[-2:] == theirs[-2:]


def is_inside(url: URL) -> bool:
    """Whether a URL names an address that only this machine or its own network can reach."""
    host = (url.host or "").rstrip(".").lower()
    address = _address(host)
    return host == "localhost" or host.endswith(".localhost") or (address is not None and not address.is_global)


def led(origin: URL, base: URL, text: str, what: str) -> URL:
    """The URL that a registry leads to, byte by byte as it wrote it: it may be signed. Raises `Unavailable`."""
    try:
        target = base.join(URL(text, encoded=bool(_WRITTEN.fullmatch(text))))
        absolute = target.scheme in ("http", "https") and bool(target.host) and target.port is not None
    except ValueError:
        absolute = False
    if not text or not absolute:
        raise Unavailable(f"{origin.host} names no address of HTTP as its {what}: refused")
    check_target(origin, target, what)
    return target


def check_target(origin: URL, target: URL, what: str) -> None:
    """Refuse to be led by a registry from encryption to plain text, or from the internet into the site's network."""
    if target.scheme not in ("http", "https") or not target.host:
        raise Unavailable(f"{origin.host} names no address of HTTP as its {what}: refused")
    if origin.scheme == "https" and target.scheme != "https":
        raise Unavailable(f"{origin.host} names {target.origin()} as its {what}, which is not encrypted: refused")
    if is_inside(target) and not is_inside(origin):
        raise Unavailable(f"{origin.host} names {target.origin()} as its {what}, which is inside this network: refused")


class Tokens:
    """The bearer tokens of one upstream, by scope; each asked for once however many wait for it."""

    def __init__(self, session: ClientSession, registry: URL, credentials: Credentials | None, timeout: float) -> None:
        self._session = session
        self._registry = registry
        self._credentials = credentials
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
            if self._credentials is None:
                raise UpstreamUnauthorized(f"{self._registry.host} wants a login: configure username and password_file")
            self._remember(scope, self._credentials.basic(), float("inf"))
            return self._credentials.basic()
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

    async def _ask(self, parameters: dict[str, str], scope: str) -> str:
        realm = led(self._registry, URL(), parameters["realm"], "token realm")
        headers = {}
        if self._credentials and may_send(self._registry, realm):
            headers["Authorization"] = self._credentials.basic()
        query = [("service", parameters["service"])] if "service" in parameters else []
        url = realm.update_query([*query, ("scope", parameters.get("scope") or scope)])
        try:
            async with asyncio.timeout(self._timeout):
                async with self._session.get(url, headers=headers, allow_redirects=False) as response:
                    body = bytearray()
                    async for chunk in response.content.iter_any():
                        body += chunk
                        if len(body) > _LARGEST_ANSWER:
                            break
                    status = response.status
        except TimeoutError as error:
            raise UpstreamTimeout(f"{realm.host} is slow to give a token") from error
        except (ClientError, OSError) as error:
            raise Unavailable(f"{realm.host} gives no token: {error}") from error
        if status != 200:
            raise _refused(realm, status)
        return self._accept(bytes(body), realm, scope)

    def _accept(self, body: bytes, realm: URL, scope: str) -> str:
        try:
            document = json.loads(body)
            token = document.get("token") or document["access_token"]
            life = float(document.get("expires_in") or _SHORTEST_LIFE)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise Unavailable(f"{realm.host} gives something that is not a token") from error
        authorization = f"Bearer {token}"
        self._remember(scope, authorization, monotonic() + max(life, _SHORTEST_LIFE) - _MARGIN)
        return authorization

    def _remember(self, scope: str, authorization: str, until: float) -> None:
        if len(self._known) >= _MOST_TOKENS:
            self._known.clear()
        self._known[scope] = (authorization, until)


def _refused(realm: URL, status: int) -> Refusal:
    if status in (400, 401, 403, 404):
        return UpstreamUnauthorized(f"{realm.host} refuses the login (status {status})")
    return Unavailable(f"{realm.host} gives no token (status {status})")


def _address(host: str) -> IPv4Address | IPv6Address | None:
    """What the resolver takes for an address without asking anybody: 127.1 and 2130706433 too."""
    try:
        return ip_address(host)
    except ValueError:
        pass
    try:
        return IPv4Address(socket.inet_aton(host))
    except (OSError, UnicodeError):
        return None

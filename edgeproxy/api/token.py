"""The token endpoint (Docker token authentication; OAuth 2, RFC 6749, section 4.3): a login for a short-lived token."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import parse_qsl

from edgeproxy.access.callers import Callers
from edgeproxy.access.identity import NOBODY, Caller
from edgeproxy.api import fields
from edgeproxy.api.address import Addresses, TokenAsk
from edgeproxy.api.receive import whole
from edgeproxy.api.reply import Reply
from edgeproxy.cache.uploads import Body
from edgeproxy.interfaces import Clock, InMemory, Span
from edgeproxy.oci.credentials import Credentials, parse_basic
from edgeproxy.oci.errors import RequestInvalid, Unauthorized

_LARGEST_FORM = 64 * 1024
"""Bytes."""


class TokenEndpoint:
    """Gives tokens; they say who somebody is, and the rules say what that allows at the time of each request."""

    def __init__(self, callers: Callers, addresses: Addresses, clock: Clock) -> None:
        self._callers = callers
        self._addresses = addresses
        self._clock = clock

    async def answer(self, ask: TokenAsk, method: str, headers: Mapping[str, str], form: Body) -> Reply:
        """A login that is wrong gets a token of nobody's where it is for pulling, and 401 where it is for itself.

        What is public is thus pulled also by who shows a login that is for another registry, as docker does to a
        mirror. Raises `Unauthorized`, `RequestInvalid`, `SizeInvalid`, `TooManyRequests`.
        """
        credentials: Credentials | None
        if method == "POST":
            ask, credentials = _from_form(await whole(form, _LARGEST_FORM, "a form"))
        else:
            scheme, _, given = headers.get("Authorization", "").partition(" ")
            credentials = parse_basic(given) if scheme.lower() == "basic" else None
        caller = await self._callers.log_in(credentials) if credentials else NOBODY
        if caller.trouble and not ask.scopes:
            raise Unauthorized(f"{caller.trouble}: log in with another", "login")
        return self._reply(NOBODY if caller.trouble else caller, ask)

    def _reply(self, caller: Caller, ask: TokenAsk) -> Reply:
        names = [
            scope.split(":")[1] for scope in ask.scopes if scope.startswith("repository:") and scope.count(":") > 1
        ]
        registries = self._addresses.registries(names, ask.service)
        token, life = self._callers.token(caller, registries)
        issued = datetime.fromtimestamp(int(self._clock.now()), UTC).isoformat().replace("+00:00", "Z")
        document = {"token": token, "access_token": token, "expires_in": life, "issued_at": issued}
        body = json.dumps({**document, "token_type": "Bearer", "scope": " ".join(ask.scopes)}).encode()
        about = (("Content-Type", fields.JSON), ("Content-Length", str(len(body))), ("Cache-Control", "no-store"))
        return Reply(200, about, (), InMemory(body), Span(0, len(body)), "", "token", "hit")


def _from_form(form: bytes) -> tuple[TokenAsk, Credentials]:
    try:
        given = dict(parse_qsl(form.decode(), keep_blank_values=True, strict_parsing=True))
    except ValueError as error:
        raise RequestInvalid("this is no form: send application/x-www-form-urlencoded") from error
    if given.get("grant_type") != "password" or not given.get("username"):
        raise RequestInvalid("a token is given for a login: send grant_type=password, username and password")
    ask = TokenAsk(given.get("service", ""), tuple(given.get("scope", "").split()))
    return ask, Credentials(given["username"], given.get("password", ""))

"""POST /api/v1/webhooks/<policy>: what a registry tells of itself, authenticated by a secret that it shares with us."""

import hmac
from collections.abc import Awaitable, Callable, Iterable, Mapping

from aiohttp import web

from edgeproxy.admin.problems import problem
from edgeproxy.oci.errors import Refusal
from edgeproxy.sites.notices import Notice, notices

PREFIX = "/api/v1/webhooks/"
_LARGEST = 1024 * 1024
Told = Callable[[str, Iterable[Notice]], Awaitable[int]]
"""A policy's name, and what is new."""


class Webhooks:
    def __init__(self, told: Told, secrets: Callable[[], Mapping[str, str]]) -> None:
        """`secrets` of the policies, by their names; where it is empty nobody is listened to."""
        self._told = told
        self._secrets = secrets

    async def post(self, request: web.Request) -> web.Response:
        """202 with how much of it the policy is about; 401, 413, or 400 for what is no notification."""
        name = request.match_info["policy"]
        secret = self._secrets().get(name, "")
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not secret or not hmac.compare_digest(given.encode(), secret.encode()):
            return problem(401, "send the secret of [[replication]] as Authorization, as it is or behind Bearer")
        body = await request.content.read(_LARGEST + 1)
        while len(body) <= _LARGEST and (more := await request.content.read(_LARGEST)):
            body += more
        if len(body) > _LARGEST:
            return problem(413, f"a notification of more than {_LARGEST} bytes is not read")
        try:
            return web.json_response({"wanted": await self._told(name, notices(body))}, status=202)
        except ValueError as error:
            return problem(400, str(error))
        except Refusal as refusal:
            return problem(refusal.status, refusal.message)

"""Who may ask what only operators may: on a listener that others can reach, it takes the role."""

from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from edgeproxy.admin.problems import problem
from edgeproxy.admin.webhooks import PREFIX
from edgeproxy.oci.errors import Refusal, Unauthorized

Allow = Callable[[str], Awaitable[None]]
"""Raises the `Refusal` of a request with this `Authorization`."""


def guard(allow: Allow) -> Middleware:
    """What is counted and whether all is well is for everybody, webhooks have secrets; `/api/` is for operators."""

    @web.middleware
    async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith("/api/") and not request.path.startswith(PREFIX):
            try:
                await allow(request.headers.get("Authorization", ""))
            except Refusal as refusal:
                answer = problem(refusal.status, refusal.message)
                if isinstance(refusal, Unauthorized):
                    answer.headers["WWW-Authenticate"] = 'Basic realm="edgeproxy", charset="UTF-8"'
                return answer
        return await handler(request)

    return guarded

"""Who may ask what only operators may: on a listener that others can reach, it takes the role."""

from collections.abc import Awaitable, Callable
from ipaddress import ip_address

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


@web.middleware
async def no_pages(request: web.Request, handler: Handler) -> web.StreamResponse:
    """What a page from elsewhere has the operator's browser ask is refused: browsers say where a page comes from.

    A name that was made to lead here would be the page's own, so only addresses and localhost count.
    """
    origin = request.headers.get("Origin")
    own = origin == f"{request.scheme}://{request.host}" and _is_address(request.url.host or "")
    if request.method in ("GET", "HEAD") or origin is None or own:
        return await handler(request)
    return problem(403, f"{origin[:100]!r} is another site: ask from a page of this one, or without a browser")


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return host == "localhost"
    return True

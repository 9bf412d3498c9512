"""/api/v1/verify: have all that is held hashed again."""

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Protocol

from aiohttp import web


class Progress(Protocol):
    def document(self) -> Mapping[str, Any]: ...


class Verifying(Protocol):
    @property
    def found(self) -> Progress: ...

    async def whole(self) -> None: ...


class VerifyRequests:
    def __init__(self, scrub: Verifying, spawn: Callable[[Coroutine[Any, Any, None], str], object]) -> None:
        self._scrub = scrub
        self._spawn = spawn

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_get("/api/v1/verify", self._get)
        router.add_post("/api/v1/verify", self._post)

    async def _get(self, request: web.Request) -> web.Response:
        return web.json_response(self._scrub.found.document())

    async def _post(self, request: web.Request) -> web.Response:
        """202; one that is under way goes on."""
        self._spawn(self._scrub.whole(), "verify")
        return web.json_response({}, status=202)

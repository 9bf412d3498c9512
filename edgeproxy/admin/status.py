"""GET /api/v1/status and /api/v1/events: what the daemon does, once or as it changes."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web

from edgeproxy.admin.stream import Streams


class StatusRequests:
    def __init__(
        self,
        document: Callable[[], Mapping[str, Any]],
        trouble: Callable[[], Awaitable[str]],
        budgets: Callable[[], Awaitable[Mapping[str, Any]]],
    ) -> None:
        """`trouble`: what is wrong, in words for the operator; nothing is ""."""
        self._document = document
        self._trouble = trouble
        self._budgets = budgets

    def add_to(self, router: web.UrlDispatcher, streams: Streams) -> None:
        self._streams = streams
        router.add_get("/api/v1/status", self._status)
        router.add_get("/api/v1/events", self._events)
        router.add_get("/api/v1/budgets", self._budget)

    async def _now(self) -> Mapping[str, Any]:
        return {**self._document(), "trouble": await self._trouble()}

    async def _status(self, request: web.Request) -> web.Response:
        return web.json_response(await self._now(), headers={"Cache-Control": "no-store"})

    async def _budget(self, request: web.Request) -> web.Response:
        return web.json_response(await self._budgets(), headers={"Cache-Control": "no-store"})

    async def _events(self, request: web.Request) -> web.StreamResponse:
        return await self._streams.answer(request, "status", self._now)

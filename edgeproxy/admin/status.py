"""GET /api/v1/status and /api/v1/events: what the daemon does, once or as it changes."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

from aiohttp import web

_EVERY = 1.0
"""Seconds between two events."""
_MOST = 32
"""Pages that may look at the same time."""


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
        self._looking = 0
        self._closing = asyncio.Event()

    def add_to(self, app: web.Application) -> None:
        app.router.add_get("/api/v1/status", self._status)
        app.router.add_get("/api/v1/events", self._events)
        app.router.add_get("/api/v1/budgets", self._budget)
        app.on_shutdown.append(self._close)

    async def _close(self, app: web.Application) -> None:
        self._closing.set()

    async def _now(self) -> Mapping[str, Any]:
        return {**self._document(), "trouble": await self._trouble()}

    async def _status(self, request: web.Request) -> web.Response:
        return web.json_response(await self._now(), headers={"Cache-Control": "no-store"})

    async def _budget(self, request: web.Request) -> web.Response:
        return web.json_response(await self._budgets(), headers={"Cache-Control": "no-store"})

    async def _events(self, request: web.Request) -> web.StreamResponse:
        """Server-sent events (HTML, section 9.2), one a second, until the client leaves, or we do."""
        if self._looking >= _MOST:
            return web.Response(status=503, text="too many look at this already\n", headers={"Retry-After": "60"})
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        await answer.prepare(request)
        self._looking += 1
        try:
            with suppress(ConnectionError):
                while not self._closing.is_set():
                    text = json.dumps(await self._now(), separators=(",", ":"))
                    await answer.write(f"event: status\ndata: {text}\n\n".encode())
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self._closing.wait(), _EVERY)
        finally:
            self._looking -= 1
        return answer

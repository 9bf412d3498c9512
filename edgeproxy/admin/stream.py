"""Server-sent events (HTML, section 9.2): a document each second, until nobody looks, or all is said."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

from aiohttp import web

Document = Mapping[str, Any]
_EVERY = 1.0
"""Seconds between two events."""
_MOST = 32
"""Who may look at the same time."""


class Streams:
    """All streams of one listener: so many at most, and they end when it does."""

    def __init__(self) -> None:
        self._looking = 0
        self._closing = asyncio.Event()

    async def close(self, app: web.Application) -> None:
        self._closing.set()

    async def answer(
        self,
        request: web.Request,
        name: str,
        document: Callable[[], Awaitable[Document]],
        is_last: Callable[[Document], bool] = lambda document: False,
    ) -> web.StreamResponse:
        """Events of this name; the stream ends behind the last."""
        if self._looking >= _MOST:
            return web.Response(status=503, text="too many look at this already\n", headers={"Retry-After": "60"})
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        await answer.prepare(request)
        self._looking += 1
        try:
            with suppress(ConnectionError):
                while not self._closing.is_set():
                    found = await document()
                    text = json.dumps(found, separators=(",", ":"))
                    await answer.write(f"event: {name}\ndata: {text}\n\n".encode())
                    if is_last(found):
                        break
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self._closing.wait(), _EVERY)
        finally:
            self._looking -= 1
        return answer

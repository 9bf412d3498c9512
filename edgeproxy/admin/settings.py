"""/api/v1/config and /api/v1/log-level: what the daemon was told, and how much it tells."""

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web

from edgeproxy.admin.problems import problem

_LEVELS = ("debug", "info", "warning", "error")
_EXAMPLE = f'write {{"level": "debug"}}; levels are {", ".join(_LEVELS)}'


class SettingRequests:
    def __init__(self, effective: Callable[[], Mapping[str, Any]], logger: logging.Logger) -> None:
        """`effective`: the configuration as it takes effect, secrets blanked."""
        self._effective = effective
        self._logger = logger

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_get("/api/v1/config", self._config)
        router.add_get("/api/v1/log-level", self._level)
        router.add_put("/api/v1/log-level", self._set_level)

    async def _config(self, request: web.Request) -> web.Response:
        return web.json_response(self._effective())

    async def _level(self, request: web.Request) -> web.Response:
        return web.json_response({"level": logging.getLevelName(self._logger.getEffectiveLevel()).lower()})

    async def _set_level(self, request: web.Request) -> web.Response:
        """Until the next start. 400 for what is no level."""
        try:
            document = json.loads(await request.read())
        except (ValueError, RecursionError) as error:
            return problem(400, f"this is no JSON: {error}; {_EXAMPLE}")
        level = document.get("level") if isinstance(document, dict) else None
        if level not in _LEVELS or set(document) != {"level"}:
            return problem(400, f"{str(level)[:40]!r} is no level: {_EXAMPLE}")
        self._logger.setLevel(level.upper())
        return await self._level(request)

"""/api/v1/targets, /api/v1/executions and /api/v1/tasks: replication for the operator."""

import json
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Protocol

from aiohttp import web

from edgeproxy.admin.problems import problem
from edgeproxy.oci.errors import Refusal

Document = Mapping[str, Any]
_MOST = 1000
_EXAMPLE = 'write {"name": "store-7", "url": "https://edge.store-7.example.com:5000"}'
_RUN = 'write {"policy": "shop"}, with "target" where it is about one'


class Steering(Protocol):
    """Replication; what it refuses is a `Refusal`, or ValueError for a document that is wrong."""

    def targets(self) -> Sequence[Document]: ...

    async def register(self, document: Document) -> Document: ...

    async def unregister(self, name: str) -> None: ...

    async def check(self, name: str) -> Document: ...

    def executions(self) -> Sequence[Document]: ...

    def tasks(self, policy: str, target: str, limit: int) -> Sequence[Document]: ...

    async def run(self, policy: str, target: str) -> int: ...

    async def steer(self, policy: str, target: str, change: str) -> Document: ...


class SiteRequests:
    """Problems (RFC 9457) say what is wrong, and what to write."""

    def __init__(self, steering: Steering) -> None:
        self._steering = steering

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_get("/api/v1/targets", self._targets)
        router.add_post("/api/v1/targets", self._register)
        router.add_delete("/api/v1/targets/{name}", self._unregister)
        router.add_post("/api/v1/targets/{name}/check", self._check)
        router.add_get("/api/v1/executions", self._executions)
        router.add_post("/api/v1/executions", self._run)
        router.add_post("/api/v1/executions/{policy}/{target}/{change:stop|resume|retry}", self._steer)
        router.add_get("/api/v1/tasks", self._tasks)

    async def _targets(self, request: web.Request) -> web.Response:
        return web.json_response({"targets": self._steering.targets()})

    async def _register(self, request: web.Request) -> web.Response:
        """201 with what was found, whether it was there or not; 400."""
        try:
            document = _object(await request.read(), _EXAMPLE)
            return web.json_response(await self._steering.register(document), status=201)
        except ValueError as error:
            return problem(400, str(error))
        except Refusal as refusal:
            return problem(409, refusal.message)

    async def _unregister(self, request: web.Request) -> web.Response:
        async def done() -> web.Response:
            await self._steering.unregister(request.match_info["name"])
            return web.Response(status=204)

        return await _answered(done(), conflict=True)

    async def _check(self, request: web.Request) -> web.Response:
        return await _answered(_json(self._steering.check(request.match_info["name"])))

    async def _executions(self, request: web.Request) -> web.Response:
        return web.json_response({"executions": self._steering.executions()})

    async def _run(self, request: web.Request) -> web.Response:
        """202 with how much is missing."""
        try:
            document = _object(await request.read(), _RUN)
            policy, target = document.get("policy"), document.get("target", "")
            if not isinstance(policy, str) or not isinstance(target, str) or set(document) - {"policy", "target"}:
                raise ValueError(f"known keys are policy and target: {_RUN}")
        except ValueError as error:
            return problem(400, str(error))

        async def done() -> web.Response:
            return web.json_response({"missing": await self._steering.run(policy, target)}, status=202)

        return await _answered(done())

    async def _steer(self, request: web.Request) -> web.Response:
        found = request.match_info
        return await _answered(_json(self._steering.steer(found["policy"], found["target"], found["change"])))

    async def _tasks(self, request: web.Request) -> web.Response:
        limit = request.query.get("limit", "100")
        if not limit.isdecimal() or not 0 < int(limit) <= _MOST:
            return problem(400, f"limit is a number from 1 to {_MOST}, not {limit[:20]!r}")
        policy, target = request.query.get("policy", ""), request.query.get("target", "")
        return web.json_response({"tasks": self._steering.tasks(policy, target, int(limit))})


def _object(body: bytes, example: str) -> Document:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"this is no JSON: {error}; {example}") from error
    if not isinstance(document, dict):
        raise ValueError(f"an object is expected: {example}")
    return document


async def _json(document: Awaitable[Document]) -> web.Response:
    return web.json_response(await document)


async def _answered(answer: Awaitable[web.Response], *, conflict: bool = False) -> web.Response:
    try:
        return await answer
    except Refusal as refusal:
        return problem(409 if conflict and refusal.status == 400 else refusal.status, refusal.message)

"""GET /api/v1/openapi.json: the admin API in the words of OpenAPI 3.1, for those who make clients of it."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from aiohttp import web

from edgeproxy import __version__

PATH = "/api/v1/openapi.json"
_PROBLEM = {
    "description": "A problem document (RFC 9457) that says what to do.",
    "content": {"application/problem+json": {}},
}


class Operation(NamedTuple):
    summary: str
    status: int = 200
    body: str = ""
    """The keys of the JSON object that is sent; those that may be left out with `?`."""
    query: str = ""
    """The parameters behind `?`."""
    kind: str = "application/json"


OPERATIONS: Mapping[tuple[str, str], Operation] = {
    ("GET", "/healthz"): Operation("Whether the process runs", kind="text/plain"),
    ("GET", "/readyz"): Operation("Whether the store can be read; else 503", kind="text/plain"),
    ("GET", "/metrics"): Operation("Metrics in Prometheus's text format", kind="text/plain"),
    ("GET", PATH): Operation("This document"),
    ("GET", "/api/v1/status"): Operation("What the daemon does and has done"),
    ("GET", "/api/v1/events"): Operation("The status each second, as server-sent events", kind="text/event-stream"),
    ("GET", "/api/v1/budgets"): Operation("What may be used of disk, link and upstreams, and what is left"),
    ("GET", "/api/v1/model"): Operation("What has been learned, and what decides what leaves"),
    ("GET", "/api/v1/explain"): Operation("Why a blob or manifest stays or goes", query="digest"),
    ("GET", "/api/v1/images"): Operation("The images that are here", query="match after limit"),
    ("GET", "/api/v1/explain/{name}"): Operation("Why each part of an image is here, or is not"),
    ("GET", "/api/v1/images/{name}"): Operation("What is here of an image, by platform"),
    ("PUT", "/api/v1/pins/{name}"): Operation("Keep an image as it is now"),
    ("DELETE", "/api/v1/pins/{name}"): Operation("Keep an image no longer"),
    ("POST", "/api/v1/purge"): Operation("Delete the images that match a shell pattern", body="match dry?"),
    ("GET", "/api/v1/verify"): Operation("How far the verification is"),
    ("POST", "/api/v1/verify"): Operation("Hash all that is held again", 202),
    ("GET", "/api/v1/prefetch"): Operation("The lists of images that are, or were, brought"),
    ("POST", "/api/v1/prefetch"): Operation("Bring images", 202, body="images platforms? deadline?"),
    ("GET", "/api/v1/prefetch/{id}"): Operation("How far one of them is"),
    ("GET", "/api/v1/prefetch/{id}/events"): Operation(
        "The same each second, as server-sent events, until it has ended", kind="text/event-stream"
    ),
    ("DELETE", "/api/v1/prefetch/{id}"): Operation("Bring no more of it"),
    ("GET", "/api/v1/logins"): Operation("Who we are at upstreams"),
    ("PUT", "/api/v1/logins/{registry}"): Operation("Try a login, keep it and use it", body="username password"),
    ("DELETE", "/api/v1/logins/{registry}"): Operation("Forget one that was kept"),
    ("GET", "/api/v1/config"): Operation("The configuration as it takes effect, secrets blanked"),
    ("GET", "/api/v1/log-level"): Operation("How much is told"),
    ("PUT", "/api/v1/log-level"): Operation("Tell more or less until the next start", body="level"),
    ("GET", "/api/v1/targets"): Operation("The targets of replication"),
    ("POST", "/api/v1/targets"): Operation("Register one", 201, body="name url"),
    ("DELETE", "/api/v1/targets/{name}"): Operation("Forget one that was registered", 204),
    ("POST", "/api/v1/targets/{name}/check"): Operation("Ask it now whether it takes what is sent"),
    ("GET", "/api/v1/executions"): Operation("What was, or is, done for each policy and target"),
    ("POST", "/api/v1/executions"): Operation("Compare all, and send what is missing", 202, body="policy target?"),
    ("POST", "/api/v1/executions/{policy}/{target}/{change}"): Operation("Stop, resume or retry one"),
    ("GET", "/api/v1/tasks"): Operation("What is still to be sent", query="policy target limit"),
    ("POST", "/api/v1/webhooks/{policy}"): Operation("A registry tells of what is new; with the policy's secret", 202),
}


def document() -> dict[str, Any]:
    paths: dict[str, dict[str, Any]] = {}
    for (method, path), operation in OPERATIONS.items():
        paths.setdefault(path, {})[method.lower()] = _described(path, operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "edgeproxy's admin API",
            "version": __version__,
            "summary": "docs/api.md has the meaning of each key",
        },
        "components": {"securitySchemes": {"operator": {"type": "http", "scheme": "basic"}}},
        "security": [{}, {"operator": []}],
        "paths": paths,
    }


def _described(path: str, operation: Operation) -> dict[str, Any]:
    names = [(name, "path") for name in re.findall(r"{(\w+)}", path)] + [
        (name, "query") for name in operation.query.split()
    ]
    described: dict[str, Any] = {
        "summary": operation.summary,
        "parameters": [
            {"name": name, "in": place, "required": place == "path", "schema": {"type": "string"}}
            for name, place in names
        ],
        "responses": {
            str(operation.status): {"description": operation.summary, "content": {operation.kind: {}}},
            "default": _PROBLEM,
        },
    }
    if operation.body:
        keys = operation.body.split()
        schema = {
            "type": "object",
            "properties": {key.rstrip("?"): {} for key in keys},
            "required": [key for key in keys if not key.endswith("?")],
        }
        described["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return described


def add_openapi(router: web.UrlDispatcher) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.json_response(document())

    router.add_get(PATH, answer)

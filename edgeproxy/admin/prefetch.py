"""/api/v1/prefetch: bring images before a roll-out, and see how far they are."""

import json
from collections.abc import Awaitable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from aiohttp import web

from edgeproxy.admin.problems import problem
from edgeproxy.admin.stream import Streams
from edgeproxy.oci.errors import NameUnknown, Refusal

_EXAMPLE = 'write {"images": ["docker.io/library/nginx:1.25"], "platforms": ["linux/amd64"]}'
_ENDED = ("done", "failed", "cancelled")
_DEADLINE = 'deadline is a time with its zone: write "2026-11-30T06:00:00Z"'


class Job(Protocol):
    """One list."""

    def document(self) -> Mapping[str, Any]: ...

    def summary(self) -> Mapping[str, Any]: ...


class Jobs(Protocol):
    """What it refuses is a `Refusal`."""

    def all(self) -> Sequence[Job]: ...

    def get(self, name: str) -> Job: ...

    async def submit(self, images: Sequence[str], platforms: Sequence[str], deadline: float | None = None) -> Job: ...

    async def cancel(self, name: str) -> Job: ...


class PrefetchRequests:
    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    def add_to(self, router: web.UrlDispatcher, streams: Streams) -> None:
        self._streams = streams
        router.add_get("/api/v1/prefetch", self._list)
        router.add_post("/api/v1/prefetch", self._post)
        router.add_get("/api/v1/prefetch/{id}", self._get)
        router.add_get("/api/v1/prefetch/{id}/events", self._events)
        router.add_delete("/api/v1/prefetch/{id}", self._cancel)

    async def _list(self, request: web.Request) -> web.Response:
        return web.json_response({"prefetches": [job.summary() for job in self._jobs.all()]})

    async def _post(self, request: web.Request) -> web.Response:
        """202 with the job; 400 with an RFC 9457 problem that says what to write instead."""
        try:
            job = await self._jobs.submit(*_read(await request.read()))
        except (ValueError, Refusal) as error:
            return problem(400, error.message if isinstance(error, Refusal) else str(error))
        document = job.document()
        accepted = [image["name"] for image in document["images"]]
        location = {"Location": f"/api/v1/prefetch/{document['id']}"}
        return web.json_response({"accepted": accepted, **document}, status=202, headers=location)

    async def _get(self, request: web.Request) -> web.Response:
        return await _answered(self._found(request.match_info["id"]))

    async def _events(self, request: web.Request) -> web.StreamResponse:
        """How far it is, each second, and once more when it has ended."""
        try:
            job = self._jobs.get(request.match_info["id"])
        except NameUnknown as refusal:
            return problem(404, refusal.message)

        async def document() -> Mapping[str, Any]:
            return job.document()

        return await self._streams.answer(request, "prefetch", document, lambda found: found["state"] in _ENDED)

    async def _found(self, name: str) -> Job:
        return self._jobs.get(name)

    async def _cancel(self, request: web.Request) -> web.Response:
        return await _answered(self._jobs.cancel(request.match_info["id"]))


async def _answered(job: Awaitable[Job]) -> web.Response:
    try:
        return web.json_response((await job).document())
    except NameUnknown as refusal:
        return problem(404, refusal.message)


def _read(body: bytes) -> tuple[list[str], list[str], float | None]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"this is no JSON: {error}; {_EXAMPLE}") from error
    if not isinstance(document, dict) or set(document) - {"images", "platforms", "deadline"}:
        raise ValueError(f"known keys are images, platforms and deadline: {_EXAMPLE}")
    images, platforms = document.get("images"), document.get("platforms", [])
    if not _are_words(images) or not images or not _are_words(platforms):
        raise ValueError(f"images and platforms are lists of words: {_EXAMPLE}")
    return images, platforms, _time(document.get("deadline"))


def _time(text: object) -> float | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError as error:
        raise ValueError(f"{_DEADLINE}: {error}") from error
    if moment.tzinfo is None:
        raise ValueError(_DEADLINE)
    return moment.timestamp()


def _are_words(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)

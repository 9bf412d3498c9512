"""POST /api/v1/prefetch: bring images before a roll-out."""

import json
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from aiohttp import web

from edgeproxy.admin.problems import problem
from edgeproxy.oci.errors import Refusal
from edgeproxy.oci.reference import Reference

Bring = Callable[[Reference, Sequence[str]], Awaitable[object]]


class PrefetchRequests:
    """Checks a list of images, and has them brought one after the other."""

    def __init__(
        self,
        parse: Callable[[str], Reference],
        bring: Bring,
        spawn: Callable[[Coroutine[Any, Any, None], str], object],
    ) -> None:
        self._parse = parse
        self._bring = bring
        self._spawn = spawn

    async def post(self, request: web.Request) -> web.Response:
        """202 with what was accepted; 400 with an RFC 9457 problem that says what to write instead."""
        try:
            images, platforms = _read(await request.read())
            references = [self._parse(image) for image in images]
        except (ValueError, Refusal) as error:
            return problem(400, error.message if isinstance(error, Refusal) else str(error))
        self._spawn(self._all(references, platforms), "prefetch")
        return web.json_response({"accepted": [str(reference) for reference in references]}, status=202)

    async def _all(self, references: Sequence[Reference], platforms: Sequence[str]) -> None:
        for reference in references:
            await self._bring(reference, platforms)


def _read(body: bytes) -> tuple[list[str], list[str]]:
    example = 'write {"images": ["docker.io/library/nginx:1.25"], "platforms": ["linux/amd64"]}'
    try:
        document = json.loads(body)
    except ValueError as error:
        raise ValueError(f"this is no JSON: {error}; {example}") from error
    if not isinstance(document, dict) or set(document) - {"images", "platforms"}:
        raise ValueError(f"known keys are images and platforms: {example}")
    images, platforms = document.get("images"), document.get("platforms", [])
    if not _are_words(images) or not images or not _are_words(platforms):
        raise ValueError(f"images and platforms are lists of words: {example}")
    return images, platforms


def _are_words(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)

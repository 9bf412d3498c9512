"""/api/v1/images, /api/v1/pins and /api/v1/purge: what is held, what stays, and what goes."""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict
from difflib import get_close_matches
from typing import Any, Protocol

from aiohttp import web

from edgeproxy.admin.problems import problem
from edgeproxy.cache.holdings import About, Image, Item, Part
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.errors import ManifestUnknown, Refusal
from edgeproxy.oci.reference import Reference

_MOST = 1000
_PURGE = 'write {"match": "docker.io/library/nginx:*"}, with "dry": true to see what would go'


class Holdings(Protocol):
    async def images(self, match: str = "*", after: str = "", limit: int = 100) -> list[Image]: ...

    async def about(self, reference: Reference) -> About: ...

    async def items(self, reference: Reference) -> list[Item]: ...

    async def parts(self, reference: Reference) -> list[Part]: ...

    async def pin(self, reference: Reference, pinned: bool) -> Digest: ...

    async def purge(self, match: str, *, dry: bool) -> tuple[list[str], int]: ...


class ContentRequests:
    """Images are named as in `docker.io/library/nginx:1.25`."""

    def __init__(
        self,
        holdings: Callable[[], Holdings],
        parse: Callable[[str], Reference],
        explain: Callable[[Digest], Awaitable[Mapping[str, Any] | None]],
    ) -> None:
        """`explain`: what has been learned about a blob or manifest."""
        self._explain = explain
        self._holdings = holdings
        self._parse = parse

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_get("/api/v1/images", self._images)
        router.add_get("/api/v1/images/{name:.+}", self._image)
        router.add_get("/api/v1/explain/{name:.+}", self._explained)
        router.add_put("/api/v1/pins/{name:.+}", self._pin)
        router.add_delete("/api/v1/pins/{name:.+}", self._pin)
        router.add_post("/api/v1/purge", self._purge)

    async def _images(self, request: web.Request) -> web.Response:
        limit = request.query.get("limit", "100")
        if not limit.isdecimal() or not 0 < int(limit) <= _MOST:
            return problem(400, f"limit is a number from 1 to {_MOST}, not {limit[:20]!r}")
        match, after = request.query.get("match", "*"), request.query.get("after", "")
        found = await self._holdings().images(match, after, int(limit))
        return web.json_response({"images": [asdict(image) for image in found]})

    async def _image(self, request: web.Request) -> web.Response:
        async def parts(reference: Reference) -> Mapping[str, Any]:
            holdings = self._holdings()
            found, about = await holdings.parts(reference), await holdings.about(reference)
            learned = await self._explain(about.digest) or {}
            return {
                "image": str(reference),
                **asdict(about),
                "clients": learned.get("clients"),
                "chances": learned.get("chances", []),
                "parts": [asdict(part) for part in found],
            }

        return await self._about(request, parts)

    async def _explained(self, request: web.Request) -> web.Response:
        async def items(reference: Reference) -> Mapping[str, Any]:
            found = await self._holdings().items(reference)
            learned = [await self._explain(item.digest) or {} for item in found]
            return {
                "image": str(reference),
                "items": [
                    {
                        **asdict(item),
                        "history": [event._asdict() for event in item.history],
                        "worth": known.get("worth"),
                        "chances": known.get("chances", []),
                        "because": [each["feature"] for each in known.get("contributions", [])[:3]],
                    }
                    for item, known in zip(found, learned, strict=True)
                ],
            }

        return await self._about(request, items)

    async def _pin(self, request: web.Request) -> web.Response:
        async def pin(reference: Reference) -> Mapping[str, Any]:
            digest = await self._holdings().pin(reference, request.method == "PUT")
            return {"image": str(reference), "digest": digest, "pinned": request.method == "PUT"}

        return await self._about(request, pin)

    async def _about(
        self, request: web.Request, answer: Callable[[Reference], Awaitable[Mapping[str, Any]]]
    ) -> web.Response:
        """400 for what is no image's name, 404 for what is not here, with the nearest that is."""
        name = request.match_info["name"]
        try:
            return web.json_response(await answer(self._parse(name)))
        except ManifestUnknown as refusal:
            return problem(404, refusal.message + _near(name, await self._holdings().images(limit=10_000)))
        except Refusal as refusal:
            return problem(400, refusal.message)

    async def _purge(self, request: web.Request) -> web.Response:
        try:
            document = json.loads(await request.read())
        except (ValueError, RecursionError) as error:
            return problem(400, f"this is no JSON: {error}; {_PURGE}")
        match, dry = (document.get("match"), document.get("dry", False)) if isinstance(document, dict) else (None, None)
        if not isinstance(match, str) or not match or not isinstance(dry, bool) or set(document) - {"match", "dry"}:
            return problem(400, f"known keys are match and dry: {_PURGE}")
        names, freed = await self._holdings().purge(match, dry=dry)
        return web.json_response({"images": names, "bytes": freed, "dry": dry})


def _near(name: str, known: Sequence[Image]) -> str:
    near = get_close_matches(name, [image.name for image in known], n=1)
    return f": did you mean {near[0]}?" if near else ""

"""GET /api/v1/model and /api/v1/explain: what has been learned, and why something stays or goes."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web

from edgeproxy.admin.problems import problem
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.errors import Refusal

Document = Mapping[str, Any]
_EXAMPLE = "name one as it stands in a manifest: ?digest=sha256:…"


class ModelRequests:
    def __init__(
        self, document: Callable[[], Document | None], explain: Callable[[Digest], Awaitable[Document | None]]
    ) -> None:
        self._document = document
        self._explain = explain

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_get("/api/v1/model", self._model)
        router.add_get("/api/v1/explain", self._explained)

    async def _model(self, request: web.Request) -> web.Response:
        document = self._document()
        return problem(404, "nothing is learned here: [learn] enabled is false") if not document else _json(document)

    async def _explained(self, request: web.Request) -> web.Response:
        """400, or 404 where nothing is known of it."""
        try:
            digest = Digest.parse(request.query.get("digest", ""))
        except Refusal as refusal:
            return problem(400, f"{refusal.message}; {_EXAMPLE}")
        document = await self._explain(digest)
        return _json(document) if document else problem(404, f"nothing has been learned about {digest}")


def _json(document: Document) -> web.Response:
    return web.json_response(document, headers={"Cache-Control": "no-store"})

"""A tiny registry on loopback with the content and the faults of a `Shelf`."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlencode

from aiohttp import web
from yarl import URL

from edgeproxy.interfaces import Kind
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.errors import Refusal, document
from edgeproxy.oci.reference import Pinned, Repository, Tag
from tests.fakes.shelf import Fault, Question, Served, Shelf

_PATH = re.compile(r"/v2/(?P<name>.+)/(?P<kind>manifests|blobs|tags|referrers)/(?P<what>[^/]+)")


class Loopback:
    """The shelf's repositories of one registry, spoken over HTTP."""

    def __init__(self, shelf: Shelf, registry: str) -> None:
        self._shelf = shelf
        self._registry = registry

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[URL]:
        runner = web.ServerRunner(web.Server(self._handle, access_log=None), shutdown_timeout=1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield URL(f"http://127.0.0.1:{runner.addresses[0][1]}")
        finally:
            await runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await self._answer(request)
        except Refusal as refusal:
            after = {} if refusal.retry_after is None else {"Retry-After": f"{refusal.retry_after:.0f}"}
            return web.Response(status=refusal.status, body=document(refusal), headers=after)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        found = _PATH.fullmatch(request.path)
        assert found, request.path
        repository = Repository(self._registry, found["name"])
        if found["kind"] in ("tags", "referrers"):
            return await self._listing(request, repository, f"{found['kind']}/{found['what']}")
        kind: Kind = "blobs" if found["kind"] == "blobs" else "manifests"
        if ":" not in found["what"]:
            return await self._resolve(request, Tag(repository, found["what"]))
        pinned = Pinned(repository, Digest(found["what"]))
        return await (self._stat if request.method == "HEAD" else self._open)(request, kind, pinned)

    async def _resolve(self, request: web.BaseRequest, tag: Tag) -> web.StreamResponse:
        await self._asked(request, Question("resolve", f"{tag.repository.path}/manifests/{tag.name}"))
        media_type, digest, size = self._shelf.resolve(tag)
        headers = {"Content-Type": media_type, "Docker-Content-Digest": digest, "Content-Length": str(size)}
        return web.Response(headers=headers)

    async def _stat(self, request: web.BaseRequest, kind: Kind, pinned: Pinned) -> web.StreamResponse:
        await self._asked(request, Question("stat", f"{pinned.repository.path}/{kind}/{pinned.digest}"))
        media_type, _, size = self._shelf.stat(kind, pinned)
        return web.Response(headers={"Content-Type": media_type, "Content-Length": str(size)})

    async def _open(self, request: web.BaseRequest, kind: Kind, pinned: Pinned) -> web.StreamResponse:
        start, stop = request.http_range.start or 0, request.http_range.stop
        question = Question("open", f"{pinned.repository.path}/{kind}/{pinned.digest}", start)
        fault = await self._asked(request, question)
        served = self._shelf.open(kind, pinned, start, fault, stop)
        partial = bool(served.start or (stop is not None and not fault.ignores_range))
        response = web.StreamResponse(status=206 if partial else 200)
        response.headers["Content-Type"] = served.media_type
        response.headers.update(_extent(served, partial))
        await response.prepare(request)
        await _send(request, response, served, fault)
        return response

    async def _listing(self, request: web.BaseRequest, repository: Repository, path: str) -> web.StreamResponse:
        await self._asked(request, Question("listing", f"{repository.path}/{path}"))
        page = self._shelf.listing(repository, path, request.query)
        following = urlencode(page.following)
        headers = {"Link": f'<{request.path}?{following}>; rel="next"'} if following else {}
        return web.Response(body=page.body, headers=headers)

    async def _asked(self, request: web.BaseRequest, question: Question) -> Fault:
        fault = self._shelf.ask(question)
        if fault.at is None:
            await fault.held()
        if fault.refusal is not None:
            raise fault.refusal
        return fault


def _extent(served: Served, partial: bool) -> dict[str, str]:
    """A resumed body says the size of the whole in its range, and comes in chunks where that is not the truth."""
    length = {"Content-Length": str(len(served.rest))} if served.size is not None else {}
    if not partial:
        return length
    whole = "*" if served.size is None else str(served.size)
    last = served.start + len(served.rest) - 1
    return {**length, "Content-Range": f"bytes {served.start}-{last}/{whole}"}


async def _send(request: web.BaseRequest, response: web.StreamResponse, served: Served, fault: Fault) -> None:
    strike = len(served.rest) if fault.at is None else max(0, fault.at - served.start)
    await response.write(served.rest[:strike])
    if fault.at is not None:
        await fault.held()
    if fault.breaks:
        assert request.transport is not None
        request.transport.close()
        return
    await response.write(served.rest[strike:])
    await response.write_eof()

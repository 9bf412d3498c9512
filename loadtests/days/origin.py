"""An upstream registry that has a site's goods; what its tags name is as of the time that the site has reached."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from edgeproxy.oci.digest import Digest
from edgeproxy.oci.reference import Repository, Tag
from loadtests.days.goods import Goods


class Origin:
    """Counts what it sends: answers with a body, and their bytes, since `reset`; and questions about tags."""

    def __init__(self, goods: Goods) -> None:
        self._goods = goods
        self.reset()

    def reset(self) -> None:
        self.bodies = self.bytes = self.checks = 0

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        """Its URL."""
        runner = web.ServerRunner(web.Server(self._answer))
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.path.removeprefix("/v2/")
        if not path:
            return web.Response(body=b"{}")
        name, kind, which = path.rsplit("/", 2)
        digest = Digest(which) if ":" in which else self._named(name, which)
        about = self._goods.described.get(digest) if digest else None
        if about is None or kind not in ("manifests", "blobs"):
            return web.Response(status=404, body=b'{"errors": []}')
        headers = {"Docker-Content-Digest": about.digest, "Content-Type": about.media_type}
        if request.method == "HEAD":
            self.checks += ":" not in which
            return web.Response(headers={**headers, "Content-Length": str(about.size)})
        return self._send(self._goods.body(about.digest), headers, request.http_range)

    def _send(self, body: bytes, headers: dict[str, str], span: slice) -> web.Response:
        part = span.start is not None or span.stop is not None
        if part:
            start, stop, _ = span.indices(len(body))
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(body)}"
            body = body[start:stop]
        self.bodies += 1
        self.bytes += len(body)
        return web.Response(status=206 if part else 200, body=body, headers=headers)

    def _named(self, name: str, tag: str) -> Digest | None:
        """Of all registries: names are not used twice."""
        registries = ("registry.example", "docker.io")
        found = (self._goods.named.get(Tag(Repository(registry, name), tag)) for registry in registries)
        return next(filter(None, found), None)

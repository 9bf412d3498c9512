"""Health, metrics and the operator's requests, on a listener of their own."""

from collections.abc import Awaitable, Callable

from aiohttp import web

from edgeproxy.admin.guard import Allow, guard
from edgeproxy.admin.prefetch import PrefetchRequests
from edgeproxy.admin.sites import SiteRequests
from edgeproxy.metrics import Metrics

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def admin_app(
    metrics: Metrics,
    ready: Callable[[], Awaitable[str]],
    prefetch: PrefetchRequests,
    sites: SiteRequests,
    allow: Allow | None = None,
) -> web.Application:
    """`ready` really reads the store, and says what is wrong; nothing is "". `allow`: where others reach this, too."""

    async def healthz(request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(request: web.Request) -> web.Response:
        trouble = await ready()
        return web.Response(text=f"{trouble or 'ok'}\n", status=503 if trouble else 200)

    async def scrape(request: web.Request) -> web.Response:
        return web.Response(body=metrics.render(), headers={"Content-Type": METRICS_TYPE})

    app = web.Application(middlewares=[guard(allow)] if allow else [])
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", scrape)
    app.router.add_post("/api/v1/prefetch", prefetch.post)
    sites.add_to(app.router)
    return app

"""Health, metrics and the operator's requests, on a listener of their own."""

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from aiohttp import web

from edgeproxy.admin.contents import ContentRequests
from edgeproxy.admin.guard import Allow, guard, no_pages
from edgeproxy.admin.logins import LoginRequests
from edgeproxy.admin.model import ModelRequests
from edgeproxy.admin.openapi import add_openapi
from edgeproxy.admin.page import add_page
from edgeproxy.admin.prefetch import PrefetchRequests
from edgeproxy.admin.settings import SettingRequests
from edgeproxy.admin.sites import SiteRequests
from edgeproxy.admin.status import StatusRequests
from edgeproxy.admin.stream import Streams
from edgeproxy.admin.verify import VerifyRequests
from edgeproxy.admin.webhooks import PREFIX, Webhooks
from edgeproxy.metrics import Metrics

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Operations(NamedTuple):
    """What is answered."""

    metrics: Metrics
    ready: Callable[[], Awaitable[str]]
    """Really reads the store, and says what is wrong; nothing is ""."""
    prefetch: PrefetchRequests
    sites: SiteRequests
    webhooks: Webhooks
    status: StatusRequests
    model: ModelRequests
    contents: ContentRequests
    verify: VerifyRequests
    settings: SettingRequests
    logins: LoginRequests


def admin_app(parts: Operations, allow: Allow | None = None) -> web.Application:
    """`allow`: where others reach this, too."""

    async def healthz(request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(request: web.Request) -> web.Response:
        trouble = await parts.ready()
        return web.Response(text=f"{trouble or 'ok'}\n", status=503 if trouble else 200)

    async def scrape(request: web.Request) -> web.Response:
        return web.Response(body=parts.metrics.render(), headers={"Content-Type": METRICS_TYPE})

    app = web.Application(middlewares=[no_pages, *([guard(allow)] if allow else [])])
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", scrape)
    streams = Streams()
    app.on_shutdown.append(streams.close)
    parts.prefetch.add_to(app.router, streams)
    parts.sites.add_to(app.router)
    parts.status.add_to(app.router, streams)
    parts.model.add_to(app.router)
    parts.contents.add_to(app.router)
    parts.verify.add_to(app.router)
    parts.settings.add_to(app.router)
    parts.logins.add_to(app.router)
    add_openapi(app.router)
    add_page(app.router)
    app.router.add_post(f"{PREFIX}{{policy}}", parts.webhooks.post)
    return app

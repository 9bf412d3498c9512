"""The pull API on a socket: requests to replies, and every failure to OCI JSON."""

import logging
import time

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from edgeproxy.access.limits import Clients
from edgeproxy.api.address import Ask
from edgeproxy.api.connection import Connection, ConnectionLimits
from edgeproxy.api.pull import Pull, Reply, joined, reply_with_refusal
from edgeproxy.api.send import BrokenOff, send
from edgeproxy.metrics import Traffic
from edgeproxy.oci.errors import Refusal
from edgeproxy.oci.passage import passed

log = logging.getLogger(__name__)
_QUIET = logging.getLogger("edgeproxy.http")


class PullServer(web.Server):
    """Makes a connection for every client; serves `Pull`."""

    def __init__(self, pull: Pull, traffic: Traffic, clients: Clients, limits: ConnectionLimits, now: float) -> None:
        super().__init__(self._handle, access_log=None, logger=_QUIET, **limits.settings())
        self.pull = pull
        """May be exchanged while requests are under way."""
        self.clients = clients
        self.limits = limits
        self.now = now
        """Seconds, exact to the second, for all that need not know it better."""
        self._traffic = traffic

    def __call__(self) -> RequestHandler:
        return Connection(self, self, loop=self._loop, **self._kwargs)

    def sweep(self, now: float) -> None:
        """Called once a second: one look at every connection instead of a timer for every request."""
        self.now = now
        self.clients.refill(now)
        for connection in self.connections:
            assert isinstance(connection, Connection)
            connection.sweep(now)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        began = time.monotonic()
        pull = self.pull
        reply = await self._reply(request, pull)
        self.count(reply, time.monotonic() - began)
        try:
            return await send(request, reply, pull.past_disk)
        except BrokenOff as error:
            log.warning("broke off %s for %s: %s", request.path_qs, request.remote, error)
            end(request)
            raise

    async def _reply(self, request: web.BaseRequest, pull: Pull) -> Reply:
        ask: Ask | None = None
        method = request.method
        try:
            check_rate(request)
            ask = pull.parse(request.raw_path, request.headers.get("Host", ""))
            pull.allow(method, request.headers)
            passed.set(joined(request.headers, "CDN-Loop"))
            return await pull.answer(ask, method, request.headers)
        except Refusal as refusal:
            self._traffic.errors[refusal.code] += 1
            return reply_with_refusal(refusal, ask, method == "HEAD")
        except Exception:
            log.exception("a bug, met by %s %s", method, request.raw_path)
            self._traffic.errors["UNKNOWN"] += 1
            return reply_with_refusal(Refusal("a bug in the proxy; its log says more"), ask, method == "HEAD")

    def count(self, reply: Reply, seconds: float) -> None:
        about = (reply.registry, reply.kind, reply.outcome)
        self._traffic.requests[about] += 1
        self._traffic.sent[about] += reply.span.length
        self._traffic.began(reply.outcome, seconds)

    def refuse(self, refusal: Refusal) -> Reply:
        self._traffic.errors[refusal.code] += 1
        reply = reply_with_refusal(refusal, None, head_only=False)
        self.count(reply, 0.0)
        return reply


def check_rate(request: web.BaseRequest) -> None:
    """Raises `TooManyRequests`."""
    connection = request.protocol
    assert isinstance(connection, Connection)
    if connection.client is not None:
        connection.client.check()


def end(request: web.BaseRequest) -> None:
    """Finish the connection with FIN: a reset would make clients fail where they could resume."""
    transport = request.transport
    if transport is not None and transport.can_write_eof():
        transport.write_eof()

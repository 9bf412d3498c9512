"""The registry API on a socket: requests to replies, and every failure to OCI JSON."""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import NamedTuple

from aiohttp import web

from edgeproxy import tracing
from edgeproxy.access.callers import Asking
from edgeproxy.access.certificates import By
from edgeproxy.access.limits import Clients
from edgeproxy.api.address import Ask, Content, NewUpload, TokenAsk, Upload
from edgeproxy.api.challenge import Challenges
from edgeproxy.api.connection import Connection, ConnectionLimits
from edgeproxy.api.pull import Pull
from edgeproxy.api.push import Push, Request
from edgeproxy.api.receive import Incoming
from edgeproxy.api.reply import Reply, joined, reply_with_refusal, repository_of
from edgeproxy.api.requests import Ended, RequestLog
from edgeproxy.api.send import BrokenOff, Progress, send
from edgeproxy.api.token import TokenEndpoint
from edgeproxy.cache.notes import Notes
from edgeproxy.metrics import Traffic
from edgeproxy.oci.errors import Forbidden, Refusal, RouteUnknown, Unauthorized
from edgeproxy.oci.passage import passed

log = logging.getLogger(__name__)
_LAST_BYTES = 5.0
"""Seconds for a client to take what lies in memory for it when the daemon ends."""
_ACTIONS = {"GET": "pull", "HEAD": "pull", "DELETE": "delete"}
"""What a token is asked for (Docker token authentication); all else is pushing."""
_IDENTITY = web.RequestKey("identity", str)
_QUIET = logging.getLogger("edgeproxy.http")


class Service(NamedTuple):
    """What is answered, as the configuration decides it."""

    pull: Pull
    push: Push
    tokens: TokenEndpoint | None
    challenges: Challenges
    notes: Notes | None = None
    """Where answers are noted to be learned from, if they are."""
    lines: RequestLog | None = None
    """Where requests are told one by one, if they are."""
    identity: By = "subject"
    """The name that counts in a client's certificate."""


class PullServer(web.Server):
    """Makes a connection for every client; serves a `Service`."""

    def __init__(
        self,
        service: Service,
        traffic: Traffic,
        clients: Clients,
        limits: ConnectionLimits,
        now: float,
        wall: Callable[[], float],
    ) -> None:
        """`wall`: the time of day, in seconds since the epoch."""
        super().__init__(self._handle, access_log=None, logger=_QUIET, **limits.settings())
        self.clients = clients
        self.limits = limits
        self.now = now
        """Seconds, exact to the second, for all that need not know it better."""
        self.wall = wall
        self._traffic = traffic
        self.exchange(service)

    def exchange(self, service: Service) -> None:
        """Requests under way end with what they began with."""
        self.service, self.pull = service, service.pull

    def __call__(self) -> Connection:
        return Connection(self, self, loop=self._loop, **self._kwargs)

    def sweep(self, now: float) -> None:
        """Called once a second: one look at every connection instead of a timer for every request."""
        self.now = now
        self.clients.refill(now)
        for connection in self.connections:
            assert isinstance(connection, Connection)
            connection.sweep(now)

    async def shutdown(self, timeout: float | None = None) -> None:
        """As aiohttp's, which counts as sent what is in a transport: under TLS that may be the end of a body."""
        leaving = [each.gone for each in self.connections if isinstance(each, Connection) and each.gone is not None]
        await super().shutdown(timeout)
        if leaving:
            await asyncio.wait(leaving, timeout=_LAST_BYTES)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if not tracing.is_on():
            return await self._answer(request)
        with tracing.span(request.method, "server", request.headers) as span:
            span.set_attribute("http.request.method", request.method)
            span.set_attribute("url.path", written(request))
            span.set_attribute("client.address", request.remote or "")
            response = await self._answer(request)
            span.set_attribute("http.response.status_code", response.status)
            span.set_attribute("edgeproxy.cache", response.headers.get("Cache-Status", ""))
            return response

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        began = time.monotonic()
        service, address, progress = self.service, request.remote or "", Progress()
        reply = await self._reply(request, service)
        now = self.wall()
        self.count(reply, time.monotonic() - began, now, address)
        detail = reply.detail
        try:
            return await send(request, reply, service.pull.past_disk, progress)
        except BrokenOff as error:
            log.warning("broke off %s for %s: %s", written(request), request.remote, error)
            detail = str(error)
            end(request)
            raise
        except ConnectionError:
            detail = "the client left"
            raise
        finally:
            if service.lines is not None:
                service.lines.ended(
                    Ended(
                        now, address, reply.identity or request.get(_IDENTITY, ""), request.method,
                        reply.asked[2] if reply.asked else written(request), reply.status, reply.outcome,
                        progress.sent, reply.span.length, time.monotonic() - began,
                        reply.flight.brought_by if reply.flight else (), detail,
                    )
                )  # fmt: skip

    async def _reply(self, request: web.BaseRequest, service: Service) -> Reply:
        pull = service.pull
        ask: Ask | TokenAsk | None = None
        method, headers = request.method, request.headers
        host, connection = headers.get("Host", ""), request.protocol
        assert isinstance(connection, Connection)
        try:
            connection.check()
            ask = pull.parse(request.raw_path, host)
            pull.allow(ask, method, headers)
            incoming = Incoming(request, service.push.idle)
            if isinstance(ask, TokenAsk):
                if service.tokens is None:
                    raise RouteUnknown("no tokens are given here")
                return await service.tokens.answer(ask, method, headers, incoming)
            passed.set(joined(headers, "CDN-Loop"))
            asking = Asking(headers.get("Authorization", ""), connection.presented)
            caller = await pull.callers.identify(asking)
            request[_IDENTITY] = caller.identity.name
            if isinstance(ask, NewUpload | Upload) or (isinstance(ask, Content) and method in ("PUT", "DELETE")):
                said = Request(method, request.raw_path, headers, incoming, caller)
                return await service.push.answer(ask, said)
            return await pull.answer(ask, method, headers, caller)
        except Refusal as refusal:
            self._note(refusal, request)
            actions = _ACTIONS.get(method, "pull,push")
            told = isinstance(refusal, Unauthorized)
            ways = service.challenges.fields(host, repository_of(ask), actions) if told else ()
            return reply_with_refusal(refusal, ask, method == "HEAD", ways)
        except Exception:
            log.exception("a bug, met by %s %s", method, written(request))
            self._traffic.errors["UNKNOWN"] += 1
            return reply_with_refusal(Refusal("a bug in the proxy; its log says more"), ask, method == "HEAD")

    def _note(self, refusal: Refusal, request: web.BaseRequest) -> None:
        self._traffic.errors[refusal.code] += 1
        if isinstance(refusal, Forbidden):
            self._traffic.refused[refusal.reason] += 1
            log.info("refused to %s: %s %s: %s", request.remote, request.method, written(request), refusal.message)

    def answered(self, reply: Reply, now: float, address: str) -> None:
        """At once, and all of it."""
        self.count(reply, 0.0, now, address)
        lines = self.service.lines
        if lines is not None:
            lines.hit(now, address, reply)

    def count(self, reply: Reply, seconds: float, now: float = 0.0, address: str = "") -> None:
        about = (reply.registry, reply.kind, reply.outcome)
        self._traffic.requests[about] += 1
        self._traffic.sent[about] += reply.span.length
        self._traffic.began(reply.outcome, seconds)
        notes = self.service.notes
        if notes is not None and reply.asked is not None:
            notes.answered(now, address, reply.asked, reply.outcome, reply.span.length, seconds)

    def refuse(self, refusal: Refusal) -> Reply:
        self._traffic.errors[refusal.code] += 1
        reply = reply_with_refusal(refusal, None, head_only=False)
        self.count(reply, 0.0)
        return reply


def written(request: web.BaseRequest) -> str:
    """The path, still encoded: nothing in it ends a line of a log or colours it, and no login before it is told."""
    return request.rel_url.raw_path


def end(request: web.BaseRequest) -> None:
    """Finish the connection with FIN: a reset would make clients fail where they could resume."""
    transport = request.transport
    if transport is not None and transport.can_write_eof():
        transport.write_eof()

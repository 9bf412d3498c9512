"""The registry API on a socket: one connection's requests to replies, and every failure to OCI JSON."""

import asyncio
import logging
import socket
import time
from typing import Any, NamedTuple

from aiohttp import HttpVersion11, web
from aiohttp.web_protocol import RequestHandler

from edgeproxy.access.callers import Asking
from edgeproxy.access.certificates import By, presented
from edgeproxy.api import fields
from edgeproxy.api.address import Ask, Content, NewUpload, TokenAsk, Upload
from edgeproxy.api.challenge import Challenges
from edgeproxy.api.front import Front, write_at_once
from edgeproxy.api.pull import Pull
from edgeproxy.api.push import Push, Request
from edgeproxy.api.receive import Incoming
from edgeproxy.api.reply import Reply, joined, reply_with_refusal, repository_of
from edgeproxy.api.send import BrokenOff, send
from edgeproxy.api.token import TokenEndpoint
from edgeproxy.metrics import Traffic
from edgeproxy.oci.errors import Forbidden, Refusal, RequestInvalid, RouteUnknown, Unauthorized
from edgeproxy.oci.passage import passed

log = logging.getLogger(__name__)
_IDLE = 120.0
_UNSENT = 64 * 1024
"""Bytes of a body that the kernel holds before it may send them. More would go out with the client's acknowledgements,
on its processor and not on ours (a third slower on loopback), and lie in memory for every slow client."""
_LAST_BYTES = 5.0
"""Seconds for a client to take what lies in memory for it when the daemon ends."""
_QUIET = logging.getLogger("edgeproxy.http")


class Service(NamedTuple):
    """What is answered, as the configuration decides it."""

    pull: Pull
    push: Push
    tokens: TokenEndpoint | None
    challenges: Challenges
    identity: By = "subject"
    """The name that counts in a client's certificate."""


class PullServer(web.Server):
    """Makes a connection for every client; serves a `Service`."""

    def __init__(self, service: Service, traffic: Traffic) -> None:
        super().__init__(self._handle, access_log=None, keepalive_timeout=_IDLE, logger=_QUIET)
        self._traffic = traffic
        self.exchange(service)

    def exchange(self, service: Service) -> None:
        """Requests under way end with what they began with."""
        self.service, self.pull = service, service.pull

    def __call__(self) -> RequestHandler:
        return Connection(self, loop=self._loop, **self._kwargs)

    async def shutdown(self, timeout: float | None = None) -> None:
        """As aiohttp's, which counts as sent what is in a transport: under TLS that may be the end of a body."""
        leaving = [each.gone for each in self.connections if isinstance(each, Connection) and each.gone is not None]
        await super().shutdown(timeout)
        if leaving:
            await asyncio.wait(leaving, timeout=_LAST_BYTES)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        began = time.monotonic()
        service = self.service
        reply = await self._reply(request, service)
        self.count(reply, time.monotonic() - began)
        try:
            return await send(request, reply, service.pull.past_disk)
        except BrokenOff as error:
            log.warning("broke off %s for %s: %s", request.path, request.remote, error)
            end(request)
            raise

    async def _reply(self, request: web.BaseRequest, service: Service) -> Reply:
        pull = service.pull
        ask: Ask | TokenAsk | None = None
        method, headers = request.method, request.headers
        host = headers.get("Host", "")
        try:
            ask = pull.parse(request.raw_path, host)
            pull.allow(ask, method, headers)
            incoming = Incoming(request, service.push.idle)
            if isinstance(ask, TokenAsk):
                if service.tokens is None:
                    raise RouteUnknown("no tokens are given here")
                return await service.tokens.answer(ask, method, headers, incoming)
            passed.set(joined(headers, "CDN-Loop"))
            caller = await pull.callers.identify(Asking(headers.get("Authorization", ""), _presented(request)))
            if isinstance(ask, NewUpload | Upload) or (isinstance(ask, Content) and method == "PUT"):
                said = Request(method, request.raw_path, headers, incoming, caller)
                return await service.push.answer(ask, said)
            return await pull.answer(ask, method, headers, caller)
        except Refusal as refusal:
            self._note(refusal, request)
            actions = "pull" if method in ("GET", "HEAD") else "pull,push"
            told = isinstance(refusal, Unauthorized)
            ways = service.challenges.fields(host, repository_of(ask), actions) if told else ()
            return reply_with_refusal(refusal, ask, method == "HEAD", ways)
        except Exception:
            log.exception("a bug, met by %s %s", method, request.path)
            self._traffic.errors["UNKNOWN"] += 1
            return reply_with_refusal(Refusal("a bug in the proxy; its log says more"), ask, method == "HEAD")

    def _note(self, refusal: Refusal, request: web.BaseRequest) -> None:
        self._traffic.errors[refusal.code] += 1
        if isinstance(refusal, Forbidden):
            self._traffic.refused[refusal.reason] += 1
            log.info("refused to %s: %s %s: %s", request.remote, request.method, request.path, refusal.message)

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


def _presented(request: web.BaseRequest) -> str:
    connection = request.protocol
    return connection.presented if isinstance(connection, Connection) else ""


def end(request: web.BaseRequest) -> None:
    """Finish the connection with FIN: a reset would make clients fail where they could resume."""
    transport = request.transport
    if transport is not None and transport.can_write_eof():
        transport.write_eof()


class Connection(RequestHandler):
    """aiohttp's connection, with hits answered at the front and errors in the specification's words."""

    __slots__ = ("_socket", "gone", "presented")

    def __init__(self, server: PullServer, **settings: Any) -> None:
        super().__init__(server, **settings)
        self._parser = Front(self._parser, self, server)  # type: ignore[assignment]
        self._socket = -1
        self.presented = ""
        """The name that the client has proven by a certificate."""
        self.gone: asyncio.Future[None] | None = None
        """Under TLS: done when the client has all that was sent, or has left."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert isinstance(transport, asyncio.Transport)
        assert isinstance(self._manager, PullServer)
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT)
        self.presented = presented(transport.get_extra_info("peercert") or {}, self._manager.service.identity)
        if transport.get_extra_info("sslcontext") is None:
            self._socket = connection.fileno()
        else:
            transport.set_write_buffer_limits(_UNSENT)
            self.gone = self._loop.create_future()

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        if self.gone is not None:
            self.gone.set_result(None)

    def is_idle(self) -> bool:
        """Whether an answer may go out now: none is being made, and the client has taken what went before."""
        return (
            self._waiter is not None
            and not self._messages
            and not self._waiter.done()
            and self.transport is not None
            and not self.transport.is_closing()
            and not self.transport.get_write_buffer_size()
        )

    def write_at_once(self, head: bytes, body: bytes) -> None:
        """Past the transport, whose buffer is empty, as far as the kernel takes it; under TLS through it."""
        rest = write_at_once(self._socket, head, body) if self._socket >= 0 else head + body
        if rest and self.transport is not None:
            self.transport.write(rest)
        self._next_keepalive_close_time = self._loop.time() + _IDLE

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Whatever is not HTTP, a TLS handshake on the plain port included, is told so at once."""
        if request.writer.output_size > 0 or self._manager is None:
            raise ConnectionError("the answer is already on its way")
        assert isinstance(self._manager, PullServer)
        request._version = HttpVersion11  # unreadable requests count as 1.0, and some clients want to see 1.1
        text = "this is not an HTTP/1.1 request: speak plain HTTP on this port" if message is None else message
        reply = self._manager.refuse(RequestInvalid(text[:300]) if status < 500 else Refusal("a bug in the proxy"))
        body = reply.body.body  # type: ignore[union-attr]
        response = web.Response(status=status, headers=[*fields.common(), *reply.about, *reply.came_by], body=body)
        response.force_close()
        return response

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """A client that resets its connection is no error."""
        error = kw.get("exc_info")
        if not isinstance(error, ConnectionError):
            super().log_exception(*args, **kw)

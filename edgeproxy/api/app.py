"""The registry API on a socket: one connection's requests to replies, and every failure to OCI JSON."""

import asyncio
import logging
import socket
import time
from typing import Any

from aiohttp import HttpVersion11, web
from aiohttp.web_protocol import RequestHandler

from edgeproxy.api import fields
from edgeproxy.api.address import Ask, Content, NewUpload, Upload
from edgeproxy.api.front import Front, write_at_once
from edgeproxy.api.pull import Pull, Reply, joined, reply_with_refusal
from edgeproxy.api.push import Push, Request
from edgeproxy.api.receive import Incoming
from edgeproxy.api.send import BrokenOff, send
from edgeproxy.metrics import Traffic
from edgeproxy.oci.errors import Refusal, RequestInvalid
from edgeproxy.oci.passage import passed

log = logging.getLogger(__name__)
_IDLE = 120.0
_UNSENT = 64 * 1024
"""Bytes of a body that the kernel holds before it may send them. More would go out with the client's acknowledgements,
on its processor and not on ours (a third slower on loopback), and lie in memory for every slow client."""
_QUIET = logging.getLogger("edgeproxy.http")


class PullServer(web.Server):
    """Makes a connection for every client; serves `Pull` and `Push`."""

    def __init__(self, pull: Pull, push: Push, traffic: Traffic) -> None:
        super().__init__(self._handle, access_log=None, keepalive_timeout=_IDLE, logger=_QUIET)
        self.pull, self.push = pull, push
        """May be exchanged while requests are under way."""
        self._traffic = traffic

    def __call__(self) -> RequestHandler:
        return Connection(self, loop=self._loop, **self._kwargs)

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
            ask = pull.parse(request.raw_path, request.headers.get("Host", ""))
            pull.allow(ask, method, request.headers)
            passed.set(joined(request.headers, "CDN-Loop"))
            if isinstance(ask, NewUpload | Upload) or (isinstance(ask, Content) and method == "PUT"):
                incoming = Incoming(request, self.push.idle)
                said = Request(method, request.raw_path, request.headers, incoming)
                return await self.push.answer(ask, said)
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


def end(request: web.BaseRequest) -> None:
    """Finish the connection with FIN: a reset would make clients fail where they could resume."""
    transport = request.transport
    if transport is not None and transport.can_write_eof():
        transport.write_eof()


class Connection(RequestHandler):
    """aiohttp's connection, with hits answered at the front and errors in the specification's words."""

    __slots__ = ("_socket",)

    def __init__(self, server: PullServer, **settings: Any) -> None:
        super().__init__(server, **settings)
        self._parser = Front(self._parser, self, server)  # type: ignore[assignment]
        self._socket = -1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT)
        self._socket = connection.fileno()

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
        """Past the transport, whose buffer is empty, as far as the kernel takes it."""
        rest = write_at_once(self._socket, head, body)
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

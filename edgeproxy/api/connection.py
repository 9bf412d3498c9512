"""One client's connection: what it says to requests, and how long it is waited for."""

import asyncio
import contextlib
import os
import socket
import time
from dataclasses import dataclass
from typing import Any, Protocol

from aiohttp import HttpVersion11, web
from aiohttp.web_protocol import RequestHandler

from edgeproxy.access.certificates import By, presented
from edgeproxy.access.limits import Client, Clients
from edgeproxy.api import fields, front
from edgeproxy.api.front import Front, Unreadable, write_at_once
from edgeproxy.api.reply import Reply
from edgeproxy.interfaces import InMemory
from edgeproxy.oci.errors import Refusal, RequestInvalid, RequestTimeout

_UNSENT = 64 * 1024
"""Bytes of a body that the kernel holds before it may send them. More would go out with the client's acknowledgements,
on its processor and not on ours (a third slower on loopback), and lie in memory for every slow client."""
_UNREAD = 64 * 1024
"""Bytes of a client that is turned away which are read nevertheless."""


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Bytes of a request line and of a header section that it is part of; seconds for a header section to be whole,
    without a request, and in which a client takes nothing of its answer."""

    request_line: int
    header: int
    header_time: float
    idle: float
    stalled: float

    def settings(self) -> dict[str, Any]:
        """For aiohttp. Its timer for idle connections is not used; a body that nobody asked for is read and thrown
        away for as long as a header section may take, and never unpacked."""
        return {
            "max_line_size": self.request_line,
            "max_field_size": self.header,
            "lingering_time": self.header_time,
            "keepalive_timeout": 0.0,
            "auto_decompress": False,
        }


class Named(Protocol):
    @property
    def identity(self) -> By:
        """The name that counts in a client's certificate."""
        ...


class Server(front.Server, Protocol):
    """Whose connection it is."""

    clients: Clients
    limits: ConnectionLimits

    @property
    def service(self) -> Named: ...

    def refuse(self, refusal: Refusal) -> Reply: ...


class Connection(RequestHandler):
    """aiohttp's connection, with hits answered at the front and errors in the specification's words."""

    __slots__ = ("_front", "_server", "_socket", "address", "client", "gone", "presented")

    def __init__(self, manager: web.Server, server: Server, **settings: Any) -> None:
        super().__init__(manager, **settings)
        self._server = server
        self._front = Front(self._parser, self, server, server.limits.header)
        self._parser = self._front  # type: ignore[assignment]
        self._socket = -1
        self.address = ""
        self.client: Client | None = None
        self.presented = ""
        """The name that the client has proven by a certificate."""
        self.gone: asyncio.Future[None] | None = None
        """Under TLS: done when the client has all that was sent, or has left."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        connection, peer = transport.get_extra_info("socket"), transport.get_extra_info("peername")
        if not peer:  # it has left already
            transport.abort()
            return
        encrypted = transport.get_extra_info("sslcontext") is not None
        self._socket = -1 if encrypted else connection.fileno()
        if not encrypted:
            refusal = self.enter(peer[0])
            if refusal is not None:
                self.transport = transport
                self._end_with(refusal)
                return
        super().connection_made(transport)
        if encrypted:
            transport.set_write_buffer_limits(_UNSENT)
            self.gone = self._loop.create_future()
            self.presented = presented(transport.get_extra_info("peercert") or {}, self._server.service.identity)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT)
        # The kernel ends what makes no progress: a client that is gone, and one that is there and reads nothing.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(self._server.limits.stalled * 1000))

    def enter(self, address: str) -> Reply | None:
        """Count among the clients, from `connection_made` on or before it; else what to tell who may not."""
        try:
            self.client = self._server.clients.enter(address)
        except Refusal as refusal:
            return self._server.refuse(refusal)
        self.address = address
        return None

    def leave(self) -> None:
        if self.address:
            self._server.clients.leave(self.address)
            self.address = ""

    def connection_lost(self, exc: BaseException | None) -> None:
        self.leave()
        super().connection_lost(exc)
        if self.gone is not None:
            self.gone.set_result(None)

    def check(self) -> None:
        """Raises `TooManyRequests`."""
        if self.client is not None:
            self.client.check()

    def sweep(self, now: float) -> None:
        """End the connection where the client has been waited for too long."""
        front, limits = self._front, self._server.limits
        if not self.waits():
            front.busy(now)
        elif front.begun is not None:
            if now - front.begun > limits.header_time:
                timeout = RequestTimeout(f"no whole request within {limits.header_time:g} s")
                self._end_with(self._server.refuse(timeout))
        elif now - front.asked > limits.idle:
            self.force_close()

    def waits(self) -> bool:
        """Whether all that was asked is answered."""
        return self._waiter is not None and not self._waiter.done()

    def _end_with(self, reply: Reply) -> None:
        """Answer whatever the client asks, and end."""
        assert isinstance(reply.body, InMemory)
        assert self.transport is not None
        about = (*reply.about, ("Connection", "close"))
        self.transport.write(fields.head(reply.status, about, reply.came_by, time.time()) + reply.body.body)
        if self._socket >= 0:
            with contextlib.suppress(OSError):
                os.read(self._socket, _UNREAD)  # what is unread when a socket is closed makes it a reset
        self.force_close()

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

    def _process_keepalive(self) -> None:
        """aiohttp's timer: the sweep ends idle connections."""

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Whatever is not HTTP, a TLS handshake on the plain port included, is told so at once."""
        if request.writer.output_size > 0:
            raise ConnectionError("the answer is already on its way")
        request._version = HttpVersion11  # unreadable requests count as 1.0, and some clients want to see 1.1
        reply = self._server.refuse(_refusal(status, exc, message))
        body = reply.body.body  # type: ignore[union-attr]
        about = [*fields.common(), *reply.about, *reply.came_by]
        response = web.Response(status=reply.status, headers=about, body=body)
        response.force_close()
        return response

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """A client that resets its connection is no error."""
        error = kw.get("exc_info")
        if not isinstance(error, ConnectionError):
            super().log_exception(*args, **kw)


def _refusal(status: int, error: BaseException | None, message: str | None) -> Refusal:
    if isinstance(error, Unreadable):
        return error.refusal
    if status < 500:
        text = "this is not an HTTP/1.1 request: speak plain HTTP on this port" if message is None else message
        return RequestInvalid(text[:300])
    return Refusal("a bug in the proxy")

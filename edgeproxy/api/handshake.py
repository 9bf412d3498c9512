"""A connection before TLS is agreed on: counted from its first moment, so that who says nothing cannot have many."""

import asyncio
import contextlib
import ssl
from collections.abc import Callable

from edgeproxy.api.connection import Connection

_TIME = 10.0
"""Seconds for a handshake."""
_FAREWELL = 120.0
"""Seconds for a client to take what lies in the transport when we close; asyncio would give it 30."""


class Handshakes:
    """Makes a protocol for every client of a listener; owns the handshakes under way."""

    def __init__(self, connections: Callable[[], Connection], context: ssl.SSLContext) -> None:
        self._connections = connections
        self._context = context
        self._under_way = set[asyncio.Task[None]]()

    def __call__(self) -> asyncio.Protocol:
        return _Handshake(self._connections(), self._begin)

    def close(self) -> None:
        for task in self._under_way:
            task.cancel()

    def _begin(self, handshake: "_Handshake", transport: asyncio.Transport) -> None:
        task = asyncio.get_running_loop().create_task(handshake.run(transport, self._context))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)


class _Handshake(asyncio.Protocol):
    """Takes what the client says right after its handshake, until the connection is there to take it."""

    def __init__(self, connection: Connection, begin: Callable[["_Handshake", asyncio.Transport], None]) -> None:
        self._connection = connection
        self._begin = begin
        self._said = bytearray()
        self._lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.pause_reading()  # what comes is TLS, and not for us
        peer = transport.get_extra_info("peername")
        if peer and self._connection.enter(peer[0]) is None:
            self._begin(self, transport)
        else:
            transport.abort()  # words would cost us the handshake that is one too many

    async def run(self, plain: asyncio.Transport, context: ssl.SSLContext) -> None:
        loop = asyncio.get_running_loop()
        made = None
        try:
            with contextlib.suppress(OSError):  # told to the client as far as it listens, and logged, by the context
                made = await loop.start_tls(
                    plain, self, context, server_side=True, ssl_handshake_timeout=_TIME, ssl_shutdown_timeout=_FAREWELL
                )
        finally:
            if made is None or self._lost:
                self._connection.leave()
                plain.abort()
        if made is not None and not self._lost:
            made.set_protocol(self._connection)
            self._connection.connection_made(made)
            self._connection.data_received(bytes(self._said))

    def data_received(self, data: bytes) -> None:
        self._said += data

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True

"""A relay in front of a registry that records every exchange and misbehaves as told.

It runs in the test's own event loop, so a test drives it with plain assignments and events. It streams: no
byte waits for a later one unless a fault says so.
"""

import asyncio
import socket
import struct
import termios
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from fcntl import ioctl
from types import TracebackType
from typing import Literal, Self

import aiohttp
from aiohttp import web
from aiohttp.web_protocol import RequestHandler
from yarl import URL

from tests.parts.processes import free_port, wait_until

_ROUNDS_OF_ACCEPTING = 3
"""Of the event loop, from meeting a connection to knowing it: until then nobody can break it."""
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "host"}


@dataclass
class Exchange:
    """One request and what became of it; `sent` counts the bytes of the body that went out so far."""

    method: str
    path: str
    headers: dict[str, str]
    status: int = 0
    sent: int = 0
    ended: bool = False

    @property
    def range(self) -> str | None:
        return self.headers.get("Range")


@dataclass
class Fault:
    """What happens to the exchanges whose path contains `path`; the first fault that matches is the one.

    At byte `at` of the body the relay waits for `hold`, then `cut`s the connection where one is wished.
    """

    path: str = ""
    method: str = ""  # any
    times: int | None = None  # after so many exchanges it no longer matches
    delay: float = 0.0  # seconds before anything is done
    rate: float | None = None  # bytes per second, shared by all the exchanges of this fault
    status: int | None = None  # answered with this instead of asking the registry
    headers: Mapping[str, str] = field(default_factory=dict)  # of that answer
    at: int = 0
    hold: asyncio.Event | None = None
    before: asyncio.Event | None = None  # waited for before the registry is asked
    after: asyncio.Event | None = None  # waited for when the registry has answered, before that is passed on
    cut: Literal["fin", "rst"] | None = None
    _free_at: float = 0.0

    def matches(self, request: web.BaseRequest) -> bool:
        usable = self.times is None or self.times > 0
        return usable and self.path in request.raw_path and self.method in ("", request.method)

    def spend(self) -> None:
        """Count one exchange."""
        if self.times is not None:
            self.times -= 1

    async def pace(self, size: int) -> None:
        """Wait until a link of `rate` has carried these bytes after all that were handed to it before."""
        if self.rate is not None:
            now = asyncio.get_running_loop().time()
            self._free_at = max(now, self._free_at) + size / self.rate
            await asyncio.sleep(self._free_at - now)


class _Refusal(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.abort()


class _Server(web.Server):
    """Knows its connections to the end: one that it shuts down while much of a body is unread may stay open else."""

    def __init__(self, handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]) -> None:
        super().__init__(handler, access_log=None, auto_decompress=False)
        self._open = set[asyncio.Transport]()

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        self._open.add(transport)

    async def shutdown(self, timeout: float | None = None) -> None:
        try:
            await super().shutdown(timeout)
        finally:
            for transport in self._open:
                transport.abort()


class RecordingRelay:
    """`async with RecordingRelay(registry.url) as relay:` — `exchanges` is the record, `faults` the orders."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.routes: dict[str, str] = {}
        """Other targets, by the beginning of the path."""
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.exchanges: list[Exchange] = []
        self.faults: list[Fault] = []
        self._session: aiohttp.ClientSession | None = None
        self._http: _Server | None = None
        self._socket: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            auto_decompress=False,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
            connector=aiohttp.TCPConnector(limit=0, force_close=True),
            timeout=aiohttp.ClientTimeout(total=None),
        )
        await self.accept()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.refuse()
        if self._session is not None:
            await self._session.close()

    async def accept(self) -> None:
        """Listen; the state at the start, and again after `refuse`."""
        self._http = _Server(self._relay)
        loop = asyncio.get_running_loop()
        self._socket = await loop.create_server(self._meet, "127.0.0.1", self.port)

    async def refuse(self) -> None:
        """Break every open connection and refuse new ones."""
        if self._socket is not None and self._http is not None:
            http, self._http = self._http, None
            for listener in self._socket.sockets:  # first: a server that is closed loses whom it has just accepted
                asyncio.get_running_loop().remove_reader(listener.fileno())
            for _ in range(_ROUNDS_OF_ACCEPTING):
                await asyncio.sleep(0)
            self._socket.close()
            await http.shutdown(0.1)
        self._socket = None

    def _meet(self) -> asyncio.Protocol:
        """Whoever was accepted by the kernel before the socket was closed, and is met after that, is refused."""
        return self._http() if self._http is not None else _Refusal()

    def asked(self, method: str, part: str) -> list[Exchange]:
        """The exchanges with this method whose path contains `part`, such as a digest."""
        return [each for each in self.exchanges if each.method == method and part in each.path]

    async def _relay(self, request: web.BaseRequest) -> web.StreamResponse:
        exchange = Exchange(request.method, request.raw_path, dict(request.headers))
        self.exchanges.append(exchange)
        fault = next((each for each in self.faults if each.matches(request)), Fault())
        fault.spend()
        try:
            await asyncio.sleep(fault.delay)
            if fault.before is not None:
                await fault.before.wait()
            if fault.status is not None:
                exchange.status = fault.status
                return web.Response(status=fault.status, headers=fault.headers)
            return await self._pass_on(request, exchange, fault)
        finally:
            exchange.ended = True

    def _target_of(self, path: str) -> str:
        return next((target for prefix, target in self.routes.items() if path.startswith(prefix)), self.target)

    async def _pass_on(self, request: web.BaseRequest, exchange: Exchange, fault: Fault) -> web.StreamResponse:
        assert self._session is not None
        async with self._session.request(
            request.method,
            URL(self._target_of(request.raw_path) + request.raw_path, encoded=True),
            headers=_end_to_end(request.headers),
            data=request.content if request.can_read_body else None,
            allow_redirects=False,
        ) as answer:
            exchange.status = answer.status
            if fault.after is not None:
                await fault.after.wait()
            response = web.StreamResponse(status=answer.status, headers=_end_to_end(answer.headers))
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                if not await _send(chunk, request, response, exchange, fault):
                    return response
            await response.write_eof()
            return response


async def _send(
    chunk: bytes, request: web.BaseRequest, response: web.StreamResponse, exchange: Exchange, fault: Fault
) -> bool:
    """Send one chunk of the body, stopping where the fault strikes; False when it cut the connection."""

    async def write(piece: bytes) -> None:
        if piece:
            await fault.pace(len(piece))
            await response.write(piece)
            exchange.sent += len(piece)

    left = fault.at - exchange.sent  # negative once the fault has struck
    if (fault.hold or fault.cut) and 0 <= left < len(chunk):
        await write(chunk[:left])
        if fault.hold is not None:
            await fault.hold.wait()
        if fault.cut is not None:
            await _cut(request, fault.cut)
            return False
        chunk = chunk[left:]
    await write(chunk)
    return True


async def _cut(request: web.BaseRequest, how: Literal["fin", "rst"]) -> None:
    """End the connection once the other side's kernel has every byte written so far."""
    transport = request.transport
    if transport is None:
        return
    connection: socket.socket = transport.get_extra_info("socket")

    def arrived() -> bool:
        waiting = struct.unpack("i", ioctl(connection.fileno(), termios.TIOCOUTQ, b"\0\0\0\0"))[0]
        return waiting == 0 or transport.is_closing()

    await wait_until(arrived, "the reader takes what was sent before the cut")
    if how == "rst":
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    else:
        transport.close()


def _end_to_end(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in HOP_BY_HOP}

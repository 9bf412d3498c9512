"""One connection over the link: four tasks that move bytes, and what befalls them on the way down."""

import asyncio
import socket
import struct
import termios
import time
from collections import deque
from collections.abc import Mapping
from fcntl import ioctl

from loadtests.link.exchanges import Request, Requests, Responses
from loadtests.link.line import Line, Pace, until
from loadtests.link.terms import Counts, Terms

_UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
_FOREVER = 1 << 62
_LOOK_AGAIN = 0.001


class Link:
    """What all its connections share."""

    def __init__(self, target: tuple[str, int], terms: Terms) -> None:
        self.target = target
        self.terms = terms
        self.counts = Counts()
        self.pace = Pace()
        self.open: set[Connection] = set()
        self._since_cut = 0
        self._since_fault = 0
        self._asked = 0

    def change(self, terms: Mapping[str, object]) -> None:
        """Other terms from now on; what has been counted towards the next fault is forgotten."""
        for name, value in terms.items():
            setattr(self.terms, name, value)
        if terms:
            self._since_fault = self._asked = self._since_cut = 0

    def hear(self, size: int) -> None:
        """Count bytes on their way up, and cut all connections where it is time for that."""
        terms = self.terms
        self.counts.heard += size
        self._since_cut += size
        if terms.cut is not None and self._since_cut >= terms.cut:
            terms.cut = None
            for connection in self.open:
                self.counts.cut += connection.sever()

    def judge(self, request: Request) -> bool:
        """Count a request and decide its fate; False when it goes no further and is answered with 503."""
        terms, counts = self.terms, self.counts
        counts.requests += 1
        if request.method != "GET" or terms.about not in request.target:
            return True
        number, self._asked = self._asked, self._asked + 1
        if terms.unavailable and number % terms.unavailable == 0:
            counts.unavailable += 1
            return False
        if terms.resets and number % terms.resets == 0:
            counts.resets += 1
            request.reset = True
        return True

    def allow(self, size: int, carried: int) -> tuple[int, bool]:
        """How many of these bytes a connection that has `carried` so many may carry, and whether a fault follows."""
        terms, room = self.terms, _FOREVER
        if terms.fault and terms.every and terms.times != 0:
            room = terms.every - (self._since_fault if terms.counting == "link" else carried % terms.every)
        size = min(size, room)
        self.counts.carried += size
        self._since_fault += size
        if size < room:
            return size, False
        self._since_fault = 0
        self.counts.faults += 1
        if terms.times is not None:
            terms.times -= 1
        return size, True


class Connection:
    """`client` has connected; `run` returns when both sides have ended, or one was cut off."""

    def __init__(self, link: Link, client: socket.socket) -> None:
        self._link = link
        self._client = client
        self._server = socket.socket()
        self._begun = time.monotonic()
        self._up, self._down = Line(), Line()
        self._pace, self._pace_up = Pace(), Pace()
        self._steps: list[asyncio.Task[None]] = []
        self._asked: deque[Request] = deque()
        self._requests, self._responses = Requests(), Responses(self._asked)
        self._carried = 0
        self._left = asyncio.Event()
        self._reset = True
        """Whether the client sees a reset when this ends early."""

    async def run(self) -> None:
        for side in (self._client, self._server):
            side.setblocking(False)
            side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._link.counts.connections += 1
        self._link.open.add(self)
        try:
            await asyncio.get_running_loop().sock_connect(self._server, self._link.target)
            steps = (self._hear(), self._ask(), self._fetch(), self._deliver())
            self._steps = [asyncio.create_task(step) for step in steps]
            await asyncio.wait(self._steps, return_when=asyncio.FIRST_EXCEPTION)
        except OSError:
            pass  # the server cannot be reached, and the client is reset
        finally:
            self._link.open.discard(self)
            whole = bool(self._steps) and all(map(_ended_well, self._steps))
            self.sever()
            said = await asyncio.gather(*self._steps, return_exceptions=True)
            _close(self._client, reset=self._reset and not whole)
            _close(self._server, reset=not whole)
        for error in said:  # a connection that breaks is everyday; anything else is a mistake of ours
            if isinstance(error, Exception) and not isinstance(error, OSError):
                raise error

    def sever(self) -> bool:
        """End it here and now, what is on its way included; whether it had sent what is not answered yet."""
        for step in self._steps:
            step.cancel()
        return bool(self._asked or self._up.held)

    # up: client to server

    async def _hear(self) -> None:
        loop, terms = asyncio.get_running_loop(), self._link.terms
        try:
            while piece := await loop.sock_recv(self._client, terms.piece()):
                self._link.hear(len(piece))
                leaves = max(time.monotonic(), self._begun + 2 * terms.delay)
                leaves = self._pace_up.reserve(len(piece), terms.up, leaves)
                if terms.up is not None:
                    await until(leaves)
                await self._up.put(piece, leaves + terms.delay, terms.room_up())
        finally:
            self._left.set()
        self._up.add(b"", time.monotonic() + terms.delay)

    async def _ask(self) -> None:
        loop = asyncio.get_running_loop()
        while piece := await self._up.get():
            for part, request in self._requests.follow(piece):
                if request is not None:
                    goes_on = self._link.judge(request)
                    self._asked.append(request)
                    if not goes_on:
                        self._down.add(_UNAVAILABLE, time.monotonic() + self._link.terms.delay)
                        continue
                await loop.sock_sendall(self._server, part)
        self._server.shutdown(socket.SHUT_WR)

    # down: server to client

    async def _fetch(self) -> None:
        loop, link = asyncio.get_running_loop(), self._link
        terms = link.terms
        while piece := await loop.sock_recv(self._server, terms.piece()):
            now = time.monotonic()
            alone = self._pace.reserve(len(piece), terms.rate, now)
            entered = max(alone, link.pace.reserve(len(piece), terms.total, now))
            await until(entered)
            await self._down.put(piece, entered + terms.delay, terms.room())
        self._down.add(b"", time.monotonic() + terms.delay)

    async def _deliver(self) -> None:
        while piece := await self._down.get():
            before = self._responses.lies
            piece, reset = self._responses.follow(piece, self._link.terms.lie)
            self._link.counts.lies += self._responses.lies - before
            await self._send(piece[:reset])
            if reset is not None:
                await self._cut("rst")
        self._client.shutdown(socket.SHUT_WR)

    async def _send(self, piece: bytes) -> None:
        loop, rest = asyncio.get_running_loop(), memoryview(piece)
        while rest:
            size, fault = self._link.allow(len(rest), self._carried)
            self._carried += size
            await loop.sock_sendall(self._client, rest[:size])
            rest = rest[size:]
            if fault:
                await self._cut(self._link.terms.fault)

    async def _cut(self, how: str | None) -> None:
        """Never returns: the client has every byte up to here, and gets no more on this connection."""
        if how == "stall":
            await self._left.wait()
        if how == "rst":
            await self._taken()
        self._reset = how != "fin"
        raise ConnectionAbortedError(f"cut: {how}")

    async def _taken(self) -> None:
        """Until the client's kernel has all: a reset throws away what ours still holds."""
        while True:
            if self._left.is_set() or not _unsent(self._client):
                return
            await asyncio.sleep(_LOOK_AGAIN)


def _ended_well(step: "asyncio.Task[None]") -> bool:
    return step.done() and not step.cancelled() and step.exception() is None


def _unsent(connection: socket.socket) -> int:
    return int(struct.unpack("i", ioctl(connection.fileno(), termios.TIOCOUTQ, b"\0\0\0\0"))[0])


def _close(connection: socket.socket, reset: bool) -> None:
    if reset:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()

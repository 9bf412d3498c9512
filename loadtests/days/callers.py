"""The site's clients, each with an address of its own in the loopback network and one connection."""

import asyncio
import re
import socket
from typing import NamedTuple

_BUFFER = (1 << 25) + (1 << 16)
"""Bytes: more than any answer has."""
_PATIENCE = 120.0
_LENGTH = re.compile(rb"\r\nContent-Length: (\d+)", re.IGNORECASE)
_CAME_BY = re.compile(rb"\r\nCache-Status: ([^\r]*)", re.IGNORECASE)
_DIGEST = re.compile(rb"\r\nDocker-Content-Digest: ([^\r]*)", re.IGNORECASE)


class Told(NamedTuple):
    """An answer. `body` is valid until the next one is read."""

    status: int
    came_by: str
    """The `Cache-Status`."""
    digest: str
    body: memoryview


class Callers:
    """One asks at a time."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._open: dict[int, socket.socket] = {}
        self._buffer = memoryview(bytearray(_BUFFER))

    async def ask(self, client: int, method: str, target: str) -> Told:
        """Raises OSError or TimeoutError where no whole answer comes."""
        request = f"{method} {target} HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n".encode()
        async with asyncio.timeout(_PATIENCE):
            try:
                return await self._exchange(await self._connection(client), request, head_only=method == "HEAD")
            except ConnectionError:  # it was idle for too long
                self._open.pop(client).close()
                return await self._exchange(await self._connection(client), request, head_only=method == "HEAD")

    def close(self) -> None:
        for connection in self._open.values():
            connection.close()

    async def _connection(self, client: int) -> socket.socket:
        known = self._open.get(client)
        if known is None:
            known = self._open[client] = socket.socket()
            known.setblocking(False)
            known.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            known.bind((f"127.{1 + client // 65536}.{client // 256 % 256}.{1 + client % 255}", 0))
            await asyncio.get_running_loop().sock_connect(known, ("127.0.0.1", self._port))
        return known

    async def _exchange(self, connection: socket.socket, request: bytes, *, head_only: bool) -> Told:
        loop, buffer = asyncio.get_running_loop(), self._buffer
        await loop.sock_sendall(connection, request)
        filled, end = 0, -1
        while end < 0:
            filled += await self._more(connection, filled)
            end = bytes(buffer[: min(filled, 1 << 16)]).find(b"\r\n\r\n")
        head = bytes(buffer[:end])
        length = _LENGTH.search(head)
        size = 0 if head_only or length is None else int(length[1])
        while filled < end + 4 + size:
            filled += await self._more(connection, filled)
        came_by, digest = _CAME_BY.search(head), _DIGEST.search(head)
        return Told(
            int(head[9:12]),
            came_by[1].decode() if came_by else "",
            digest[1].decode() if digest else "",
            buffer[end + 4 : end + 4 + size],
        )

    async def _more(self, connection: socket.socket, filled: int) -> int:
        got = await asyncio.get_running_loop().sock_recv_into(connection, self._buffer[filled:])
        if not got:
            raise ConnectionResetError("the answer broke off")
        return got

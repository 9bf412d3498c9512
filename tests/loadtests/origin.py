"""A server of known bytes, and a client that sees exactly what a connection brings and how it ends."""

import asyncio
import random
from typing import Literal

_PIECE = 64 * 1024


def body_of(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def answer_of(size: int) -> bytes:
    """All that the origin sends for `/blobs/<size>`."""
    return f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode() + body_of(size)


class Origin:
    """Answers `GET /blobs/<size>` with `body_of(size)`, and a POST with what it was sent."""

    def __init__(self) -> None:
        self.url = ""
        self.sent = 0
        self.asked: list[str] = []

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                method, target, _ = head.decode().split(" ", 2)
                self.asked.append(f"{method} {target}")
                size = int(target.rpartition("/")[2])
                answer = answer_of(size)
                if method == "POST":
                    answer = answer[:-size] + await reader.readexactly(size)
                if method == "HEAD":
                    answer = answer[:-size]
                for start in range(0, len(answer), _PIECE):
                    writer.write(answer[start : start + _PIECE])
                    await writer.drain()
                    self.sent += len(answer[start : start + _PIECE])
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


class Caller:
    """One connection of a client."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def ask(self, size: int, method: str = "GET", body: bytes = b"") -> None:
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        self.writer.write(f"{method} /v2/x/blobs/{size} HTTP/1.1\r\nHost: x\r\n{length}\r\n".encode() + body)

    async def take(self, size: int) -> bytes:
        """The whole answer about a blob of so many bytes."""
        return await self.reader.readexactly(len(answer_of(size)))

    async def rest(self) -> tuple[bytes, Literal["fin", "rst"]]:
        """All that comes until the connection ends, and how it does."""
        received = bytearray()
        try:
            while piece := await self.reader.read(_PIECE):
                received += piece
        except ConnectionResetError:
            return bytes(received), "rst"
        return bytes(received), "fin"

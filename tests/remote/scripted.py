"""Servers on loopback that answer as a test says, and record what they were asked."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import ClientSession, web
from yarl import URL

from edgeproxy.oci.credentials import Credentials
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.reference import Pinned, Repository, Tag
from edgeproxy.remote.logins import Login, given
from edgeproxy.remote.registry import Registry, Timeouts, new_session
from edgeproxy.remote.transport import Transport

REPOSITORY = Repository("registry.test", "team/app")
SCOPE = "repository:team/app:pull"
TAG = Tag(REPOSITORY, "1.0")
BODY = b"0123456789abcdefghij"
PINNED = Pinned(REPOSITORY, Digest.of(BODY))
LOGIN = Credentials("me", "hidden-password")


@dataclass(frozen=True)
class Asked:
    method: str
    target: str
    """As it was on the wire."""
    headers: Mapping[str, str]

    @property
    def authorization(self) -> str | None:
        return self.headers.get("Authorization")


@dataclass
class Scripted:
    """`answer` makes every answer; a test may exchange it at any time."""

    answer: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
    asked: list[Asked] = field(default_factory=list)
    url: URL = field(default_factory=URL)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[URL]:
        runner = web.ServerRunner(web.Server(self.handle, access_log=None), shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.url = URL(f"http://127.0.0.1:{runner.addresses[0][1]}")
            yield self.url
        finally:
            await runner.cleanup()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        assert isinstance(request.raw_path, str)
        self.asked.append(Asked(request.method, request.raw_path, request.headers))
        return await self.answer(request)


def always(
    status: int = 200, body: bytes = b"", headers: Mapping[str, str] | None = None
) -> Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]:
    """The same answer to everything."""

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=status, body=body, headers=headers)

    return answer


@asynccontextmanager
async def serving(answer: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]) -> AsyncIterator[Scripted]:
    scripted = Scripted(answer)
    async with scripted.listening():
        yield scripted


@asynccontextmanager
async def raw(text: bytes, then: asyncio.Event | None = None) -> AsyncIterator[URL]:
    """Says `text` to whoever has asked, and ends the connection, after `then` where it is given."""

    speaking: set[asyncio.Task[None] | None] = set()

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        speaking.add(asyncio.current_task())
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(text)
            await writer.drain()
            if then is not None:
                await then.wait()
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    server = await asyncio.start_server(speak, "127.0.0.1", 0)
    try:
        yield URL(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    finally:
        server.close()
        tasks = [task for task in speaking if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def registry_at(
    url: URL,
    credentials: Credentials | None = None,
    timeouts: Timeouts | None = None,
    session: ClientSession | None = None,
) -> AsyncIterator[Registry]:
    patience = timeouts or Timeouts(5, 5, 5)
    async with session or new_session(patience) as connections:
        login = Login(given(credentials.username, lambda: credentials.password)) if credentials else None
        yield Registry("registry.test", url, Transport(connections, url), login, "this-proxy", patience)


async def content(registry: Registry, start: int = 0) -> bytes:
    async with registry.open("blobs", PINNED, start) as body:
        return b"".join([chunk async for chunk in body.chunks()])


async def turns() -> None:
    """Turns of the loop, in which whoever has something to read on the loopback reads it; no time is awaited."""
    for _ in range(100):
        await asyncio.sleep(0)

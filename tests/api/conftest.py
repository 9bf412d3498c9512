"""The daemon's parts joined in this process, in front of a small registry on loopback."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
from aiohttp import web

from edgeproxy.api.app import PullServer
from edgeproxy.api.connection import Connection
from edgeproxy.api.handshake import Handshakes
from edgeproxy.clock import SystemClock
from edgeproxy.config import Config
from edgeproxy.daemon import Daemon
from edgeproxy.interfaces import Clock
from edgeproxy.jobs.supervise import Supervisor
from edgeproxy.metrics import Traffic
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.reference import Repository
from edgeproxy.process import pull_server
from edgeproxy.remote.registry import Timeouts, new_session
from edgeproxy.tls import Certificates, Encryption
from tests.api.wire import Parsed, request, response, responses
from tests.fakes.loopback import Loopback
from tests.fakes.shelf import Shelf
from tests.parts.authorities import Authority
from tests.parts.processes import need, wait_until

_SEND_BUFFER = 64 * 1024
"""Bytes, less than most: a large answer is never taken by the kernel at once."""
HERE = Repository("a.test", "team/app")
PLAIN_AND_TLS = pytest.mark.parametrize("proxy", ["plain", "TLS"], indirect=True)
"""What is sent past the transport to others is sent through it under TLS."""
START = 1000.0
"""Seconds on the clock that connections are swept by; a test moves it on with `server.sweep`."""


class Proxy(NamedTuple):
    port: int
    daemon: Daemon
    server: PullServer
    shelf: Shelf
    traffic: Traffic
    handled: list[str]
    """The targets that got past the front."""
    trusting: ssl.SSLContext | None = None
    """For a client, where it has to speak TLS."""

    async def keeps(self, *contents: bytes) -> None:
        """A blob is kept after its last byte was sent, and in memory after that: wait until these are."""
        digests, daemon = [Digest.of(content) for content in contents], self.daemon
        await wait_until(
            lambda: all(daemon.catalog.held(digest) and digest not in daemon.store.growing for digest in digests),
            "all are kept",
        )

    async def at_rest(self, count: int = 0) -> None:
        """Wait until every connection waits for its client, and there are so many at least."""
        await wait_until(
            lambda: (
                len(self.server.connections) >= count
                and all(isinstance(each, Connection) and each.waits() for each in self.server.connections)
            ),
            "all wait for their clients",
        )

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=self.trusting)
        try:
            yield reader, writer
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def say(self, text: bytes) -> bytes:
        """All that is answered to these bytes until the proxy closes the connection."""
        async with self.connected() as (reader, writer):
            writer.write(text)
            return await asyncio.wait_for(reader.read(), 30)

    async def ask(self, target: str, *fields: str, method: str = "GET") -> Parsed:
        """The one answer on a connection of its own; nothing is answered at the front."""
        said = await self.say(request(target, *fields, "Connection: close", method=method))
        (answer,) = await responses(said, head_only=method == "HEAD")
        return answer

    async def ask_front(self, target: str, *fields: str, method: str = "GET") -> Parsed:
        """The answer on a connection that stays open, as the front needs it."""
        async with self.connected() as (reader, writer):
            if self.trusting is not None:  # what comes with the end of a handshake finds nobody waiting yet
                writer.write(request("/v2/"))
                await response(reader)
                self.handled.remove("/v2/")
            writer.write(request(target, *fields, method=method))
            return await response(reader, head_only=method == "HEAD")


def _watched(server: PullServer) -> list[str]:
    """A list that takes the target of every request that the front hands on."""
    handle, handled = server.request_handler, list[str]()

    async def watched(request: web.BaseRequest) -> web.StreamResponse:
        handled.append(request.raw_path)
        return await handle(request)

    server.request_handler = watched
    return handled


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    need("openssl")
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def encryption(authority: Authority) -> Encryption:
    signed = authority.signs("server", "IP:127.0.0.1")
    return Encryption(signed.certificate, signed.key, authority.certificate, "optional")


@pytest.fixture
def limits() -> dict[str, object]:
    """The section of the configuration; a test may have its own."""
    return {}


@pytest.fixture
def more(limits: dict[str, object]) -> dict[str, Any]:
    """Keys of the configuration that a module wants otherwise."""
    return {"limits": limits}


@pytest.fixture
async def proxy(request: pytest.FixtureRequest, tmp_path: Path, more: dict[str, Any]) -> AsyncIterator[Proxy]:
    """Speaks TLS where a test is marked `PLAIN_AND_TLS`."""
    encrypted = getattr(request, "param", "plain") == "TLS"
    encryption = request.getfixturevalue("encryption") if encrypted else None
    async with serving(tmp_path, more, encryption) as proxy:
        yield proxy


@asynccontextmanager
async def serving(
    tmp_path: Path,
    more: Mapping[str, Any] = MappingProxyType({}),
    encryption: Encryption | None = None,
    clock: Clock | None = None,
) -> AsyncIterator[Proxy]:
    """`more`: of the configuration. `clock`: else the system's."""
    shelf, traffic = Shelf(), Traffic()
    context = trusting = None
    if encryption is not None:
        context = Certificates(encryption).context
        trusting = ssl.create_default_context(cafile=str(encryption.client_ca))
    async with (
        Loopback(shelf, "a.test").listening() as upstream,
        new_session(Timeouts()) as session,
        asyncio.TaskGroup() as group,
    ):
        clock = clock or SystemClock()
        supervisor = Supervisor(group, clock, traffic)
        settings = {
            "data": tmp_path / "data",
            "cache": {"budget": "100MB", "reserve": "0%"},
            "registry": {"a.test": {"default": True, "upstream": [{"url": str(upstream).rstrip("/")}]}},
            **more,
        }
        config = Config.model_validate(settings)
        daemon = Daemon(config, supervisor, session, traffic, clock)
        server = pull_server(config, daemon.service, traffic, START, clock)
        handled = _watched(server)
        runner = web.ServerRunner(server, shutdown_timeout=1)
        await runner.setup()
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)  # its connections inherit it
        factory = Handshakes(server, context) if context else server
        accepting = await asyncio.get_running_loop().create_server(factory, sock=listener)
        try:
            yield Proxy(listener.getsockname()[1], daemon, server, shelf, traffic, handled, trusting)
        finally:
            accepting.close()
            await runner.cleanup()
            supervisor.stop()
            await daemon.close()

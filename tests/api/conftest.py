"""The daemon's parts joined in this process, in front of a small registry on loopback."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest
from aiohttp import web

from edgeproxy.api.app import PullServer
from edgeproxy.clock import SystemClock
from edgeproxy.config import Config
from edgeproxy.daemon import Daemon
from edgeproxy.jobs.supervise import Supervisor
from edgeproxy.metrics import Traffic
from edgeproxy.oci.reference import Repository
from edgeproxy.remote.registry import Timeouts, new_session
from tests.fakes.loopback import Loopback
from tests.fakes.shelf import Shelf

HERE = Repository("a.test", "team/app")


class Proxy(NamedTuple):
    port: int
    daemon: Daemon
    shelf: Shelf
    traffic: Traffic

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def say(self, text: bytes) -> bytes:
        """All that is answered to these bytes until the proxy closes the connection."""
        reader, writer = await self.open()
        try:
            writer.write(text)
            return await asyncio.wait_for(reader.read(), 30)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


@pytest.fixture
async def proxy(tmp_path: Path) -> AsyncIterator[Proxy]:
    shelf, traffic = Shelf(), Traffic()
    async with (
        Loopback(shelf, "a.test").listening() as upstream,
        new_session(Timeouts()) as session,
        asyncio.TaskGroup() as group,
    ):
        supervisor = Supervisor(group, SystemClock(), traffic)
        settings = {
            "data": tmp_path / "data",
            "cache": {"budget": "100MB", "reserve": "0%"},
            "registry": {"a.test": {"default": True, "upstream": [{"url": str(upstream).rstrip("/")}]}},
        }
        daemon = Daemon(Config.model_validate(settings), supervisor, session, traffic)
        runner = web.ServerRunner(PullServer(daemon.pull, traffic), shutdown_timeout=1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            yield Proxy(runner.addresses[0][1], daemon, shelf, traffic)
        finally:
            await runner.cleanup()
            supervisor.stop()
            await daemon.close()

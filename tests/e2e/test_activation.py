"""systemd's socket is taken over: who comes while nobody serves waits, and is answered."""

import asyncio
import os
import socket
import sys
from pathlib import Path

import aiohttp

from tests.parts.processes import free_port, wait_until


async def test_a_client_that_came_before_the_daemon_is_answered(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as waiting:
        port = waiting.getsockname()[1]
        async with aiohttp.ClientSession() as session:
            asked = asyncio.create_task(_status(session, f"http://127.0.0.1:{port}/v2/"))
            launch = (
                "import os, sys; os.dup2(int(sys.argv[1]), 3); os.environ['LISTEN_PID'] = str(os.getpid()); "
                "os.execv(sys.executable, [sys.executable, '-m', 'edgeproxy', 'serve'])"
            )
            fd = os.dup(waiting.fileno())
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", launch, str(fd), pass_fds=[fd], stderr=asyncio.subprocess.DEVNULL,
                env={
                    **os.environ, "LISTEN_FDS": "1", "LISTEN_FDNAMES": "listen", "EDGEPROXY_LISTEN": "127.0.0.1:9",
                    "EDGEPROXY_ADMIN": f"127.0.0.1:{free_port()}", "EDGEPROXY_DATA": str(tmp_path / "data"),
                },
            )  # fmt: skip
            os.close(fd)
            try:
                await wait_until(asked.done, "the client that waited is answered")
                assert asked.result() == 200
            finally:
                process.terminate()
                assert await process.wait() == 0


async def _status(session: aiohttp.ClientSession, url: str) -> int:
    async with session.get(url) as answer:
        return answer.status

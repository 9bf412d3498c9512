"""What the relay itself promises."""

import asyncio
import contextlib
import gc
import socket

import pytest

from tests.parts.relay import RecordingRelay


@pytest.mark.parametrize("rounds", range(6))
async def test_whoever_comes_while_it_stops_listening_is_closed(rounds: int) -> None:
    async with RecordingRelay("http://127.0.0.1:9") as relay:
        with socket.create_connection(("127.0.0.1", relay.port)) as client:
            for _ in range(rounds):
                await asyncio.sleep(0)
            await relay.refuse()
            client.setblocking(False)
            await asyncio.sleep(0)
            with contextlib.suppress(ConnectionResetError):
                assert await asyncio.get_running_loop().sock_recv(client, 1) == b""
    gc.collect()  # an open socket that nobody holds is an error of this test

"""What the relay itself promises."""

import asyncio
import contextlib
import gc
import socket

import pytest

from tests.parts.relay import RecordingRelay


@pytest.mark.parametrize("earlier", range(-5, 6))
async def test_whoever_comes_about_when_it_stops_listening_is_closed(earlier: int) -> None:
    """So many rounds of the event loop before that, or after."""
    async with RecordingRelay("http://127.0.0.1:9") as relay:
        stopping = asyncio.create_task(_after(max(0, earlier), relay))
        for _ in range(max(0, -earlier)):
            await asyncio.sleep(0)
        with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", relay.port)):
            await stopping
        await stopping
    gc.collect()  # an open socket that nobody holds is an error of this test


async def _after(rounds: int, relay: RecordingRelay) -> None:
    for _ in range(rounds):
        await asyncio.sleep(0)
    await relay.refuse()

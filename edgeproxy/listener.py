"""The sockets that clients come to."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing

from aiohttp import web

from edgeproxy.api.handshake import Handshakes


class CannotStart(Exception):
    """Why the daemon cannot run here, and what to do about it."""


@asynccontextmanager
async def listening(
    runner: web.BaseRunner, address: tuple[str, int], key: str, handshakes: Handshakes | None = None
) -> AsyncIterator[None]:
    """At `address`, which `key` of the configuration gives, by TLS with `handshakes`. Raises `CannotStart`."""
    await runner.setup()
    assert runner.server is not None
    try:
        try:
            listener = await asyncio.get_running_loop().create_server(
                handshakes or runner.server, *address, backlog=1024, reuse_address=True
            )
        except OSError as error:
            # asyncio words a failed bind at length; a failed look-up has a number of its own, and its own words.
            reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
            raise CannotStart(
                f"cannot listen on {address[0]}:{address[1]} ({key}): {reason}; "
                f"set {key}, or EDGEPROXY_{key.upper()}, to another address"
            ) from error
        with closing(listener):
            yield
    finally:
        if handshakes is not None:
            handshakes.close()
        await runner.cleanup()

"""The sockets that clients come to."""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing

from aiohttp import web

_HANDSHAKE = 10.0
_FAREWELL = 120.0
"""Seconds for a client to take what lies in the transport when we close under TLS; asyncio would give it 30."""


class CannotStart(Exception):
    """Why the daemon cannot run here, and what to do about it."""


@asynccontextmanager
async def listening(
    runner: web.BaseRunner, address: tuple[str, int], key: str, encrypted: ssl.SSLContext | None = None
) -> AsyncIterator[None]:
    """At `address`, which `key` of the configuration gives. Raises `CannotStart`."""
    await runner.setup()
    assert runner.server is not None
    try:
        try:
            listener = await asyncio.get_running_loop().create_server(
                runner.server,
                *address,
                backlog=1024,
                reuse_address=True,
                ssl=encrypted,
                ssl_handshake_timeout=_HANDSHAKE if encrypted else None,
                ssl_shutdown_timeout=_FAREWELL if encrypted else None,
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
        await runner.cleanup()

"""The sockets that clients come to."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing

from aiohttp import web

from edgeproxy.api.handshake import Handshakes

_FIRST_HANDED = 3
"""The first descriptor that systemd hands over."""


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
            loop, handed = asyncio.get_running_loop(), inherited(key)
            listener = await (
                loop.create_server(handshakes or runner.server, sock=handed, backlog=1024)
                if handed
                else loop.create_server(handshakes or runner.server, *address, backlog=1024, reuse_address=True)
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


def inherited(name: str) -> socket.socket | None:
    """The listening socket of this name that systemd hands over (sd_listen_fds(3)), if it does."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return None
    names = os.environ.get("LISTEN_FDNAMES", "").split(":")
    count = int(os.environ.get("LISTEN_FDS", "0"))
    for place, each in enumerate(names[:count]):
        if each == name:
            handed = socket.socket(fileno=os.dup(_FIRST_HANDED + place))
            handed.setblocking(False)
            return handed
    return None

"""A link in front of an origin, and clients at its near end."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from loadtests.link.process import WideAreaLink
from loadtests.link.terms import Terms
from tests.loadtests.origin import Caller, Origin

Laid = Callable[[Terms], Awaitable[WideAreaLink]]
Calls = Callable[[WideAreaLink], Awaitable[Caller]]


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    origin = Origin()
    async with await asyncio.start_server(origin.answer, "127.0.0.1", 0) as server:
        origin.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield origin


@pytest.fixture
async def lay(tmp_path: Path, origin: Origin) -> AsyncIterator[Laid]:
    """Starts a link to the origin."""
    async with AsyncExitStack() as stack:

        async def start(terms: Terms) -> WideAreaLink:
            return await stack.enter_async_context(WideAreaLink(tmp_path / "link", origin.url, terms))

        yield start


@pytest.fixture
async def call() -> AsyncIterator[Calls]:
    """Connects a client to a link."""
    callers: list[Caller] = []

    async def connect(link: WideAreaLink) -> Caller:
        callers.append(Caller(*await asyncio.open_connection("127.0.0.1", link.port)))
        return callers[-1]

    yield connect
    for caller in callers:
        caller.writer.close()

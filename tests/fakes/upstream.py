"""An upstream in memory: what a `Shelf` has, without a network."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from edgeproxy.interfaces import Kind, Page, Role
from edgeproxy.oci.errors import Unavailable
from edgeproxy.oci.manifest import Descriptor
from edgeproxy.oci.reference import Pinned, Repository, Tag
from tests.fakes.shelf import Fault, Method, Question, Served, Shelf

_PIECE = 16 * 1024


class MemoryBody:
    """Implements `interfaces.Body`."""

    def __init__(self, served: Served, fault: Fault) -> None:
        self.media_type, self.start, self.size, self._rest = served
        self._fault = fault

    async def chunks(self) -> AsyncIterator[bytes]:
        fault, end = self._fault, len(self._rest)
        strike = None if fault.at is None else max(0, fault.at - self.start)
        position = 0
        while True:
            if position == strike:
                await fault.held()
                if fault.breaks:
                    raise Unavailable("broke off in the middle of a body")
            if position >= end:
                return
            stop = min(position + _PIECE, end)
            if strike is not None and position < strike < stop:
                stop = strike
            await asyncio.sleep(0)
            yield self._rest[position:stop]
            position = stop


class MemoryUpstream:
    """Implements `interfaces.Upstream`."""

    def __init__(self, name: str, shelf: Shelf, role: Role = "origin") -> None:
        self.name = name
        self.role: Role = role
        self.shelf = shelf

    async def resolve(self, tag: Tag) -> Descriptor:
        await self._asked("resolve", f"{tag.repository.path}/manifests/{tag.name}")
        return self.shelf.resolve(tag)

    async def stat(self, kind: Kind, pinned: Pinned) -> Descriptor:
        await self._asked("stat", f"{pinned.repository.path}/{kind}/{pinned.digest}")
        return self.shelf.stat(kind, pinned)

    @asynccontextmanager
    async def open(
        self, kind: Kind, pinned: Pinned, start: int = 0, stop: int | None = None
    ) -> AsyncIterator[MemoryBody]:
        fault = await self._asked("open", f"{pinned.repository.path}/{kind}/{pinned.digest}", start)
        body = MemoryBody(self.shelf.open(kind, pinned, start, fault, stop), fault)
        self.shelf.reading += 1
        try:
            yield body
        finally:
            self.shelf.reading -= 1

    async def listing(self, repository: Repository, path: str, query: Sequence[tuple[str, str]]) -> Page:
        await self._asked("listing", f"{repository.path}/{path}")
        return self.shelf.listing(repository, path, dict(query))

    async def knock(self) -> None:
        await self._asked("knock", "")

    async def _asked(self, method: Method, path: str, start: int = 0) -> Fault:
        fault = self.shelf.ask(Question(method, path, start))
        await asyncio.sleep(0)
        if fault.at is None:
            await fault.held()
        if fault.refusal is not None:
            raise fault.refusal
        return fault

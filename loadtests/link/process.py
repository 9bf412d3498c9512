"""A link as tests and benchmarks hold it: a process, told its terms, asked for its counts."""

import asyncio
import json
import sys
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Self

from loadtests.link.terms import Counts, Terms
from tests.parts.processes import Process, free_port

_PATIENCE = 10.0


class WideAreaLink:
    """`async with WideAreaLink(directory, registry.url, Terms(delay=0.04)) as link:` — `link.url` is the near end.

    `host`: an address of the loopback network, where upstreams are told apart by name.
    """

    def __init__(self, directory: Path, target: str, terms: Terms | None = None, host: str = "127.0.0.1") -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.port, self._control = free_port(), free_port()
        self.url = f"http://{host}:{self.port}"
        words = [host, self.port, self._control, target.rpartition(":")[2], json.dumps(asdict(terms or Terms()))]
        command = [sys.executable, "-m", "loadtests.link", *map(str, words)]
        self._process = Process(command, directory / "link.log")

    async def __aenter__(self) -> Self:
        await self._process.start(self._ready)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert await self._process.stop() == 0, self._process.tail()

    async def counts(self) -> Counts:
        return await self.change()

    async def change(self, **terms: object) -> Counts:
        """Other terms for what enters the link from now on, and for the connections there are. What it has carried."""
        async with asyncio.timeout(_PATIENCE):
            reader, writer = await asyncio.open_connection("127.0.0.1", self._control)
            try:
                writer.write(json.dumps(terms).encode() + b"\n")
                return Counts(**json.loads(await reader.readline()))
            finally:
                writer.close()

    async def _ready(self) -> bool:
        try:
            await self.counts()
        except OSError:
            return False
        return True

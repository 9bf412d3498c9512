"""The daemon as its users start it: a process with a configuration file."""

import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp

from tests.parts.processes import Process, free_port, responds

_CONFIG = """\
listen = "127.0.0.1:{port}"
admin = "127.0.0.1:{admin}"
data = "{data}"
log_level = "debug"
[cache]
budget = "{budget}"
reserve = "0%"
memory = "{memory}"
"""


class Edgeproxy:
    """`async with Edgeproxy(directory, {"registry.test": registry.url}) as proxy:`, its data outlives it.

    The first registry is the default one. `login` is added to every upstream, `more` to the whole configuration,
    `env` to the environment.
    """

    def __init__(
        self,
        directory: Path,
        registries: Mapping[str, str],
        budget: str = "1GB",
        memory: str = "16MB",
        login: str = "",
        more: str = "",
        env: Mapping[str, str] | None = None,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.port, admin = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.admin = f"http://127.0.0.1:{admin}"
        self.data = directory / "data"
        self.log = directory / "edgeproxy.log"
        text = _CONFIG.format(port=self.port, admin=admin, data=self.data, budget=budget, memory=memory)
        for position, (name, url) in enumerate(registries.items()):
            default = "true" if position == 0 else "false"
            text += f'[registry."{name}"]\ndefault = {default}\n[[registry."{name}".upstream]]\nurl = "{url}"\n{login}'
        self.config = directory / "edgeproxy.toml"
        self.config.write_text(text + more)
        self._process = Process([sys.executable, "-m", "edgeproxy", "serve", "-c", self.config], self.log, env)

    def add(self, more: str) -> None:
        """To the configuration, for the next start."""
        self.config.write_text(self.config.read_text() + more)

    async def start(self) -> None:
        await self._process.start(lambda: responds(f"{self.admin}/readyz"))

    async def stop(self) -> None:
        """SIGTERM, which has to be answered by an orderly end."""
        if self._process.running:
            assert await self._process.stop() == 0, self._process.tail()

    async def kill(self) -> None:
        await self._process.kill()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that have these labels."""
        async with aiohttp.ClientSession() as session, session.get(f"{self.admin}/metrics") as answer:
            lines = (await answer.text()).splitlines()
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        found = [line for line in lines if line.partition("{")[0].partition(" ")[0] == name]
        return sum(float(line.rsplit(" ", 1)[1]) for line in found if all(part in line for part in wanted))

    def partials(self) -> list[Path]:
        return sorted((self.data / "partial").iterdir())

    def bytes_on_disk(self) -> int:
        """Of whole blobs, and of those on their way."""
        total = 0
        for part in ("blobs", "partial"):
            for file in (self.data / part).rglob("*"):
                try:
                    total += file.stat().st_size if file.is_file() else 0
                except FileNotFoundError:  # evicted or renamed meanwhile
                    continue
        return total

"""edgeproxy as a process: commands that end by themselves, and a daemon whose file and environment a test writes."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import aiohttp

from tests.parts.processes import Process, free_port, responds, wait_until

_OURS = "EDGEPROXY_"


class Ended(NamedTuple):
    """What became of a command: its exit code, and what it said for programs and for people."""

    code: int
    out: str
    words: str


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes


async def command(*words: str | Path, env: Mapping[str, str] | None = None) -> Ended:
    """Run `edgeproxy` to its end, with none of the caller's own EDGEPROXY_ variables."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "edgeproxy", *map(str, words)],
        env={**inherited, **(env or {})},
        capture_output=True,
        text=True,
        timeout=30,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


async def ask(url: str) -> Answer:
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return Answer(answer.status, dict(answer.headers), await answer.read())


class Running:
    """A daemon on free ports; `write` makes its file anew, `reload` makes it read that and awaits its word."""

    def __init__(self, directory: Path, more: str = "", env: Mapping[str, str] | None = None) -> None:
        self.port, self._admin = free_port(), free_port()
        self.url, self.admin = f"http://127.0.0.1:{self.port}", f"http://127.0.0.1:{self._admin}"
        self.data, self.log, self.file = directory / "data", directory / "log", directory / "edgeproxy.toml"
        self.write(more)
        self.process = Process([sys.executable, "-m", "edgeproxy", "serve", "-c", self.file], self.log, env)

    def write(self, more: str) -> None:
        addresses = f'listen = "127.0.0.1:{self.port}"\nadmin = "127.0.0.1:{self._admin}"\n'
        self.file.write_text(f'{addresses}data = "{self.data}"\n{more}')

    async def reload(self, more: str, said: str) -> None:
        self.write(more)
        await self.told(signal.SIGHUP, said)

    async def told(self, number: signal.Signals, said: str) -> None:
        """Send a signal, and wait until the log says once more what is awaited."""
        before = self.log.read_text().count(said)
        os.kill(self.process.pid, number)
        await wait_until(lambda: self.log.read_text().count(said) > before, f"the log says {said!r}", 10)

    async def __aenter__(self) -> "Running":
        await self.process.start(lambda: responds(f"{self.admin}/healthz"))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.process.kill()

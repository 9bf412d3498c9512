"""Starting, awaiting and ending processes, each with its log in a file.

Everything here is bounded: a condition that does not come true, a command that does not end and a process
that does not leave are failures that name what was waited for.
"""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path

import aiohttp
import pytest


class CommandError(AssertionError):
    """A command ended with another exit code than 0; the message is all it wrote."""


def missing(*binaries: str) -> list[str]:
    """Those of the binaries that this machine does not have."""
    return [binary for binary in binaries if shutil.which(binary) is None]


def need(*binaries: str) -> None:
    """Skip the test when a binary is missing, naming it; fail it instead where `CI` is `true`."""
    if not (absent := missing(*binaries)):
        return
    reason = f"not installed: {', '.join(absent)}"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def _ports() -> Iterator[int]:
    """Ports below the kernel's own choice (from 32768 on), so that no outgoing connection takes one first."""
    start = os.getpid() % 10_000
    for step in range(10_000):
        yield 20_000 + (start + step) % 10_000


_UNUSED = _ports()


def free_port() -> int:
    """A loopback port nobody listens on, never given twice by one process."""
    for port in _UNUSED:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no free port left between 20000 and 30000")


async def wait_until(condition: Callable[[], bool | Awaitable[bool]], what: str, seconds: float = 30.0) -> None:
    """Ask `condition` again and again until it holds; after `seconds` fail, saying `what` did not happen."""
    deadline = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer if isinstance(answer, bool) else await answer:
            return
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:.0f} s in vain: {what}")
        await asyncio.sleep(0.01)


async def responds(url: str, statuses: Collection[int] = (200,)) -> bool:
    """Whether `url` is answered with one of these at this moment, whoever vouches for it."""
    timeout = aiohttp.ClientTimeout(total=5)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url, ssl=False) as answer:
            return answer.status in statuses
    except (aiohttp.ClientError, TimeoutError, OSError):
        return False


async def run(*command: str | Path, env: Mapping[str, str] | None = None, seconds: float = 120.0) -> str:
    """Run a command to its end and return what it wrote to stdout; raise `CommandError` when it fails."""
    words = [str(word) for word in command]
    try:
        done = await asyncio.to_thread(
            subprocess.run,
            words,
            env=None if env is None else {**os.environ, **env},
            capture_output=True,
            timeout=seconds,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise CommandError(f"{' '.join(words)}: no end after {seconds:.0f} s") from error
    if done.returncode != 0:
        text = (done.stdout + done.stderr).decode(errors="replace")
        raise CommandError(f"{' '.join(words)}: exit code {done.returncode}\n{text}")
    return done.stdout.decode()


class Process:
    """One process in a session of its own, so that `kill` reaches whatever it has started too."""

    def __init__(self, command: Sequence[str | Path], log: Path, env: Mapping[str, str] | None = None) -> None:
        self.command = [str(word) for word in command]
        self.log = log
        self._env = {**os.environ, **(env or {})}
        self._popen: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        return self._popen is not None and self._popen.poll() is None

    @property
    def pid(self) -> int:
        """The number of the process, which has to run."""
        assert self._popen is not None, f"{self.command[0]} does not run"
        return self._popen.pid

    async def start(self, ready: Callable[[], bool | Awaitable[bool]]) -> None:
        """Start it, appending to its log, and return when `ready` holds; fail with the log when it ends first."""
        with self.log.open("ab") as log:
            self._popen = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._env,
                start_new_session=True,
            )

        async def ended_or_ready() -> bool:
            answer = ready()
            return not self.running or (answer if isinstance(answer, bool) else await answer)

        try:
            await wait_until(ended_or_ready, f"{self.command[0]} is ready")
            assert self.running, f"{self.command[0]} ended at once"
        except BaseException as error:
            error.add_note(self.tail())
            await self.kill()
            raise

    async def stop(self, seconds: float = 30.0) -> int:
        """SIGTERM; return the exit code. A process that stays is killed, and that is a failure."""
        return await self._end(signal.SIGTERM, seconds)

    async def kill(self) -> int:
        """SIGKILL to it and all it started: nothing of it gets to run another instruction."""
        return await self._end(signal.SIGKILL, 30.0)

    async def _end(self, number: signal.Signals, seconds: float) -> int:
        process, self._popen = self._popen, None
        if process is None:
            return 0
        if process.poll() is None:
            os.killpg(process.pid, number)
        try:
            await wait_until(lambda: process.poll() is not None, f"{self.command[0]} ends", seconds)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)
            raise
        assert process.returncode is not None
        return process.returncode

    def tail(self, lines: int = 30) -> str:
        """The end of the log, for messages."""
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

"""The site's own model: fitted anew to its own record, by a process of its own, and used where it
would not have missed more bytes than the one in use."""

import asyncio
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

from edgeproxy.interfaces import Clock

log = logging.getLogger(__name__)
_LONGEST = 3600.0
_NICE = 15


class Refit:
    """`current.model` is what is used, `previous.model` what was before."""

    def __init__(
        self,
        directory: Path,
        record: Path,
        every: float,
        budget: int,
        clock: Clock,
        adopt: Callable[[Path], str],
        wanted: Callable[[], float],
    ) -> None:
        """`every`: seconds; `budget`: bytes of the cache. `wanted` says when a new model was last asked for.

        `adopt` takes up a file, and says what is wrong with it; nothing is "".
        """
        self._directory = directory
        self._record = record
        self._every = every
        self._budget = budget
        self._clock = clock
        self._adopt = adopt
        self._wanted = wanted
        directory.mkdir(parents=True, exist_ok=True)

    @property
    def current(self) -> Path:
        return self._directory / "current.model"

    async def step(self) -> None:
        """Fit, where the last attempt is old enough, or a new model was asked for after it. That of before a restart
        counts, too."""
        attempt = self._directory / "attempted"
        last = attempt.stat().st_mtime if attempt.exists() else 0.0
        if self._clock.now() - last < self._every and last >= self._wanted():
            return
        attempt.touch()
        os.utime(attempt, (self._clock.now(), self._clock.now()))
        candidate = self._directory / "candidate.model"
        told = await self._fit(candidate)
        trouble = told or self._adopt(candidate)
        if trouble:
            log.info("no model of this site's own yet: %s", trouble)
            candidate.unlink(missing_ok=True)
            return
        if self.current.exists():
            self.current.replace(self._directory / "previous.model")
        candidate.replace(self.current)
        log.info("this site's own model is in use")

    async def _fit(self, candidate: Path) -> str:
        """What is wrong, in words; nothing is ""."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "edgeproxy", "train", str(self._record), "--nice", str(_NICE), "-o", str(candidate),
            "--than", str(self.current) if self.current.exists() else "shipped", "--size", f"{self._budget}B",
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            async with asyncio.timeout(_LONGEST):
                _, said = await process.communicate()
        except BaseException:
            process.kill()
            await process.wait()
            raise
        return "" if process.returncode == 0 else said.decode(errors="replace").strip()[-300:]

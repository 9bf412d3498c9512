"""Lists of images that are brought before a roll-out: durable, one image after another, each with what became of it.

prefetch/<id> -> the job as GET /api/v1/prefetch/<id> shows it
"""

import asyncio
import json
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from edgeproxy.cache.prefetch import Prefetched
from edgeproxy.interfaces import Clock
from edgeproxy.oci.errors import NameUnknown, Refusal
from edgeproxy.oci.reference import Reference
from edgeproxy.store.catalog import Catalog
from edgeproxy.store.rows import Rows

log = logging.getLogger(__name__)
_KEPT = 100
"""Jobs that are remembered when they have ended."""
State = Literal["waiting", "running", "done", "failed", "cancelled"]
Parse = Callable[[str], Reference]
"""Raises a `Refusal`."""
Bring = Callable[[Reference, Sequence[str], Prefetched], Awaitable[Prefetched]]
"""Fills in what it is given as it goes."""


@dataclass
class Image:
    name: str
    state: State = "waiting"
    manifests: int = 0
    blobs: int = 0
    bytes: int = 0
    """Of `size`, as far as that is known."""
    size: int = 0
    missing: list[str] = field(default_factory=list)
    """What could not be had, and why."""

    def now(self, found: Prefetched) -> None:
        self.manifests, self.blobs, self.missing = found.manifests, found.blobs, list(found.missing)
        self.bytes, self.size = found.bytes, found.size


@dataclass
class Job:
    id: str
    submitted: float
    platforms: list[str]
    images: list[Image]
    state: State = "waiting"
    deadline: float | None = None
    """Seconds since the epoch; what is not here by then is not brought any more."""

    @property
    def ended(self) -> bool:
        return self.state in ("done", "failed", "cancelled")

    def document(self) -> dict[str, Any]:
        return asdict(self)

    def summary(self) -> dict[str, Any]:
        states = [image.state for image in self.images]
        return {
            "id": self.id,
            "state": self.state,
            "submitted": self.submitted,
            "images": len(states),
            "done": states.count("done"),
            "failed": states.count("failed"),
            "bytes": sum(image.bytes for image in self.images),
            "size": sum(image.size for image in self.images) if "waiting" not in states else None,
        }


class PrefetchJobs:
    """One image at a time, the oldest job first."""

    def __init__(self, catalog: Catalog, clock: Clock, parse: Parse, bring: Bring) -> None:
        self._catalog = catalog
        self._clock = clock
        self._parse = parse
        self._bring = bring
        self._jobs = {job.id: job for job in map(_read, (value for _, value in catalog.scan("prefetch/")))}
        self._running: tuple[Job, asyncio.Future[Prefetched]] | None = None

    def all(self) -> list[Job]:
        """The newest first."""
        return sorted(self._jobs.values(), key=lambda job: (-job.submitted, job.id))

    def get(self, name: str) -> Job:
        """Raises `NameUnknown`."""
        if name not in self._jobs:
            raise NameUnknown(f"there is no prefetch {name[:60]!r}: GET /api/v1/prefetch lists them")
        return self._jobs[name]

    async def submit(self, images: Sequence[str], platforms: Sequence[str], deadline: float | None = None) -> Job:
        """Raises the `Refusal` of the first image that is none, with nothing begun."""
        names = [str(self._parse(image)) for image in images]
        job = Job(secrets.token_hex(6), self._clock.now(), [*platforms], [Image(name) for name in names])
        job.deadline = deadline
        self._jobs[job.id] = job
        await self._keep(job)
        return job

    async def cancel(self, name: str) -> Job:
        """What is here stays. Raises `NameUnknown`."""
        job = self.get(name)
        if not job.ended:
            job.state = "cancelled"
            for image in job.images:
                image.state = "cancelled" if image.state in ("waiting", "running") else image.state
            if self._running is not None and self._running[0] is job:
                self._running[1].cancel()
            await self._keep(job)
        return job

    async def step(self) -> None:
        """All that waits; a job that comes meanwhile waits for the next step."""
        for job in reversed(self.all()):
            if not job.ended:
                await self._run(job)
        await self._forget()

    async def _run(self, job: Job) -> None:
        job.state = "running"
        for image in job.images:
            if image.state in ("waiting", "running") and job.state == "running":
                await self._image(job, image)
                await self._keep(job)
        if job.state == "running":
            job.state = "failed" if any(image.state == "failed" for image in job.images) else "done"
            await self._keep(job)
        log.info("prefetch %s: %s", job.id, job.state)

    async def _image(self, job: Job, image: Image) -> None:
        image.state, found = "running", Prefetched()
        left = None if job.deadline is None else job.deadline - self._clock.now()
        try:
            reference = self._parse(image.name)
            work = asyncio.ensure_future(self._bring(reference, job.platforms, found))
            self._running = (job, work)
            async with asyncio.timeout(None if left is None else max(0.0, left)):
                while not work.done():
                    await asyncio.wait([work], timeout=0.2)
                    image.now(found)
                work.result()
        except asyncio.CancelledError:
            if job.state != "cancelled":
                raise
        except TimeoutError:
            found.missing.append(f"{image.name}: not here by the deadline")
        except Refusal as refusal:
            found.missing.append(f"{image.name}: {refusal.message}")
        finally:
            if self._running is not None:
                self._running[1].cancel()
            self._running = None
            image.now(found)
        if job.state == "running":
            image.state = "failed" if found.missing else "done"

    async def _keep(self, job: Job) -> None:
        text = json.dumps(job.document())

        def put(rows: Rows) -> None:
            rows.put(f"prefetch/{job.id}", text)

        await self._catalog.change(put)

    async def _forget(self) -> None:
        old = [job.id for job in self.all() if job.ended][_KEPT:]

        def drop(rows: Rows) -> None:
            for name in old:
                rows.delete(f"prefetch/{name}")

        if old:
            await self._catalog.change(drop)
            for name in old:
                del self._jobs[name]


def _read(value: str) -> Job:
    row: Mapping[str, Any] = json.loads(value)
    return Job(**{**row, "images": [Image(**image) for image in row["images"]]})

"""From notes to the access record and to the policy: behind, in the one thread that the policy is asked in."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from functools import partial
from hashlib import blake2b
from itertools import islice

from edgeproxy.cache.answers import read
from edgeproxy.cache.notes import Note, Notes
from edgeproxy.interfaces import Access, BlobStore, Checked, Clock, Contents, Happening, Policy
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.manifest import children
from edgeproxy.store.record import Record
from edgeproxy.store.threads import in_thread

log = logging.getLogger(__name__)
_BATCH = 1000
"""Happenings that the policy is told at a time: others who ask it wait no longer."""
_EVERY = 10.0
_MOST_TOLD = 200_000


class Learn:
    """Client addresses do not get past here: buckets of them, by a salt that stays on this machine, do."""

    def __init__(
        self,
        notes: Notes,
        record: Record,
        store: BlobStore,
        policy: Policy,
        judging: Executor,
        salt: str,
        clock: Clock,
        past: Callable[[], Iterable[Happening]],
    ) -> None:
        """`past`: what was recorded before the start and is worth to be told again."""
        self._notes = notes
        self._record = record
        self._store = store
        self._policy = policy
        self._judging = judging
        self._clock = clock
        self._due = 0.0
        self._salt = salt.encode()[:64]
        self._past: Iterator[Happening] | None = iter(past())
        self._told = set[Digest]()
        """Manifests whose contents are in the record."""
        self._telling = asyncio.Lock()
        self._unrecorded: list[Happening] = []
        """What the policy knows already."""

    async def step(self) -> None:
        """Called every second; what is pressing is learned at once, else all that was noted every ten."""
        now = self._clock.now()
        if not self._notes.pressing and now < self._due:
            return
        self._due = now + _EVERY
        await self._learn()

    async def inform(self) -> None:
        """Tell the policy what was answered until now: whoever is about to ask it wants to know. Not while it is still
        told of the past."""
        if self._past is None:
            async with self._telling:
                await self._tell()

    async def close(self) -> None:
        """Record what has been noted; nothing before it matters any more."""
        self._past = None
        await self._learn()

    async def _learn(self) -> None:
        async with self._telling:
            await self._remember()
            await self._tell()
        happenings, self._unrecorded = self._unrecorded, []
        try:
            await in_thread(self._judging, lambda: self._record.append(happenings))
        except OSError as error:
            log.warning("%d answers are not recorded: %s", len(happenings), error)

    async def _tell(self) -> None:
        rows = self._notes.take()
        contents = [await self._contents(row) for row in rows if isinstance(row, Note) and self._is_new(row)]
        happenings = sorted([*filter(None, contents), *map(self._happening, rows)], key=lambda each: each.time)
        self._unrecorded += happenings
        news = iter(happenings)
        while await in_thread(self._judging, partial(self._tell_some, news)):
            pass

    async def _remember(self) -> None:
        """What was known before the restart."""
        while self._past is not None:
            some = await in_thread(self._judging, partial(self._tell_some, self._past))
            self._told.update(each.manifest.digest for each in some if isinstance(each, Contents))
            if not some:
                self._past = None

    def _tell_some(self, happenings: Iterator[Happening]) -> list[Happening]:
        """The next batch, which the policy has been told."""
        some = list(islice(happenings, _BATCH))
        for happening in some:
            self._policy.observe(happening)
        return some

    def _is_new(self, note: Note) -> bool:
        _, kind, _, descriptor = note.asked
        if kind != "manifests" or descriptor is None or descriptor.digest in self._told:
            return False
        if len(self._told) >= _MOST_TOLD:
            self._told.clear()
        self._told.add(descriptor.digest)
        return True

    async def _contents(self, note: Note) -> Contents | None:
        descriptor = note.asked[3]
        assert descriptor is not None
        content = await self._store.open(descriptor.digest)
        if content is None:  # only its descriptor was asked for, or it has left already
            self._told.discard(descriptor.digest)
            return None
        body = read(content)
        return Contents(note.time, descriptor, tuple(child.descriptor for child in children(body)))

    def _happening(self, row: Note | Checked) -> Happening:
        if isinstance(row, Checked):
            return row
        head, kind, reference, descriptor = row.asked
        return Access(
            row.time,
            int.from_bytes(blake2b(row.address.encode(), key=self._salt, digest_size=2).digest()),
            "HEAD" if head else "GET",
            kind,
            reference,
            descriptor.digest if descriptor else None,
            descriptor.size if descriptor else 0,
            row.outcome if descriptor else "refused",
            row.sent if descriptor else 0,
            row.seconds,
        )

"""One blob on its way: from as many upstreams, over as many connections, as it takes; earliest missing bytes first.

The download asks the best upstream for all of it. While that comes, the pilot finds out whether more connections bring
more; each then brings a segment. Whatever fails gives its bytes back, and they are asked for elsewhere, from the byte
reached on. Connections are tasks of the download, and end with it.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgeproxy.cache.flights import Flight
from edgeproxy.cache.pilot import Lessons, Pilot
from edgeproxy.cache.segments import Claim, Segments, gaps
from edgeproxy.cache.upstreams import Upstreams, more_telling
from edgeproxy.interfaces import BlobWriter, Body, Clock, Link, Span, Upstream
from edgeproxy.oci.errors import DigestMismatch, RangeInvalid, Refusal, Unavailable, unknown

log = logging.getLogger(__name__)
_ATTEMPTS = 6
"""Rounds over the upstreams without a single new byte before a transfer is given up."""
_FIRST_DELAY, _LONGEST_DELAY = 0.2, 5.0
_LEAST, _MOST = 1024 * 1024, 16 * 1024 * 1024
"""Bytes of a segment; in between it is what a connection brings in a second."""
_HELD_AT_MOST = 60.0
"""Seconds for which bytes are held back because of who brings them: clients give up on a pull that does not move."""
_LOOKS = 0.5
"""Seconds between two looks at which connection is how fast."""
Write = Callable[[BlobWriter, bytes, int], Awaitable[None]]


@dataclass(eq=False)
class Connection:
    """One request for the bytes of a claim."""

    upstream: Upstream
    claim: Claim
    bound: int | None = None
    """Where the answer ends, if it does before the blob."""
    answered: bool = False
    idle: bool = False
    """It had nothing to bring: it would have sent from the beginning what others are bringing."""
    received: int = 0
    rate: float = 0.0
    """Bytes per second, when it was last looked at."""
    counted: int = 0
    """`received`, then."""
    task: asyncio.Task[None] | None = None
    rivals: list["Connection"] = field(default_factory=list)
    """Asked for the same bytes, because an answer was late."""

    @property
    def is_at_it(self) -> bool:
        return self.answered or (self.task is not None and not self.task.done())


class Download:
    """Brings a flight's bytes into its writer. Used once."""

    def __init__(
        self,
        flight: Flight,
        writer: BlobWriter,
        upstreams: Upstreams,
        lessons: Lessons,
        clock: Clock,
        write: Write,
        expect: Callable[[int], None],
        count: Callable[[Upstream, int], None],
        link: Link,
    ) -> None:
        """`write` makes room where there is none; `expect` is told how much will come, `count` what has come."""
        self._flight = flight
        self._writer = writer
        self._upstreams = upstreams
        self._clock = clock
        self._write = write
        self._expect = expect
        self._count = count
        self._link = link
        self._pilot = Pilot(lessons)
        self._segments: Segments | None = None
        self._connections: dict[asyncio.Task[None], Connection] = {}
        self._failed: list[Upstream] = []
        """In this round; they are not asked again before the others were."""
        self._refusal: Refusal = unknown("blobs", flight.pinned)
        self._stirred = asyncio.Event()
        self._began = self._looked = clock.now()
        self.sources: dict[Upstream, list[Span]] = {}
        """Who brought which bytes, in the order they came."""

    async def run(self, avoid: Sequence[Upstream] = (), *, alone: bool = False) -> None:
        """Until all is written. Raises the most telling `Refusal`, `StoreFull` or OSError.

        `avoid` is asked last; `alone` means one upstream at a time.
        """
        self._avoid, self._alone = avoid, alone
        try:
            await self._rounds()
        finally:
            for task in self._connections:
                task.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)

    # rounds

    async def _rounds(self) -> None:
        fruitless = 0
        while True:
            before = self._here()
            if await self._round():
                return
            fruitless = 0 if self._here() > before else fruitless + 1
            if not worth_repeating(self._refusal) or fruitless >= (_ATTEMPTS if self._here() else 2):
                raise self._refusal
            await self._clock.sleep(delay(fruitless))

    async def _round(self) -> bool:
        """Ask every upstream until it has failed; whether all is here."""
        self._failed, self._refusal = [], unknown("blobs", self._flight.pinned)
        while not self._whole():
            self._staff()
            if not self._connections:
                return False
            await self._next()
        return True

    async def _next(self) -> None:
        """Wait until a connection has ended, the pilot has decided something, or an answer is late."""
        stirred = asyncio.create_task(self._stirred.wait())
        waiting: set[asyncio.Task[Any]] = {stirred, *self._connections}
        late = self._late()
        if late is not None:
            waiting.add(late)
        try:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stirred.cancel()
            if late is not None:
                late.cancel()
        self._stirred.clear()
        for task in [each for each in self._connections if each in done]:
            self._end(self._connections.pop(task), task)
        if late in done:
            self._hedge()

    def _here(self) -> int:
        return self._writer.offset + sum(span.length for span in self._writer.ahead)

    def _whole(self) -> bool:
        """All is here, and nobody who brought the end is about to send more than that."""
        size = self._flight.size
        ending = any(each.answered and each.claim.stop == size for each in self._connections.values())
        return size is not None and self._segments is not None and self._writer.offset >= size and not ending

    # who is asked

    def _staff(self) -> None:
        """Open the connections that are wanted, and one at least."""
        order = [each for each in self._order() if each not in self._failed]
        if not self._connections and order:
            self._connect(order[0])
        if self._segments is None or self._alone:
            return
        for upstream in order:
            running = sum(each.upstream is upstream for each in self._connections.values())
            for _ in range(self._pilot.wanted.get(upstream.name, 0) - running):
                if not self._connect(upstream):
                    return

    def _order(self) -> Sequence[Upstream]:
        order = self._upstreams.of(self._flight.pinned.repository)
        return [*(each for each in order if each not in self._avoid), *(each for each in order if each in self._avoid)]

    def _connect(self, upstream: Upstream) -> bool:
        claim = self._claim(upstream)
        if claim is None:
            return False
        self._open(Connection(upstream, claim))
        return True

    def _open(self, connection: Connection) -> None:
        connection.task = asyncio.create_task(self._bring(connection), name=f"bring {self._flight.pinned.digest}")
        self._connections[connection.task] = connection

    def _claim(self, upstream: Upstream) -> Claim | None:
        if self._segments is None:
            return Claim(self._writer.offset, None)
        if not self._connections:
            return self._segments.take(self._segments.free)
        running = list(self._connections.values())
        size = self._segment_size(len(running) + 1)
        if not self._segments.free:
            longest = max(running, key=lambda each: each.claim.left / (self._pace(each) or 1))
            if longest.claim.left < 2 * _LEAST or longest.claim.left < self._pace(longest):
                return None
            self._segments.cut(longest.claim, longest.claim.position + min(size, longest.claim.left // 2))
        return self._segments.take(size)

    def _segment_size(self, connections: int) -> int:
        left = (self._flight.size or 0) - self._here()
        per_second = self._pilot.rate / max(1, connections - 1)
        return int(max(_LEAST, min(_MOST, per_second, left / connections)))

    def _pace(self, connection: Connection) -> float:
        """Bytes per second, as measured or else as is usual here."""
        return connection.rate or self._pilot.rate / max(1, self._pilot.width)

    # late answers

    def _late(self) -> asyncio.Task[None] | None:
        """Ends when the connection that has not been answered for the longest is late."""
        for connection in self._connections.values():
            if not connection.answered and not connection.rivals and self._rival(connection) is not None:
                patience = self._upstreams.ranking.patience(connection.upstream)
                return asyncio.create_task(self._upstreams.clock.sleep(patience))
        return None

    def _rival(self, connection: Connection) -> Upstream | None:
        others = (each for each in self._order() if each is not connection.upstream and each not in self._failed)
        return next(others, None)

    def _hedge(self) -> None:
        for connection in list(self._connections.values()):
            upstream = self._rival(connection)
            if not connection.answered and not connection.rivals and upstream is not None:
                rival = Connection(upstream, connection.claim, rivals=[connection])
                connection.rivals.append(rival)
                self._open(rival)

    # one connection

    async def _bring(self, connection: Connection) -> None:
        claim, pinned = connection.claim, self._flight.pinned
        connection.bound = claim.stop if claim.stop != self._flight.size and self._pilot.width > 1 else None
        began = self._clock.now()
        async with connection.upstream.open("blobs", pinned, claim.position, connection.bound) as body:
            waited = self._clock.now() - began
            self._link.began(connection.upstream.name, waited, self._flight.urgency)
            self._answer(connection, body, waited)
            skip = claim.position - body.start
            async for chunk in body.chunks():
                self._count(connection.upstream, len(chunk))
                await self._link.admit(connection.upstream.name, len(chunk), self._flight.urgency)
                fresh, skip = chunk[skip:], max(0, skip - len(chunk))
                if fresh and not await self._take(connection, fresh):
                    return
        if claim.left:
            raise Unavailable(f"{connection.upstream.name} ended {pinned} early, at byte {claim.position}")
        if self._flight.size is None:
            self._flight.size = claim.position
            self._segments = Segments([])

    def _answer(self, connection: Connection, body: Body, waited: float) -> None:
        flight, writer, claim = self._flight, self._writer, connection.claim
        if flight.size is not None and body.size not in (None, flight.size):
            raise Unavailable(f"upstream gives {flight.pinned} {body.size} bytes, and gave it {flight.size} before")
        if body.start < claim.position:
            self._pilot.drop(connection.upstream.name)
        if body.start < claim.position and any(each.answered for each in self._connections.values()):
            connection.idle = True
            raise Unavailable(f"{connection.upstream.name} knows no ranges")
        connection.answered = True
        self.sources.setdefault(connection.upstream, [])
        flight.answered_by(connection.upstream.name)
        for rival in connection.rivals:
            if rival.task is not None:
                rival.task.cancel()
        self._note(connection.upstream, Span(claim.position, claim.position))
        self._doubt()
        size = body.size if flight.size is None else flight.size
        flight.depart(writer, size, body.media_type)
        if self._segments is None and size is not None:
            self._expect(size - self._here())
            self._segments = Segments(gaps(size, writer.offset, writer.ahead))
            taken = self._segments.take(size)
            claim.stop = taken.stop if taken else claim.position
        if body.start == claim.position:
            self._pilot.begin(connection.upstream.name, self._clock.now(), waited)
        self._stirred.set()

    async def _take(self, connection: Connection, fresh: bytes) -> bool:
        """Write what of it belongs to the claim; whether more may come."""
        claim = connection.claim
        while fresh:
            if claim.stop == claim.position and not self._extend(connection):
                return False
            start = claim.advance(len(fresh))
            mine, fresh = fresh[: claim.position - start], fresh[claim.position - start :]
            connection.received += len(mine)
            self._note(connection.upstream, Span(start, claim.position))
            await self._write(self._writer, mine, start)
            self._flight.progress(self._writer.offset)
            self._look(len(mine))
        return claim.stop is None or claim.left > 0 or claim.stop == self._flight.size or self._extend(connection)

    def _relieve(self, now: float) -> None:
        """Take from a connection that is far slower than another most of what it holds: clients wait for it."""
        seconds, self._looked = now - self._looked, now
        working = [each for each in self._connections.values() if each.answered]
        for each in working:
            each.rate, each.counted = (each.received - each.counted) / seconds, each.received
        best = max((each.rate for each in working), default=0.0)
        for each in working:
            if self._segments is not None and each.rate < best / 4 and each.claim.left > best * _LOOKS:
                self._segments.cut(each.claim, each.claim.position + int(each.rate * _LOOKS))

    def _doubt(self) -> None:
        """Hold back what comes from those who have proven nothing yet, as long as clients bear it."""
        if self._clock.now() - self._began >= _HELD_AT_MOST:
            self._flight.doubt(None)
            return
        doubtful = [spans for each, spans in self.sources.items() if not self._upstreams.ranking.trusts(each)]
        self._flight.doubt(min((span.start for spans in doubtful for span in spans), default=None))

    def _extend(self, connection: Connection) -> bool:
        """An answer that goes on to the blob's end brings what follows, too, unless that comes from elsewhere."""
        claim, size = connection.claim, self._flight.size
        if claim.stop == size:
            raise DigestMismatch(f"upstream sent more than the {size} bytes it announced")
        if self._segments is None or connection.bound is not None:
            return False
        return self._segments.extend(claim, self._segment_size(len(self._connections)))

    def _note(self, upstream: Upstream, span: Span) -> None:
        spans = self.sources[upstream]
        if spans and spans[-1].stop == span.start:
            span = Span(spans.pop().start, span.stop)
        spans.append(span)

    def _look(self, size: int) -> None:
        self._pilot.received(size)
        now = self._clock.now()
        if now - self._looked >= _LOOKS:
            self._relieve(now)
            self._doubt()
        if self._segments is None or self._alone:
            return
        if self._pilot.due(now, sum(each.answered for each in self._connections.values())):
            names = [each.name for each in self._order() if each not in self._failed]
            if self._pilot.decide(now, names, (self._flight.size or 0) - self._here()):
                self._stirred.set()

    def _end(self, connection: Connection, task: asyncio.Task[None]) -> None:
        """What it did not bring is nobody's again. Raises what is no refusal, and what no other upstream can mend."""
        if self._segments is not None and not any(rival.is_at_it for rival in connection.rivals):
            self._segments.give_back(connection.claim)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, RangeInvalid):
            pinned = self._flight.pinned
            raise DigestMismatch(f"what an earlier attempt left of {pinned} is longer than it") from error
        if error is not None and (isinstance(error, DigestMismatch) or not isinstance(error, Refusal)):
            raise error
        if isinstance(error, Refusal):
            if not connection.idle and not (connection.received and self._is_at_work(connection.upstream)):
                self._failed.append(connection.upstream)
            self._refusal = more_telling(self._refusal, error)
            where = connection.claim.position
            log.info("%s: %s at byte %d: %s", connection.upstream.name, self._flight.pinned, where, error.message)

    def _is_at_work(self, upstream: Upstream) -> bool:
        return any(each.upstream is upstream and each.received for each in self._connections.values())


def worth_repeating(refusal: Refusal) -> bool:
    return isinstance(refusal, Unavailable) and refusal.status >= 500 and not isinstance(refusal, DigestMismatch)


def delay(fruitless: int) -> float:
    """Seconds to wait after so many fruitless rounds: exponential backoff with jitter."""
    return min(_LONGEST_DELAY, _FIRST_DELAY * float(2**fruitless)) * random.uniform(0.5, 1.0)

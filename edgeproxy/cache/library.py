"""What the proxy is: content by reference, from here where it is here, else from upstream and then from here."""

from edgeproxy.cache.absent import Absent
from edgeproxy.cache.accesses import Accesses
from edgeproxy.cache.answers import COLLAPSED, HIT, MISS, Answer, Outcome, release
from edgeproxy.cache.fetch import Fetch
from edgeproxy.cache.flights import Flight, Flights, Spilled
from edgeproxy.cache.tags import Tags
from edgeproxy.cache.upstreams import Upstreams
from edgeproxy.interfaces import BlobStore, Content, InMemory, Kind, Urgency
from edgeproxy.oci.errors import NotHeld, Refusal, TooManyRequests, Unavailable, unknown
from edgeproxy.oci.manifest import Descriptor
from edgeproxy.oci.reference import Pinned, Reference, Tag
from edgeproxy.store.catalog import Catalog, Link


class Library:
    """Every way to content leads through here; nothing here knows who asks."""

    def __init__(
        self,
        store: BlobStore,
        catalog: Catalog,
        flights: Flights,
        fetch: Fetch,
        tags: Tags,
        upstreams: Upstreams,
        accesses: Accesses,
        absent: Absent,
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._flights = flights
        self._fetch = fetch
        self._tags = tags
        self._upstreams = upstreams
        self._accesses = accesses
        self._absent = absent

    def at_hand(self, kind: Kind, reference: Reference, now: float) -> Answer | None:
        """The answer that is in memory, without a wait; `None` leaves it to `get`."""
        outcome = HIT
        if isinstance(reference, Tag):
            resolution = self._tags.fresh(reference, now)
            if resolution is None:
                return None
            outcome = resolution.outcome
            pinned = Pinned(reference.repository, resolution.descriptor.digest)
        else:
            pinned = reference
        shown = self._catalog.link(kind, pinned)
        if shown is None:
            return None
        body = self._store.recall(pinned.digest)
        if body is None:
            return None
        self._accesses.note(pinned.digest)
        return Answer(_sized(shown, len(body)), InMemory(body), outcome)

    async def get(self, kind: Kind, reference: Reference) -> Answer:
        """Content with its descriptor. Raises the `Refusal` that says why it cannot be had."""
        if isinstance(reference, Pinned):
            return await self._get(kind, reference)
        descriptor, outcome = await self._tags.resolve(reference)
        answer = await self._get(kind, Pinned(reference.repository, descriptor.digest))
        return answer._replace(outcome=_merge(outcome, answer.outcome))

    async def held(self, kind: Kind, reference: Reference, now: float) -> Answer:
        """Content that is here and whole: nobody else is asked, not even about a tag. Raises `NotHeld`."""
        outcome = HIT
        if isinstance(reference, Tag):
            known = self._tags.known(reference, now)
            if known is None:
                raise NotHeld(f"{reference} is not held here")
            outcome = known.outcome
            reference = Pinned(reference.repository, known.descriptor.digest)
        shown = self._catalog.link(kind, reference)
        content = await self._store.open(reference.digest) if shown else None
        if content is None or shown is None:
            raise NotHeld(f"{reference} is not held here")
        self._accesses.note(reference.digest)
        return Answer(_sized(shown, _size(content)), content, outcome)

    async def bring(self, kind: Kind, pinned: Pinned, urgency: Urgency) -> bool:
        """Have content here that is not asked for yet; whether it had to come.

        Raises the `Refusal` that says why it cannot be had.
        """
        shown = self._catalog.link(kind, pinned)
        if shown is None and self._was_brought_by_another(pinned):
            shown = await self._prove(kind, pinned)
        lacks = shown is None or self._catalog.held(pinned.digest) is None
        if lacks:
            if not self._upstreams.may_be_bothered(pinned.repository):
                raise TooManyRequests(f"{pinned}: what upstream still grants is kept for clients")
            flight = self._flights.join(kind, pinned, self._fetch, urgency)
            try:
                await flight.landed()
                await flight.ended()  # it is kept a little later than it is known to be right
            except Spilled as error:
                raise Unavailable(f"{pinned} is not kept: the disk is full") from error
        return lacks

    async def stat(self, kind: Kind, reference: Reference) -> Answer:
        """The descriptor alone; never fetches content. Raises as `get` does."""
        if isinstance(reference, Tag):
            descriptor, outcome = await self._tags.resolve(reference)
            return Answer(descriptor, None, outcome)
        shown = self._catalog.link(kind, reference)
        held = self._catalog.held(reference.digest)
        if shown and held:
            self._accesses.note(reference.digest)
            return Answer(_sized(shown, held.size), None, HIT)
        return Answer(await self._stat_upstream(kind, reference), None, MISS)

    async def _get(self, kind: Kind, pinned: Pinned) -> Answer:
        shown = self._catalog.link(kind, pinned)
        if shown is None and self._was_brought_by_another(pinned):
            shown = await self._prove(kind, pinned)
        flight = self._flights.get(pinned.digest)
        content = None if flight else await self._store.open(pinned.digest)
        if content is None or shown is None:
            release(content)
            return await self._fly(kind, pinned, COLLAPSED if flight else MISS)
        self._accesses.note(pinned.digest)
        return Answer(_sized(shown, _size(content)), content, HIT)

    async def _fly(self, kind: Kind, pinned: Pinned, outcome: Outcome) -> Answer:
        self._absent.check(kind, pinned)
        flight = self._flights.join(kind, pinned, self._fetch)
        if flight.kind != kind:  # somebody takes a manifest for a blob, or a blob for a manifest
            await self._flights.ended(flight)
            return await self._get(kind, pinned)
        try:
            return await self._aboard(flight, pinned, outcome)
        except Refusal as refusal:
            if flight.failed and flight.pinned != pinned:  # for another repository, whose upstreams are not ours
                return await self._fly(kind, pinned, MISS)
            self._note(kind, pinned, refusal)
            raise

    async def _aboard(self, flight: Flight, pinned: Pinned, outcome: Outcome) -> Answer:
        if flight.kind == "manifests":
            await self._flights.landed(flight)
            if outcome is COLLAPSED:
                self._accesses.note(pinned.digest)
            body = flight.body or b""
            return Answer(Descriptor(flight.media_type, pinned.digest, len(body)), InMemory(body), outcome, flight)
        await self._flights.departed(flight)
        if not flight.size:  # not announced, so known at the end; or nothing, of which nothing can be held back
            await self._flights.landed(flight)
        boarding = flight.board()
        if boarding is None:  # it landed while we were woken
            return await self._get(flight.kind, pinned)
        if outcome is COLLAPSED:  # the first use is counted when it is kept
            self._accesses.note(pinned.digest)
        return Answer(Descriptor("", pinned.digest, flight.size or 0), boarding, outcome, flight)

    def _was_brought_by_another(self, pinned: Pinned) -> bool:
        flight = self._flights.get(pinned.digest)
        return flight.pinned != pinned if flight else self._catalog.held(pinned.digest) is not None

    async def _prove(self, kind: Kind, pinned: Pinned) -> Descriptor:
        """A digest is not a permission: what another repository brought, this one's upstream must confirm."""
        shown = await self._stat_upstream(kind, pinned)
        await self._catalog.put_links([Link(kind, pinned.repository, shown)])
        return shown

    async def _stat_upstream(self, kind: Kind, pinned: Pinned) -> Descriptor:
        self._absent.check(kind, pinned)
        try:
            return await self._upstreams.first(
                pinned.repository, lambda upstream: upstream.stat(kind, pinned), unknown(kind, pinned)
            )
        except Refusal as refusal:
            self._note(kind, pinned, refusal)
            raise

    def _note(self, kind: Kind, pinned: Pinned, refusal: Refusal) -> None:
        """Raises another where upstream has nothing to say: what was deleted here is not merely out of reach."""
        if isinstance(refusal, Unavailable) and self._catalog.is_gone(kind, pinned):
            raise unknown(kind, pinned) from refusal
        self._absent.note(kind, pinned, refusal)


def _merge(named: Outcome, found: Outcome) -> Outcome:
    """A tag's outcome and its manifest's as one: whatever made the client wait, and the tag's freshness."""
    return named if found.word == "hit" else found._replace(ttl=named.ttl, detail=named.detail)


def _sized(shown: Descriptor, size: int) -> Descriptor:
    """A descriptor that a manifest gave, with the size that is true."""
    return shown if shown.size == size else shown._replace(size=size)


def _size(content: Content) -> int:
    return len(content.body) if isinstance(content, InMemory) else content.size

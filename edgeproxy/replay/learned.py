"""The learned policy at a site that was: what is kept as it judges, and what is brought ahead where it foresees."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from math import inf

from edgeproxy.cache.eviction import HIGH, LOW, to_evict_singly
from edgeproxy.foreseen import Wish
from edgeproxy.interfaces import Access, Checked, Contents, Happening, Held
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.manifest import Descriptor
from edgeproxy.oci.reference import Repository, Tag
from edgeproxy.oci.releases import shape_of
from edgeproxy.predict.fixed import FixedPolicy
from edgeproxy.predict.learned import LearnedPolicy
from edgeproxy.predict.ledger import key_of
from edgeproxy.predict.model import Model
from edgeproxy.replay.link import Link
from edgeproxy.replay.registry import Published
from edgeproxy.replay.requests import Request, Trace
from edgeproxy.replay.tally import Missed, Tally

_TICK = 15.0
"""Seconds between two rounds of looks at upstream."""
_LOOKS = 120.0
"""A minute, as in the daemon by default."""
_PROMPT = 1.0
"""Seconds after which what is wished for is brought."""


class Learned:
    def __init__(
        self, trace: Trace, budget: int, model: Model | None, link: Link, *, foresees: bool, refit: Model | None = None
    ) -> None:
        """`refit`: the site's own model, in use from when the record ends that it was fitted on."""
        self._refit = refit
        self._trace = trace
        self._budget = budget
        self._link = link
        self._policy = LearnedPolicy(FixedPolicy(), model, budget)
        self._held: dict[Digest, Held] = {}
        self._total = 0
        self._tally = Tally(trace)
        self._ahead = _Ahead(self, trace, link, self._policy, self._tally) if foresees else None

    def missed(self) -> Missed:
        asked = iter(self._trace.requests)
        refit = self._refit.about["until"] if self._refit is not None else inf
        for happening in self._trace.happenings:
            if happening.time > refit:
                self._policy.adopt(self._refit)
                refit = inf
            if self._ahead is not None:
                self._ahead.advance(happening)
            if isinstance(happening, Access) and happening.method == "GET" and happening.digest is not None:
                self._ask(happening, next(asked))
            else:
                self._policy.observe(happening)
        return self._tally.missed()

    def holds(self, digest: Digest) -> bool:
        return digest in self._held

    def land(self, digest: Digest, size: int, now: float) -> None:
        """It has come."""
        if size <= self._budget and digest not in self._held:
            self._held[digest] = Held(digest, size, now, now)
            self._total += size
        if self._total > self._budget * HIGH:
            judged = partial(self._policy.worths, now=now)
            for each in to_evict_singly(list(self._held.values()), self._total - int(self._budget * LOW), judged):
                self._total -= self._held.pop(each).size

    def _ask(self, access: Access, request: Request) -> None:
        known = self._held.get(request.digest)
        coming = known is None and self._link.is_on_its_way(request.key)
        had = known is not None or coming
        outcome = "hit" if known is not None else "collapsed" if coming else "miss"
        self._policy.observe(access if access.outcome == outcome else access._replace(outcome=outcome))
        fetches = self._link.here if known is not None else partial(self._link.fetch, size=request.size)
        self._tally.add(request, had=had, here=fetches(request.key, now=request.time))
        if self._ahead is not None:
            self._ahead.asked(request, coming=coming)
        if known is not None:
            self._held[request.digest] = replace(known, used=request.time, uses=known.uses + 1)
        else:
            self.land(request.digest, request.size, request.time)


class _Ahead:
    """Looks at upstream, and brings what is wished for when nobody waits for the link."""

    def __init__(self, cache: Learned, trace: Trace, link: Link, policy: LearnedPolicy, tally: Tally) -> None:
        self._cache = cache
        self._link = link
        self._policy = policy
        self._coming: dict[int, tuple[Descriptor, Wish]] = {}
        """What is on its way, and why."""
        self._brought: dict[int, float] = {}
        """When, of what nobody has asked for yet."""
        self._tally = tally
        self._publishes: Iterator[Published] = iter(trace.published)
        self._next = next(self._publishes, None)
        self._newest: dict[tuple[Repository, str], Published] = {}
        self._contents: dict[Digest, Contents] = {}
        self._ticks = self._wishes = float("-inf")

    def advance(self, happening: Happening) -> None:
        """To the time of what happens next."""
        now = happening.time
        self._land(now)
        if now >= self._ticks + _TICK:
            self._ticks = now
            self._look(now)
        if now >= self._wishes + _PROMPT:
            self._wishes = now
            for wish in self._policy.wishes(now):
                self._bring(wish, now)
        if isinstance(happening, Contents):
            self._contents[happening.manifest.digest] = happening

    def asked(self, request: Request, *, coming: bool) -> None:
        if coming:
            del self._coming[request.key]
            self._tally.brought(request.size, request.time)
            self._tally.used(request.size, request.time)
        elif request.key in self._brought:
            self._tally.used(request.size, self._brought.pop(request.key))

    def _land(self, now: float) -> None:
        for key in self._link.advance(now):
            descriptor, wish = self._coming.pop(key)
            self._policy.brought(descriptor, wish, now)
            self._brought[key] = now
            self._tally.brought(descriptor.size, now)
            self._cache.land(descriptor.digest, descriptor.size, now)

    def _look(self, now: float) -> None:
        while self._next is not None and self._next.time <= now:
            tag = self._next.image.tag
            self._newest[tag.repository, shape_of(tag.name)] = self._next
            self._next = next(self._publishes, None)
        for tag, _ in self._policy.due(now, round(_LOOKS * _TICK / 60.0)):
            newest = self._newest.get((tag.repository, shape_of(tag.name)))
            if newest is not None:
                image = newest.image
                self._contents[image.manifest.digest] = Contents(now, image.manifest, image.names)
                self._policy.observe(Checked(now, image.tag, image.manifest))

    def _bring(self, wish: Wish, now: float) -> None:
        reference = wish.reference
        if isinstance(reference, Tag):
            digest = self._newest[reference.repository, shape_of(reference.name)].image.manifest.digest
        else:
            digest = reference.digest
        contents = self._contents.get(digest)
        if contents is None:
            return
        named = [each for each in contents.names if not self._cache.holds(each.digest)]
        chosen = [*self._policy.choose(wish, named, now)]
        if not wish.keys and not self._cache.holds(digest):
            chosen.append(contents.manifest)
        for each in chosen:
            self._coming.setdefault(key_of(each.digest), (each, wish))
            self._link.bring(key_of(each.digest), each.size)

"""A made-up site: what reaches its cache from two hundred nodes, runners of tests and a scanner.

Nodes keep images themselves, so the cache is asked for what they lack. Releases are rolled out; pods restart and move
by day more than by night and at weekends; jobs recur; runners of tests hold nothing; everything is scanned once a week.
"""

import heapq
import math
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from edgeproxy.interfaces import Access, Contents, Happening, Kind, Method
from edgeproxy.oci.manifest import Descriptor
from edgeproxy.oci.reference import Pinned, Reference
from edgeproxy.replay.registry import DAY, Image, Published, Registry, Service

_BEGIN = 1_699_833_600.0
"""A Monday, 00:00 UTC."""
_SCANNER, _RUNNERS = 5000, 1000
"""Clients that are no nodes: the one, and the first of thirty."""


@dataclass(frozen=True, slots=True)
class Site:
    """What is made up; the same seed gives the same happenings. Sizes in bytes."""

    seed: int
    days: float = 28.0
    services: int = 600
    nodes: int = 200
    skew: float = 0.9
    """Of the services' popularity: Zipf's exponent."""
    room: float = 60e9
    """Of a node, for images; it is cleared to 80 % when it is full."""
    restarts: float = 1.0
    """How often pods restart, beside what is usual."""
    movers: float = 0.85
    """The share of these that come up on a node that did not run the service."""
    jobs: float = 0.25
    """The share of services that run at fixed intervals as well."""
    scaled: float = 0.5
    """That are more by day than by night."""
    together: float = 0.3
    """How likely the service beside one that is rolled out is started anew, too."""
    tested: float = 0.3
    scanned: int = 10
    """Images of each service that are scanned: the newest."""
    tests: float = 8.0
    """A day, of a service of middling popularity that is tested."""
    strangers: float = 12.0
    """Images a day that somebody wants once."""

    def shifted(self) -> "Site":
        """Another kind of site, drawn by the seed from a wider range."""
        chance = np.random.default_rng([self.seed, 1])
        return replace(
            self,
            skew=chance.uniform(0.6, 1.2),
            nodes=int(chance.integers(60, 400)),
            room=chance.uniform(30e9, 120e9),
            restarts=chance.uniform(0.5, 2.0),
            movers=chance.uniform(0.4, 1.0),
            jobs=chance.uniform(0.02, 0.4),
            tested=chance.uniform(0.05, 0.4),
            strangers=chance.uniform(2.0, 40.0),
        )

    def happenings(self, published: list[Published] | None = None) -> Iterator[Happening]:
        """In the order of time; releases are added to `published` as they come out."""
        return _Run(self, [] if published is None else published).happenings()


class _Run:
    def __init__(self, site: Site, published: list[Published]) -> None:
        self._site = site
        self._published = published
        self._chance = chance = np.random.default_rng([site.seed, 0])
        self._registry = Registry(chance, f"site {site.seed}", site.services, site.nodes, site.skew)
        self._stores = [OrderedDict[str, int]() for _ in range(site.nodes)]
        self._used = [0] * site.nodes
        self._plans: list[tuple[float, int, str, int, float]] = []
        """When, in which order, what, whose (service, runtime or node), and how often it recurs."""
        self._out: list[tuple[float, int, Happening]] = []
        self._count = 0
        self._known: set[str] = set()

    def happenings(self) -> Iterator[Happening]:
        self._begin()
        while self._plans:
            now, _, what, whose, every = heapq.heappop(self._plans)
            while self._out and self._out[0][0] < now:
                yield heapq.heappop(self._out)[2]
            getattr(self, f"_do_{what}")(now, whose, every)
        while self._out:
            yield heapq.heappop(self._out)[2]

    def _begin(self) -> None:
        chance, site = self._chance, self._site
        for place in range(len(self._registry.systems)):
            self._plan(chance.uniform(0, 25) * DAY, "system", place)
        for place, service in enumerate(self._registry.services):
            begins = service.begins
            self._plan(begins + chance.uniform(0, 1) * service.period, "release", place)
            self._plan(begins + chance.exponential(0.3 * DAY), "roll_out", place)
            self._plan(begins + chance.exponential(DAY), "restart", place)
            if chance.random() < site.jobs:
                every = (3600.0, 6 * 3600.0, DAY, 7 * DAY)[int(chance.integers(4))]
                self._plan(begins + chance.uniform(0, DAY), "job", place, every)
            if chance.random() < site.scaled:
                day = math.ceil(begins / DAY)
                self._plan(
                    (day + max(0, day % 7 - 4) * (7 - day % 7)) * DAY + chance.uniform(6, 10) * 3600.0, "morning", place
                )
            if chance.random() < site.tested:
                self._plan(begins + chance.uniform(0, DAY / 4), "test", place)
        for day in range(math.ceil(site.days)):
            self._plan(day * DAY + chance.uniform(0, DAY), "replace", int(chance.integers(site.nodes)))
            for _ in range(chance.poisson(site.strangers)):
                self._plan(day * DAY + chance.uniform(0, DAY), "stranger", int(chance.integers(site.nodes)))
            self._plan(day * DAY + 2 * 3600.0, "scan", day % 7)

    def _plan(self, when: float, what: str, whose: int, every: float = 0.0) -> None:
        if when < self._site.days * DAY:
            self._count += 1
            heapq.heappush(self._plans, (when, self._count, what, whose, every))

    def _do_system(self, now: float, place: int, _: float) -> None:
        self._registry.systems[place] = self._registry.layer(3e7)
        for runtime, base in enumerate(self._registry.bases):
            if base == place:
                self._plan(now + self._chance.uniform(0, 3) * DAY, "runtime", runtime)
        self._plan(now + self._chance.uniform(12, 35) * DAY, "system", place)

    def _do_runtime(self, _: float, place: int, __: float) -> None:
        layers = self._registry.runtimes
        layers[place] = [self._registry.layer() for _ in layers[place]]

    def _do_release(self, now: float, place: int, _: float) -> None:
        service = self._registry.services[place]
        if service.lives(now):
            self._published.append(Published(_BEGIN + now, self._registry.change(service)))
            self._plan(now + self._chance.uniform(60, 1800), "roll_out", place)
            self._plan(now + service.period * self._chance.uniform(0.6, 1.4), "release", place)

    def _do_roll_out(self, now: float, place: int, _: float) -> None:
        service = self._registry.services[place]
        within = (5.0, 600.0, 3600.0)[int(self._chance.integers(3))]
        both = [place, place ^ 1] if self._chance.random() < self._site.together else [place]
        for one in both if service.lives(now) else ():
            for node in self._registry.services[one].nodes if one < len(self._registry.services) else ():
                self._plan(now + self._chance.uniform(0, within), "start", one, float(node))

    def _do_start(self, now: float, place: int, node: float) -> None:
        self._pull(now, self._registry.services[place].images[-1], int(node), int(node))

    def _do_restart(self, now: float, place: int, _: float) -> None:
        service = self._registry.services[place]
        if not service.lives(now):
            return
        if self._busy(now):
            for _ in range(1 + self._chance.poisson(1)):
                node = self._node(service)
                older = len(service.images) > 1 and self._chance.random() < 0.05
                self._pull(now, service.images[-2 if older else -1], node, node)
        rate = self._site.restarts * self._liking(service)
        self._plan(now + self._chance.exponential(DAY / 1.5 / rate), "restart", place)

    def _liking(self, service: Service) -> float:
        """How often something happens to it, against a service of middling popularity."""
        return float((service.popularity * len(self._registry.services)) ** 0.5)

    def _do_morning(self, now: float, place: int, _: float) -> None:
        """More of it are started for the day."""
        service = self._registry.services[place]
        if service.lives(now):
            for _ in range(1 + self._chance.poisson(3.0 * self._liking(service))):
                node = float(self._chance.integers(self._site.nodes))
                self._plan(now + self._chance.uniform(0, 900), "start", place, node)
        self._plan(now + (DAY if int(now / DAY) % 7 < 4 else 3 * DAY), "morning", place)

    def _do_job(self, now: float, place: int, every: float) -> None:
        service = self._registry.services[place]
        if service.lives(now):
            for _ in range(1 + self._chance.poisson(1)):
                self._plan(
                    now + self._chance.uniform(0, 60), "start", place, float(self._chance.integers(self._site.nodes))
                )
            self._plan(now + every, "job", place, every)

    def _do_test(self, now: float, place: int, _: float) -> None:
        service = self._registry.services[place]
        if service.lives(now):
            if self._busy(now):
                self._pull(now, service.images[-1], _RUNNERS + int(self._chance.integers(30)), None)
            often = self._site.tests * self._liking(service)
            self._plan(now + self._chance.exponential(DAY / often), "test", place)

    def _do_scan(self, now: float, weekday: int, _: float) -> None:
        for place in range(weekday, len(self._registry.services), 7):
            if self._registry.services[place].begins <= now:
                now += self._chance.exponential(20.0)
                self._plan(now, "look", place)

    def _do_look(self, now: float, place: int, _: float) -> None:
        for image in self._registry.services[place].images[-self._site.scanned :]:
            self._pull(now, image, _SCANNER, None)

    def _do_replace(self, now: float, node: int, _: float) -> None:
        self._stores[node].clear()
        self._used[node] = 0
        for place, service in enumerate(self._registry.services):
            if node in service.nodes and service.lives(now):
                self._plan(now + self._chance.uniform(0, 300), "start", place, float(node))

    def _do_stranger(self, now: float, node: int, _: float) -> None:
        self._pull(now, self._registry.stranger(), node, node)

    def _busy(self, now: float) -> bool:
        """More likely by day than at night and at weekends."""
        hour, weekday = now / DAY % 1.0 * 24.0, int(now / DAY) % 7
        load = (1.0 + 0.65 * math.sin((hour - 8.0) / 12.0 * math.pi)) * (0.55 if weekday >= 5 else 1.0)
        return bool(self._chance.random() < load / 2.0)

    def _node(self, service: Service) -> int:
        if self._chance.random() < self._site.movers:
            return int(self._chance.integers(self._site.nodes))
        return service.nodes[int(self._chance.integers(len(service.nodes)))]

    def _pull(self, now: float, image: Image, client: int, node: int | None) -> None:
        """A check of the tag, then what the client lacks."""
        manifest = image.manifest
        if manifest.digest not in self._known:
            self._known.add(manifest.digest)
            self._say(Contents(_BEGIN + now, manifest, image.names))
        store = OrderedDict[str, int]() if node is None else self._stores[node]
        lacking = [named for named in (manifest, *image.names) if named.digest not in store]
        own = self._registry.reference(image)
        self._ask(now, client, "HEAD", "manifests", own, manifest)
        for named in image.names:
            if named.digest in store:
                store.move_to_end(named.digest)
        for named in lacking:
            now += 0.01
            reference = own if named is manifest else Pinned(image.tag.repository, named.digest)
            self._ask(now, client, "GET", "manifests" if named is manifest else "blobs", reference, named)
            store[named.digest] = named.size
        if node is not None:
            self._used[node] += sum(named.size for named in lacking)
            if self._used[node] > self._site.room:
                while self._used[node] > 0.8 * self._site.room:
                    self._used[node] -= store.popitem(last=False)[1]

    def _ask(
        self, now: float, client: int, method: Method, kind: Kind, reference: Reference, about: Descriptor
    ) -> None:
        size = about.size
        self._say(Access(_BEGIN + now, client, method, kind, reference, about.digest, size, "hit", size, 0.0))

    def _say(self, happening: Happening) -> None:
        self._count += 1
        heapq.heappush(self._out, (happening.time - _BEGIN, self._count, happening))

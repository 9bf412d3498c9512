"""Sites that write the same tags while everything between them fails, as a model without I/O.

A site keeps its tags and its outbox through crashes, as the catalogue does. What is on the line may be lost, doubled,
overtaken; a sender tries again until it is answered. A task may be stopped by the operator: then only a comparison
helps.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Literal, NamedTuple

from edgeproxy.interfaces import TagState
from edgeproxy.oci.manifest import Descriptor
from edgeproxy.sites.comparison import differences
from edgeproxy.sites.versions import Merge, Outcome, issue, merge, onward

Topology = Literal["ring", "mesh", "hub"]
Link = frozenset[str]
_MOST_DELIVERIES = 2_000


class Parcel(NamedTuple):
    """A state of a tag on its way."""

    tag: str
    state: TagState
    via: tuple[str, ...]


class Flight(NamedTuple):
    sender: str
    receiver: str
    parcel: Parcel


@dataclass
class Site:
    """One edge with a clock that is `skew` milliseconds off."""

    source: str
    neighbours: tuple[str, ...]
    skew: int
    tags: dict[str, TagState] = field(default_factory=dict)
    outbox: dict[tuple[str, str], Parcel] = field(default_factory=dict)
    """By neighbour and tag: what is newer replaces what has not been delivered."""
    applied: list[tuple[str, str]] = field(default_factory=list)
    """The states from elsewhere that were news here: tag and version."""

    def write(self, tag: str, value: Descriptor | None, now_ms: int) -> TagState:
        state = TagState(value, issue(self.tags.get(tag), self.source, now_ms + self.skew))
        self.tags[tag] = state
        self.post(Parcel(tag, state, (self.source,)), self.neighbours)
        return state

    def receive(self, parcel: Parcel) -> Merge:
        merged = merge(self.tags.get(parcel.tag), parcel.state)
        self.tags[parcel.tag] = merged.state
        if merged.outcome is not Outcome.SEEN:
            self.applied.append((parcel.tag, str(parcel.state.version)))
        to, via = onward(merged, parcel.via, self.source, self.neighbours)
        self.post(Parcel(parcel.tag, merged.state, via), to)
        return merged

    def post(self, parcel: Parcel, to: Sequence[str]) -> None:
        self.outbox.update({(site, parcel.tag): parcel for site in to})

    def shown(self) -> dict[str, str]:
        return {tag: state.descriptor.digest for tag, state in self.tags.items() if state.descriptor}


class World:
    """All sites, and what is on the lines between them."""

    def __init__(self, topology: Topology, skews: Sequence[int]) -> None:
        names = [f"edge-{number}" for number in range(len(skews))]
        links = _links(topology, names)
        self.sites = {
            name: Site(name, tuple(other for other in names if frozenset((name, other)) in links), skew)
            for name, skew in zip(names, skews, strict=True)
        }
        self.links = sorted(links, key=sorted)
        self.cut: set[Link] = set()
        self.flying: list[Flight] = []
        self.now_ms = 10**12
        self.written: dict[str, list[TagState]] = {}
        self.deliveries = 0

    def write(self, source: str, tag: str, value: Descriptor | None) -> TagState:
        state = self.sites[source].write(tag, value, self.now_ms)
        self.written.setdefault(tag, []).append(state)
        return state

    def send(self, source: str, pick: int) -> None:
        """One that waits goes on the line; it waits on, until it is answered."""
        waiting = [
            (to, parcel)
            for (to, _), parcel in self.sites[source].outbox.items()
            if frozenset((source, to)) not in self.cut
        ]
        if waiting:
            to, parcel = waiting[pick % len(waiting)]
            self.flying.append(Flight(source, to, parcel))

    def deliver(self, pick: int, *, again: bool = False, answered: bool = True) -> None:
        """Any that flies arrives, whatever left before it; `again`: and once more later."""
        if not self.flying:
            return
        at = pick % len(self.flying)
        sender, receiver, parcel = self.flying[at] if again else self.flying.pop(at)
        self.deliveries += 1
        assert self.deliveries < _MOST_DELIVERIES, "it circulates"
        self.sites[receiver].receive(parcel)
        outbox = self.sites[sender].outbox
        if answered and outbox.get((receiver, parcel.tag)) == parcel:
            del outbox[receiver, parcel.tag]

    def lose(self, pick: int) -> None:
        if self.flying:
            self.flying.pop(pick % len(self.flying))

    def crash(self, source: str) -> None:
        self.flying = [flight for flight in self.flying if source not in (flight.sender, flight.receiver)]

    def partition(self, link: Link) -> None:
        self.cut.add(link)
        self.flying = [flight for flight in self.flying if {flight.sender, flight.receiver} != link]

    def stop(self, source: str, pick: int) -> None:
        """The operator gives up on one that waits."""
        outbox = self.sites[source].outbox
        if outbox:
            del outbox[list(outbox)[pick % len(outbox)]]

    def quiesce(self, pick: int = 0) -> None:
        """Everything is delivered, in an order that `pick` decides."""
        self.cut.clear()
        while True:
            self.flying += [flight for flight in self._waiting() if flight not in self.flying]
            if not self.flying:
                return
            self.deliver(pick)

    def _waiting(self) -> list[Flight]:
        return [
            Flight(source, to, parcel) for source, site in self.sites.items() for (to, _), parcel in site.outbox.items()
        ]

    def compare(self) -> None:
        """Every site compares once with each neighbour, in both directions."""
        for site in self.sites.values():
            for other in site.neighbours:
                for tag in differences(site.tags, self.sites[other].tags, True):
                    site.post(Parcel(tag, site.tags[tag], (site.source,)), [other])


def _links(topology: Topology, names: Sequence[str]) -> set[Link]:
    if topology == "mesh":
        return {frozenset(pair) for pair in combinations(names, 2)}
    if topology == "hub":
        return {frozenset((names[0], name)) for name in names[1:]}
    return {frozenset((name, names[number - 1])) for number, name in enumerate(names)}

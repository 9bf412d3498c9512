"""Which of two states of a tag holds, and who is to hear of it: the same everywhere, in whatever order they come. Pure.

A state is a join of two parts that only grow: the greatest write, and the count of all writes that went into it.
"""

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import NamedTuple

from edgeproxy.interfaces import TagState
from edgeproxy.oci.version import Version


class Outcome(Enum):
    """What a state that came from elsewhere did to what is known here."""

    APPLIED = "applied"
    """It had seen all that is known here, and replaced it."""
    SEEN = "seen"
    """All of it was known here: nothing changed."""
    WON = "won"
    """Neither had seen the other; its value holds from now on."""
    LOST = "lost"
    """Neither had seen the other; the value here still holds."""


class Merge(NamedTuple):
    """`state` is what holds now; it is news here unless the outcome is `SEEN`."""

    outcome: Outcome
    state: TagState
    loser: TagState | None
    """A value that nobody replaced knowingly, and that is gone: a conflict, to be told to the operator."""


class Onward(NamedTuple):
    """`to` are those among the neighbours who lack the state that holds; `via` goes with it."""

    to: tuple[str, ...]
    via: tuple[str, ...]


def issue(known: TagState | None, source: str, now_ms: int) -> Version:
    """The version of a write made here, later than all that is known here, however far clocks differ.

    `now_ms` in milliseconds since the epoch.
    """
    if known is None:
        return Version(now_ms, source, {source: 1})
    seen = known.version.vector
    return Version(max(now_ms, known.version.stamp + 1), source, {**seen, source: seen.get(source, 0) + 1})


def covers(one: Version, other: Version) -> bool:
    """Whether every write that is part of `other` is part of `one`."""
    return all(one.vector.get(source, 0) >= count for source, count in other.vector.items())


def merge(known: TagState | None, incoming: TagState) -> Merge:
    """Commutative, associative and idempotent in its state.

    Values are compared even where one vector covers the other: a site restored from a backup counts
    some of its writes a second time, and even then all sites come to the same state.
    """
    if known is None:
        return Merge(Outcome.APPLIED, incoming, None)
    wins = _rank(incoming) > _rank(known)
    winner, loser = (incoming, known) if wins else (known, incoming)
    vector = _union(known.version.vector, incoming.version.vector)
    state = TagState(winner.descriptor, winner.version._replace(vector=vector))
    if state == known:
        return Merge(Outcome.SEEN, known, None)
    if state == incoming:
        return Merge(Outcome.APPLIED, incoming, None)
    conflict = loser.descriptor != winner.descriptor and not _had_seen(winner, loser)
    return Merge(Outcome.WON if wins else Outcome.LOST, state, loser if conflict else None)


def onward(merged: Merge, via: Sequence[str], here: str, neighbours: Iterable[str]) -> Onward:
    """Who is to be sent `merged.state` after a state came to the site `here` by way of the sites `via`.

    Growth is passed on to those it has not come through; a merge of two states nobody else has yet.
    """
    if merged.outcome is Outcome.SEEN:
        return Onward((), (*via, here))
    if merged.outcome is Outcome.APPLIED:
        return Onward(tuple(site for site in neighbours if site not in via), (*via, here))
    return Onward(tuple(neighbours), (here,))


def _rank(state: TagState) -> tuple[int, str, str, str, int]:
    """Total over all states, so that even two writes with the same stamp and source have one winner."""
    value = state.descriptor
    named = (str(value.digest), value.media_type, value.size) if value else ("", "", 0)
    return state.version.stamp, state.version.source, *named


def _had_seen(winner: TagState, loser: TagState) -> bool:
    """Whether the write that `loser` shows is part of what `winner` came from."""
    writer = loser.version.source
    return winner.version.vector.get(writer, 0) >= loser.version.vector[writer]


def _union(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {source: max(one.get(source, 0), other.get(source, 0)) for source in {**one, **other}}

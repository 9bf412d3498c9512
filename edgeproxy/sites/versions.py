"""What a tag names where several sites write it: all come to the same, in whatever order they hear of it. Pure."""

from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple

from edgeproxy.interfaces import TagState
from edgeproxy.oci.version import Version


class Outcome(Enum):
    """What a state that has arrived means for the one that is here."""

    APPLIED = "applied"
    """It follows it."""
    SEEN = "seen"
    """It is part of it already."""
    WON = "won"
    """The two did not know each other, and it is the greater."""
    LOST = "lost"
    """The two did not know each other, and it is the lesser."""


class Merge(NamedTuple):
    """The state that holds from now on, and the one that it hides where the two did not know each other."""

    outcome: Outcome
    state: TagState
    loser: TagState | None = None


def issue(known: TagState | None, source: str, now_ms: int) -> Version:
    """The version of a write at the site `source`, which knows all that `known` does."""
    if known is None:
        return Version(now_ms, source, {source: 1})
    stamp, _, vector = known.version
    return Version(max(now_ms, stamp + 1), source, {**vector, source: vector.get(source, 0) + 1})


def merge(known: TagState | None, incoming: TagState) -> Merge:
    """Commutative, associative and idempotent in `state`.

    Each stamp is greater than all that its writer knew, so of two states of which one knew the other the later wins by
    its stamp as well: the greater `(stamp, source)` always stays, and the vector only tells whether that is a conflict.
    """
    if known is None or _covers(incoming.version.vector, known.version.vector):
        same = known is not None and _covers(known.version.vector, incoming.version.vector)
        return Merge(Outcome.SEEN if same else Outcome.APPLIED, known if same and known else incoming)
    if _covers(known.version.vector, incoming.version.vector):
        return Merge(Outcome.SEEN, known)
    vector = _union(known.version.vector, incoming.version.vector)
    wins = _rank(incoming) > _rank(known)
    winner, loser = (incoming, known) if wins else (known, incoming)
    state = winner._replace(version=winner.version._replace(vector=vector))
    differs = winner.descriptor != loser.descriptor
    return Merge(Outcome.WON if wins else Outcome.LOST, state, loser if differs else None)


def _rank(state: TagState) -> tuple[int, str, str]:
    digest = state.descriptor.digest if state.descriptor else ""
    return state.version.stamp, state.version.source, digest


def _covers(one: Mapping[str, int], other: Mapping[str, int]) -> bool:
    """Whether all writes of the other are part of this one."""
    return all(one.get(source, 0) >= count for source, count in other.items())


def _union(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {source: max(one.get(source, 0), other.get(source, 0)) for source in sorted({*one, *other})}

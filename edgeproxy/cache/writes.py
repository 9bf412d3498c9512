"""Writes to tags, ours and other sites': what each makes of the state that is known here."""

import logging
from typing import NamedTuple, Protocol

from edgeproxy.interfaces import TagState
from edgeproxy.metrics import Traffic
from edgeproxy.oci.errors import RequestInvalid
from edgeproxy.oci.manifest import Descriptor
from edgeproxy.oci.reference import Reference, Tag
from edgeproxy.oci.version import Version
from edgeproxy.sites.versions import Merge, Outcome, issue, merge, onward
from edgeproxy.store.versions import Change

log = logging.getLogger(__name__)
_AHEAD = 86400.0
"""Seconds that a stamp may be ahead: a greater one would win over everything until then."""


class Announcer(Protocol):
    """Who has other sites hear of what was written."""

    async def confirm(self, reference: Reference) -> None:
        """Of this site's own write: wait until others have it, where they are to have it at once.

        Raises `UpstreamTimeout` where they have not; the write stays.
        """
        ...

    def wake(self) -> None:
        """Something has been written."""
        ...


class Said(NamedTuple):
    """What another site says of a write that it passes on."""

    version: Version | None
    """Of a write to a tag."""
    via: tuple[str, ...]
    """The source ids of the sites it has come through."""


def check(version: Version, now: float) -> None:
    """Raises `RequestInvalid` where the version is of a time that has not come. `now` in seconds since the epoch."""
    ahead = version.stamp / 1000 - now
    if ahead > _AHEAD:
        hours = round(ahead / 3600)
        raise RequestInvalid(f"the version's stamp is {hours} hours ahead of this site's clock: set the sites' clocks")


class Write:
    """One write to a tag; called once, where the state that is known is read and changed in one go."""

    def __init__(self, descriptor: Descriptor | None, source: str, now: float, said: Said | None = None) -> None:
        """Without a descriptor it is a deletion. `source`: this site's id. `said`: it is another site's."""
        self._descriptor = descriptor
        self._source = source
        self._now = now
        self._said = said
        self._merged: Merge | None = None

    def __call__(self, known: TagState | None) -> Change | None:
        """A `store.versions.Merge`."""
        if self._said is None or self._said.version is None:
            version = issue(known, self._source, int(self._now * 1000))
            return Change(TagState(self._descriptor, version), (self._source,))
        incoming = TagState(self._descriptor, self._said.version)
        self._merged = merged = merge(known, incoming)
        if merged.outcome is Outcome.SEEN:
            return None
        on = onward(merged, self._said.via, self._source, ())
        return Change(merged.state, on.via, merged.loser is not None)

    def count(self, tag: Tag, traffic: Traffic) -> None:
        """What became of another site's write; one that somebody made without knowing of ours is logged."""
        if self._merged is None:
            return
        traffic.replicated[self._merged.outcome.value] += 1
        if self._merged.loser is not None:
            traffic.conflicts += 1
            what = f"two sites wrote {tag} without knowing of each other"
            log.warning("%s: %s holds, and %s is given up", what, _told(self._merged.state), _told(self._merged.loser))


def _told(state: TagState) -> str:
    """Whose write it is, and of what."""
    what = f"{state.descriptor.digest}" if state.descriptor else "the deletion"
    return f"{what} by {state.version.source}"


async def announce(announcer: Announcer | None, reference: Reference, said: Said | None) -> None:
    """Raises `UpstreamTimeout`."""
    if announcer is None:
        return
    if said is None:
        await announcer.confirm(reference)
    announcer.wake()

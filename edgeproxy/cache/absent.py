"""What upstream did not know a moment ago: negative answers, believed briefly."""

from copy import copy

from edgeproxy.interfaces import Clock, Kind
from edgeproxy.oci.errors import BlobUnknown, ManifestUnknown, Refusal
from edgeproxy.oci.reference import Reference

BELIEVED = 10.0
"""Seconds: long enough for a storm of pulls of a misspelt image, too short to be noticed after a push."""
_MOST = 10_000


class Absent:
    """Refusals by what was asked for."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._refusals: dict[tuple[Kind, Reference], tuple[float, Refusal]] = {}

    def check(self, kind: Kind, reference: Reference) -> None:
        """Raise the refusal of a moment ago."""
        until, refusal = self._refusals.get((kind, reference), (0.0, None))
        if refusal is not None and self._clock.now() < until:
            raise copy(refusal)  # each time it is raised, a traceback grows, and holds what was asked

    def note(self, kind: Kind, reference: Reference, refusal: Refusal) -> None:
        """Believe a refusal that says that the content does not exist; any other is upstream's trouble."""
        if isinstance(refusal, ManifestUnknown | BlobUnknown):
            if len(self._refusals) >= _MOST:
                self._refusals.clear()
            self._refusals[kind, reference] = (self._clock.now() + BELIEVED, copy(refusal))

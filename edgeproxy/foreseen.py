"""The seam between who knows what will be asked for and who brings it."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from edgeproxy.oci.digest import Digest
from edgeproxy.oci.manifest import Descriptor
from edgeproxy.oci.reference import Reference, Tag


class Wish(NamedTuple):
    """An image, or some of it, that is worth to be here before it is asked for."""

    reference: Reference
    chance: float
    """That it is asked for."""
    within: float
    """Seconds after which it is no longer likely."""
    keys: frozenset[int] = frozenset()
    """Of the parts that are meant, in the numbers of whoever wishes; all where none are given."""
    like: Digest | None = None
    """The manifest of the release before: what is in use of that is wanted of this."""


class Look(NamedTuple):
    """A row of releases of which upstream may have another by now."""

    tag: Tag
    """The newest known."""
    by_name: bool
    """Whether a release has a name of its own, and is found in the list of tags; else this tag moves."""


class Foresight(Protocol):
    """Knows what will be asked for; pure: neither I/O nor a clock. One thread at a time."""

    def due(self, now: float, most: int) -> Sequence[Look]:
        """What is worth a look at upstream now: each once. What is found is told to the policy."""
        ...

    def wishes(self, now: float) -> Sequence[Wish]:
        """What is worth to be brought now, the likeliest first: each once."""
        ...

    def choose(self, wish: Wish, lacking: Sequence[Descriptor], now: float) -> Sequence[Descriptor]:
        """Of the blobs of an image that are not here, those worth to be brought."""
        ...

    def brought(self, blob: Descriptor, wish: Wish, now: float) -> None:
        """It came because it was wished for."""
        ...

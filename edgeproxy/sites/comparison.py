"""Anti-entropy: what two sites' listings of a repository say must be sent, however they came to differ."""

from collections.abc import Mapping

from edgeproxy.interfaces import TagState
from edgeproxy.oci.manifest import Descriptor
from edgeproxy.sites.versions import Outcome, merge


def differences(
    ours: Mapping[str, TagState], theirs: Mapping[str, TagState | Descriptor], deletions: bool
) -> list[str]:
    """The names of the tags that are to be sent to them, in our order; `deletions`: those deleted here as well.

    They give `TagState` where they know versions: then what they have seen is not sent. A registry that knows
    none gives descriptors, and is sent what has another digest.
    """
    return [name for name, state in ours.items() if _lacks(theirs.get(name), state, deletions)]


def _lacks(theirs: TagState | Descriptor | None, ours: TagState, deletions: bool) -> bool:
    if ours.descriptor is None and not (deletions and _shown(theirs)):
        return False
    if isinstance(theirs, TagState):
        return merge(theirs, ours).outcome is not Outcome.SEEN
    return theirs is None or ours.descriptor is None or theirs.digest != ours.descriptor.digest


def _shown(theirs: TagState | Descriptor | None) -> bool:
    """Whether a client that asks for the tag there gets something."""
    return theirs is not None and not (isinstance(theirs, TagState) and theirs.descriptor is None)

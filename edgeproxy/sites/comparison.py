"""What another site lacks, found by comparing all that is there with all that is here. Pure."""

from collections.abc import Mapping

from edgeproxy.interfaces import TagState
from edgeproxy.oci.manifest import Descriptor
from edgeproxy.sites.versions import Outcome, merge


def differences(
    ours: Mapping[str, TagState], theirs: Mapping[str, TagState | Descriptor], *, deletions: bool
) -> list[str]:
    """The names of the tags that are to be sent. Where a registry knows no versions, descriptors are compared."""
    return [name for name, state in ours.items() if _is_news(state, theirs.get(name), deletions)]


def _is_news(ours: TagState, theirs: TagState | Descriptor | None, deletions: bool) -> bool:
    if ours.descriptor is None and (not deletions or theirs is None):
        return False
    if isinstance(theirs, TagState):
        return merge(theirs, ours).outcome is not Outcome.SEEN
    return theirs is None or ours.descriptor is None or theirs.digest != ours.descriptor.digest

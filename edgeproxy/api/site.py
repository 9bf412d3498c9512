"""What sites say to each other beyond what any client says (docs/adr/0009)."""

import json
from collections.abc import Callable, Mapping

from edgeproxy.access.identity import Caller
from edgeproxy.api import fields
from edgeproxy.cache.admission import Admission
from edgeproxy.cache.manifests import Claim
from edgeproxy.interfaces import TagState
from edgeproxy.oci.errors import RequestInvalid
from edgeproxy.oci.reference import Repository
from edgeproxy.oci.version import is_source, parse_version
from edgeproxy.store.written import Written

TAGS_TYPE = "application/vnd.edgeproxy.tags.v1+json"
_MOST_SITES = 100


class Site:
    """This site, as it shows itself to those that replicate to it."""

    def __init__(self, source: str, written: Written, admission: Admission, left: Callable[[], int]) -> None:
        """`left`: bytes that there is room for."""
        self._source = source
        self._written = written
        self._admission = admission
        self._left = left

    def about(self, caller: Caller) -> list[fields.Field]:
        if not self._admission.replicates(caller):
            return []
        return [("Edgeproxy-Source", self._source), ("Edgeproxy-Free", str(self._left()))]

    def tags(self, named: str, repository: Repository) -> bytes:
        """What was written here, with its versions."""
        found = [_tag(name, state) for name, state in self._written.states(repository).items()]
        return json.dumps({"name": named, "tags": found}).encode()


def claim_in(headers: Mapping[str, str]) -> Claim | None:
    """What a site says of a write that it passes on. Raises `RequestInvalid`."""
    text = headers.get("Edgeproxy-Version")
    if text is None:
        return None
    via = [word.strip() for word in headers.get("Edgeproxy-Via", "").split(",") if word.strip()]
    if not all(map(is_source, via)) or not 1 <= len(via) <= _MOST_SITES:
        raise RequestInvalid("Edgeproxy-Via names the sites that a write has come through, one at least")
    return Claim(parse_version(text), tuple(via))


def _tag(name: str, state: TagState) -> dict[str, object]:
    about: dict[str, object] = {"name": name, "version": str(state.version)}
    if state.descriptor is not None:
        media_type, digest, size = state.descriptor
        about |= {"mediaType": media_type, "digest": digest, "size": size}
    return about

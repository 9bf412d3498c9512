"""States of a tag as several sites produce them, by writes and by merges and in no other way."""

from hypothesis import strategies as st

from edgeproxy.interfaces import TagState
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.manifest import OCI_MANIFEST, Descriptor
from edgeproxy.sites.versions import issue, merge

SOURCES = ("edge-1", "edge-2", "edge-3", "edge-4", "edge-5")
VALUES = tuple(Descriptor(OCI_MANIFEST, Digest.of(bytes([number])), 500 + number) for number in range(4))


def written(known: TagState | None, source: str, now_ms: int, value: Descriptor | None) -> TagState:
    return TagState(value, issue(known, source, now_ms))


@st.composite
def histories(draw: st.DrawFn, sites: int = 4) -> list[TagState]:
    """Every state that any of the sites has had, while they wrote by clocks that differ, and merged pairwise."""
    known: dict[str, TagState] = {}
    seen: list[TagState] = []
    for _ in range(draw(st.integers(1, 14))):
        source = SOURCES[draw(st.integers(0, sites - 1))]
        merging = draw(st.booleans())
        if seen and merging:
            known[source] = merge(known.get(source), draw(st.sampled_from(seen))).state
        else:
            value = draw(st.sampled_from((None, *VALUES)))
            known[source] = written(known.get(source), source, draw(st.integers(1, 9)), value)
        seen.append(known[source])
    return seen

"""The versions of the tags that were written here, or are known from other sites: deletions are states as well.

    version/<registry>/<repository> <tag>
        -> [media type, digest or null, size, stamp, source, vector, artifact type, bytes of the manifest and its parts]

A deleted tag has no row of its own (`store.catalog`); that its version names nothing keeps upstream from being asked.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from edgeproxy.interfaces import TagState
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.manifest import Descriptor
from edgeproxy.oci.reference import Repository, Tag
from edgeproxy.oci.version import Version
from edgeproxy.store.catalog import Catalog, version_key
from edgeproxy.store.rows import Rows

_VERSION = "version/"


class Extent(NamedTuple):
    """What filters of replication ask of a manifest: its artifact type, and the bytes of it and of its parts."""

    artifact_type: str | None = None
    size: int = 0


class Change(NamedTuple):
    """What a write makes of a tag."""

    state: TagState
    """What holds from now on."""
    via: Sequence[str]
    """As in `store.outbox.News`."""
    conflict: bool = False
    """Whether what gives way was replaced by somebody who did not know of it: its manifest stays, by digest."""


Merge = Callable[[TagState | None], Change | None]
"""What a write makes of the state that is known; `None` where nothing of it is news."""


class TagStates:
    """Reads; synchronous."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def state(self, tag: Tag) -> TagState | None:
        """`None` where nobody has written it but upstream."""
        value = self._catalog.row(version_key(tag))
        return parse_state(value) if value else None

    def states(self, repository: Repository) -> dict[str, TagState]:
        """By the tags' names, in order."""
        return {name: parse_state(value) for name, value in self._rows(repository)}

    def deleted(self, repository: Repository) -> set[str]:
        """The names of the tags that were deleted."""
        return {name for name, value in self._rows(repository) if value.startswith(_NOTHING)}

    def repositories(self) -> list[Repository]:
        """Those with a version, in order."""
        found: list[Repository] = []
        edge = ""
        while rows := self._catalog.page(_VERSION, edge, 1):
            name = rows[0][0].removeprefix(_VERSION).partition(" ")[0]
            registry, _, path = name.partition("/")
            found.append(Repository(registry, path))
            edge = f"{_VERSION}{name}!"  # '!' follows the space, and so every tag of it
        return found

    def _rows(self, repository: Repository) -> Iterator[tuple[str, str]]:
        prefix = f"{_VERSION}{repository} "
        return ((key.removeprefix(prefix), value) for key, value in self._catalog.scan(prefix))


def known_state(rows: Rows, tag: Tag) -> tuple[TagState | None, Extent]:
    """What is known, inside a transaction."""
    value = rows.get(version_key(tag))
    if value is None:
        return None, Extent()
    return parse_state(value), Extent(*json.loads(value)[6:])


def put_state(rows: Rows, tag: Tag, state: TagState, extent: Extent) -> None:
    named = state.descriptor or ("", None, 0)
    version = state.version
    rows.put(version_key(tag), json.dumps([*named, version.stamp, version.source, dict(version.vector), *extent]))


def parse_state(value: str) -> TagState:
    media_type, digest, size, stamp, source, vector, *_ = json.loads(value)
    descriptor = Descriptor(media_type, Digest(digest), size) if digest is not None else None
    return TagState(descriptor, Version(stamp, source, vector))


_NOTHING = json.dumps(["", None])[:-1]
"""How the row of a deleted tag begins."""

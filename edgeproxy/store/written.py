"""What was written here, and is not only a copy of upstream's: tags with their versions, and what belongs to them.

version/<registry>/<repository> <tag>    -> [media type, digest or null, size, stamp, source, {source: count}]
"""

import json

from edgeproxy.interfaces import TagState
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.manifest import Descriptor
from edgeproxy.oci.reference import Pinned, Repository, Tag
from edgeproxy.oci.version import Version
from edgeproxy.store.catalog import Catalog
from edgeproxy.store.rows import Rows

_FAMILY = "version/"


class Written:
    """Reads the rows."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def state(self, tag: Tag) -> TagState | None:
        """`None` where nobody wrote the tag here, or anywhere that we heard of."""
        value = self._catalog.row(version_key(tag))
        return _state(value) if value else None

    def states(self, repository: Repository) -> dict[str, TagState]:
        """By the tags' names; those that were deleted, too."""
        prefix = f"{_FAMILY}{repository} "
        return {key.removeprefix(prefix): _state(value) for key, value in self._catalog.scan(prefix)}

    def repositories(self) -> list[Repository]:
        """Those in which tags were written."""
        names = dict.fromkeys(key.removeprefix(_FAMILY).partition(" ")[0] for key, _ in self._catalog.scan(_FAMILY))
        return [Repository(*name.split("/", 1)) for name in names]

    def media_type(self, manifest: Pinned) -> str:
        """Of a manifest that its repository shows; else empty."""
        shown = self._catalog.link("manifests", manifest)
        return shown.media_type if shown else ""

    def referring(self, subject: Pinned) -> list[Digest]:
        """The manifests that were pushed with this subject."""
        prefix = f"refers/{subject.digest}/{subject.repository} "
        return [Digest(key.removeprefix(prefix)) for key, _ in self._catalog.scan(prefix)]

    def showing(self, blob: Digest) -> list[Repository]:
        """The repositories that show it."""
        prefix = f"link/{blob}/blobs/"
        return [Repository(*key.removeprefix(prefix).split("/", 1)) for key, _ in self._catalog.scan(prefix)]


def version_key(tag: Tag) -> str:
    return f"{_FAMILY}{tag.repository} {tag.name}"


def state_in(rows: Rows, tag: Tag) -> TagState | None:
    value = rows.get(version_key(tag))
    return _state(value) if value else None


def put_state(rows: Rows, tag: Tag, state: TagState) -> None:
    named = state.descriptor or Descriptor("", Digest(""), 0)
    stamp, source, vector = state.version
    rows.put(version_key(tag), json.dumps([*named[:1], named.digest or None, named.size, stamp, source, vector]))


def _state(value: str) -> TagState:
    media_type, digest, size, stamp, source, vector = json.loads(value)
    named = Descriptor(media_type, Digest(digest), size) if digest else None
    return TagState(named, Version(stamp, source, vector))

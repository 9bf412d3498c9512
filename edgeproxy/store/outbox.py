"""The journal of what was written here, and what is still to be sent because of that. Both survive a crash together.

    event/<20 digits>    -> [registry, path, tag or null, digest or null, media type, artifact type or null,
                             subject or null, bytes, written at, [sites it has come through], version or ""]
    total/events         -> the number of the newest event

An event's row is written in the transaction that shows what it is about, and leaves in the one that writes what follows
from it.
"""

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from edgeproxy.oci.digest import Digest
from edgeproxy.oci.reference import Pinned, Reference, Repository, Tag
from edgeproxy.store.catalog import Catalog
from edgeproxy.store.rows import Rows

_FAMILY, _COUNT = "event/", "total/events"
_OURS = ("task/", "execution/", "policy/", "target/")
"""What the rows begin with that are written here without being looked at."""


class Event(NamedTuple):
    """A tag was written or deleted, or without a tag a manifest was pushed by its digest."""

    repository: Repository
    tag: str | None
    digest: Digest | None
    """`None` where the tag was deleted."""
    media_type: str
    artifact_type: str | None
    subject: Digest | None
    size: int
    """Bytes of the manifest and of what it names."""
    at: float
    """Seconds since the epoch."""
    via: tuple[str, ...] = ()
    """The source ids of the sites it has come through."""
    version: str = ""
    """Of the tag."""
    sequence: int = 0

    @property
    def reference(self) -> Reference:
        if self.tag is not None:
            return Tag(self.repository, self.tag)
        assert self.digest is not None
        return Pinned(self.repository, self.digest)


class Outbox:
    """Reads are synchronous; a write is a transaction, and raises `StoreFull`."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def events(self, limit: int) -> list[Event]:
        """The oldest."""
        return [_event(key, value) for key, value in self._catalog.page(_FAMILY, limit)]

    def rows(self, family: str) -> list[tuple[str, str]]:
        return list(self._catalog.scan(family))

    async def settle(self, put: Mapping[str, str], drop: Sequence[str] = (), upto: int | None = None) -> None:
        """Write and delete rows, and with them the events up to `upto`."""
        assert all(key.startswith(_OURS) for key in (*put, *drop))

        def act(rows: Rows) -> None:
            for key, value in put.items():
                rows.put(key, value)
            for key in drop:
                rows.delete(key)
            if upto is not None:
                for key, _ in rows.scan(_FAMILY, limit=upto):
                    if key > _key(upto):
                        break
                    rows.delete(key)

        await self._catalog.change(act)


def put_event(rows: Rows, event: Event) -> None:
    """As the newest."""
    number = int(rows.get(_COUNT) or 0) + 1
    rows.put(_COUNT, str(number))
    rows.put(_key(number), json.dumps([*event.repository, *event[1:-1]]))


def _key(number: int) -> str:
    return f"{_FAMILY}{number:020d}"


def _event(key: str, value: str) -> Event:
    registry, path, tag, digest, media_type, artifact_type, subject, size, at, via, version = json.loads(value)
    return Event(
        Repository(registry, path),
        tag,
        Digest(digest) if digest else None,
        media_type,
        artifact_type,
        Digest(subject) if subject else None,
        size,
        at,
        tuple(via),
        version,
        int(key.removeprefix(_FAMILY)),
    )

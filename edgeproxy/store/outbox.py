"""The journal of writes, and what replication keeps of its work: rows that change in one transaction.

    event/<20 digits>  -> [registry, path, tag, digest, media type, artifact type, size, at, [via, ...], version,
                            subject]
    total/events       -> the number of the last event there was

An event is written in the transaction of the write that it tells of (`store.pushed`, `store.removal`), and deleted in
the one that turns it into work to do.
"""

import json
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from edgeproxy.oci.digest import Digest
from edgeproxy.oci.reference import Pinned, Reference, Repository, Tag
from edgeproxy.store.catalog import Catalog
from edgeproxy.store.rows import Rows

_EVENT = "event/"
_LAST = "total/events"
_OWN = ("task/", "execution/", "target/", "policy/", "pull/")
"""What replication may keep rows under."""


class News(NamedTuple):
    """A write that others may not know of.

    Without a tag it is about the digest alone; without a digest the tag is deleted; without a media type, the manifest.
    """

    repository: Repository
    tag: str | None
    digest: Digest | None
    media_type: str
    artifact_type: str | None
    size: int
    """Bytes of the manifest and of what it names."""
    at: float
    """Seconds since the epoch."""
    via: tuple[str, ...]
    """The source ids of the sites it has come through, ours the last."""
    version: str = ""
    """Of a tag."""
    subject: Digest | None = None
    """What a manifest refers to."""

    @property
    def reference(self) -> Reference:
        if self.tag is not None:
            return Tag(self.repository, self.tag)
        assert self.digest is not None, "what has no tag has a digest"
        return Pinned(self.repository, self.digest)

    @property
    def deleted(self) -> bool:
        return self.digest is None or not self.media_type


class Event(NamedTuple):
    """The sequence is the order in which things were written here."""

    sequence: int
    news: News


class Outbox:
    """Reads are synchronous within; writes raise `StoreFull`."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    async def events(self, limit: int) -> list[Event]:
        """The oldest that are not settled, in order."""
        return [_event(key, value) for key, value in islice(self._catalog.scan(_EVENT), limit)]

    async def settle(self, upto: int, put: Mapping[str, str], drop: Sequence[str]) -> None:
        """In one transaction: delete the events up to a sequence, that one included, and change rows of replication's.

        Raises ValueError for keys that are none of those.
        """
        wrong = [key for key in (*put, *drop) if not key.startswith(_OWN)]
        if wrong:
            raise ValueError(f"{wrong[0]!r} is no row of replication's: its keys begin with {', '.join(_OWN)}")

        def act(rows: Rows) -> None:
            edge = _key(upto)
            for key, _ in rows.all(_EVENT):
                if key > edge:
                    break
                rows.delete(key)
            for key in drop:
                rows.delete(key)
            for key, value in put.items():
                rows.put(key, value)

        await self._catalog.change(act)

    def rows(self, prefix: str) -> list[tuple[str, str]]:
        """Keys and values, in the order of the keys."""
        return list(self._catalog.scan(prefix))


def note(rows: Rows, news: News) -> None:
    """Write an event, inside the transaction of what it tells of."""
    number = int(rows.get(_LAST) or 0) + 1
    rows.put(_LAST, str(number))
    (registry, path), *rest = news
    rows.put(_key(number), json.dumps([registry, path, *rest]))


def _key(sequence: int) -> str:
    return f"{_EVENT}{sequence:020}"


def _event(key: str, value: str) -> Event:
    registry, path, tag, digest, media_type, artifact_type, size, at, via, version, subject = json.loads(value)
    named, refers_to = (Digest(text) if text is not None else None for text in (digest, subject))
    about = media_type, artifact_type, size, at, tuple(via), version, refers_to
    news = News(Repository(registry, path), tag, named, *about)
    return Event(int(key.removeprefix(_EVENT)), news)

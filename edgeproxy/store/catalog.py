"""What is known about the blobs: tags, links, sizes, uses, pins.

The rows are the truth and other processes may change them, so a fact read once is believed for one second at most.

    tag/<registry>/<repository> <tag>                -> [media type, digest, size, checked, changed, pushed here]
    link/<digest>/<kind>/<registry>/<repository>     -> [media type, size]        this repository shows this content
    blob/<digest>                                    -> [size, stored, used, uses, pinned, [digest it needs, ...]]
    referrers/<digest>/<registry>/<repository>       -> [checked, index]
    seen/<registry>/<repository>                     -> [whether upstream shows it to anybody, checked]
    keep/<digest>                                    -> until when it is not evicted: its manifest is to come
    refers/<subject>/<registry>/<repository> <digest> -> the descriptor of a referrer that was pushed here
    pin/<digest>/<registry>/<repository>             -> nothing: this repository keeps a manifest that was pushed here
    gone/<digest>/<kind>/<registry>/<repository>     -> when somebody deleted it here
    total/blobs                                      -> bytes of all blobs

Those of `store.versions` and `store.outbox` are described there.
A space ends the repository of a tag's key: it sorts before whatever a name may contain, so keys sort as names do.
"""

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from edgeproxy.interfaces import Clock, Held, Kind, StoreFull
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.manifest import Descriptor
from edgeproxy.oci.reference import Pinned, Repository, Tag
from edgeproxy.store.rows import Rows
from edgeproxy.store.threads import in_thread

log = logging.getLogger(__name__)
T = TypeVar("T")
_BELIEVED = 1.0
_MOST_FACTS = 100_000
_TOTAL = "total/blobs"


class TagRecord(NamedTuple):
    """What a tag named when upstream was last asked; `checked` and `changed` in seconds since the epoch."""

    descriptor: Descriptor
    checked: float
    changed: float
    pushed: bool = False
    """Whether it was pushed here: then nobody upstream knows better."""


class Seen(NamedTuple):
    """Whether upstream shows a repository to anybody; `checked` in seconds since the epoch, 0 where nobody asked."""

    public: bool
    checked: float


class Link(NamedTuple):
    """A repository shows this content."""

    kind: Kind
    repository: Repository
    descriptor: Descriptor


class Catalog:
    """Reads are synchronous and take tens of microseconds; writes go through one thread, each a transaction."""

    def __init__(self, directory: Path, clock: Clock) -> None:
        self._rows = Rows(directory)
        self._clock = clock
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="catalog")
        self._tags: dict[Tag, TagRecord | None] = {}
        self._links: dict[tuple[Kind, Pinned], Descriptor | None] = {}
        self._seen: dict[Repository, Seen | None] = {}
        self._believed_until = 0.0

    # reading

    def tag(self, tag: Tag) -> TagRecord | None:
        self._doubt()
        try:
            return self._tags[tag]
        except KeyError:
            value = self._rows.get(tag_key(tag))
            fact = self._tags[tag] = tag_record(value) if value else None
            return fact

    def link(self, kind: Kind, pinned: Pinned) -> Descriptor | None:
        """What this repository shows under this digest; `None` where that is not known."""
        self._doubt()
        try:
            return self._links[kind, pinned]
        except KeyError:
            value = self._rows.get(link_key(kind, pinned))
            fact = self._links[kind, pinned] = _descriptor(pinned.digest, value) if value else None
            return fact

    def seen(self, repository: Repository) -> Seen | None:
        self._doubt()
        try:
            return self._seen[repository]
        except KeyError:
            value = self._rows.get(f"seen/{repository}")
            fact = self._seen[repository] = Seen(*json.loads(value)) if value else None
            return fact

    def held(self, digest: Digest) -> Held | None:
        value = self._rows.get(f"blob/{digest}")
        return held_of(digest, value) if value else None

    def total(self) -> int:
        """Bytes of all blobs."""
        return int(self._rows.get(_TOTAL) or 0)

    def tags(self, repository: Repository) -> list[str]:
        """The tags of a repository that are known here, in order."""
        prefix = f"tag/{repository} "
        return [key.removeprefix(prefix) for key, _ in self.scan(prefix)]

    def repositories(
        self, after: str = "", limit: int = 100, shown: Callable[[Repository], bool] = lambda repository: True
    ) -> list[str]:
        """Up to `limit` names `registry/repository` greater than `after` with a tag here that are shown, in order."""
        found: list[str] = []
        edge = f"tag/{after}!" if after else ""  # '!' follows the space, and so every tag of `after`
        while len(found) < limit and (rows := self._rows.scan("tag/", edge, 1)):
            name = rows[0][0].removeprefix("tag/").partition(" ")[0]
            registry, _, path = name.partition("/")
            if shown(Repository(registry, path)):
                found.append(name)
            edge = f"tag/{name}!"
        return found

    def all_held(self, after: str = "", limit: int = 1000) -> list[Held]:
        """Up to `limit` blobs with a digest greater than `after`, in order."""
        rows = self._rows.scan("blob/", f"blob/{after}" if after else "", limit)
        return [held_of(Digest(key.removeprefix("blob/")), value) for key, value in rows]

    def all_tags(self) -> Iterator[tuple[Tag, TagRecord]]:
        """Those of all repositories, in order."""
        for key, value in self.scan("tag/"):
            name, _, tag = key.removeprefix("tag/").partition(" ")
            yield Tag(Repository(*name.split("/", 1)), tag), tag_record(value)

    def shown(self, digest: Digest) -> Iterator[tuple[Kind, Repository]]:
        """The repositories that show it, each with the kind that it is shown as."""
        for key, _ in self.scan(f"link/{digest}/"):
            _, _, kind, name = key.split("/", 3)
            yield "blobs" if kind == "blobs" else "manifests", Repository(*name.split("/", 1))

    def referrers(self, pinned: Pinned) -> tuple[float, bytes] | None:
        """When upstream was asked, and the index it answered."""
        value = self._rows.get(f"referrers/{pinned.digest}/{pinned.repository}")
        if value is None:
            return None
        checked, index = json.loads(value)
        return checked, index.encode()

    def is_deleted(self, tag: Tag) -> bool:
        """Whether it was pushed here and deleted since, so that upstream's tag of that name is another one."""
        value = self._rows.get(version_key(tag))
        return value is not None and json.loads(value)[1] is None

    def is_gone(self, kind: Kind, pinned: Pinned) -> bool:
        """Whether this repository showed it until somebody deleted it here."""
        return self._rows.get(gone_key(kind, pinned)) is not None

    def row(self, key: str) -> str | None:
        return self._rows.get(key)

    def page(self, prefix: str, after: str = "", limit: int = 1000) -> list[tuple[str, str]]:
        """Up to `limit` rows under a prefix whose key is greater than `after`, in order."""
        return self._rows.scan(prefix, after, limit)

    def scan(self, prefix: str) -> Iterator[tuple[str, str]]:
        """All rows under a prefix, in order."""
        return self._rows.all(prefix)

    # writing

    async def change(self, act: Callable[[Rows], T]) -> T:
        """Run `act` in the writer's thread as one transaction; whatever was believed is read again."""

        def transact() -> T:
            with self._rows.transaction():
                return act(self._rows)

        try:
            return await in_thread(self._writer, transact)
        finally:
            self._forget()

    async def put_tag(self, tag: Tag, record: TagRecord) -> None:
        """What upstream says; a tag that was pushed here, or deleted, stays as it is unless it was let go."""

        def act(rows: Rows) -> None:
            value = rows.get(tag_key(tag))
            ours = rows.get(version_key(tag)) is not None if value is None else tag_record(value).pushed
            if not ours:
                put_tag(rows, tag, record)

        await self._note(act)

    async def put_seen(self, repository: Repository, public: bool, checked: float) -> None:
        await self._note(lambda rows: rows.put(f"seen/{repository}", json.dumps([public, checked])))

    async def put_links(self, links: Sequence[Link]) -> None:
        await self._note(lambda rows: put_links(rows, links))

    async def put_referrers(self, pinned: Pinned, checked: float, index: bytes) -> None:
        value = json.dumps([checked, index.decode()])
        await self._note(lambda rows: rows.put(f"referrers/{pinned.digest}/{pinned.repository}", value))

    async def _note(self, act: Callable[[Rows], None]) -> None:
        """What upstream said is answered even where the disk has no room to remember it."""
        try:
            await self.change(act)
        except StoreFull as error:
            log.warning("the disk is full, and what upstream said is not remembered: %s", error)

    async def add_uses(self, uses: Mapping[Digest, tuple[int, float]]) -> None:
        """Add to each blob's uses, and set when it was used last. Raises `StoreFull`."""

        def add(rows: Rows) -> None:
            for digest, (count, used) in uses.items():
                if value := rows.get(f"blob/{digest}"):
                    held = held_of(digest, value)
                    put_held(rows, held, uses=held.uses + count, used=max(used, held.used))

        if uses:
            await self.change(add)

    async def pin(self, digest: Digest, pinned: bool) -> None:
        def act(rows: Rows) -> None:
            if value := rows.get(f"blob/{digest}"):
                put_held(rows, held_of(digest, value), pinned=pinned)

        await self.change(act)

    async def forget_links(self, digests: Iterable[Digest]) -> None:
        """Drop what repositories show under these digests, and their cached referrers."""

        def act(rows: Rows) -> None:
            for digest in digests:
                for family in ("link", "referrers"):
                    for key, _ in rows.scan(f"{family}/{digest}/"):
                        rows.delete(key)

        await self.change(act)

    async def forget_tags(self, checked_before: float) -> int:
        """Drop the tags whose manifest is not held and that nobody checked since; how many."""

        def act(rows: Rows) -> int:
            stale = [key for key, value in self.scan("tag/") if _is_forgotten(rows, value, checked_before)]
            for key in stale:
                rows.delete(key)
            return len(stale)

        return await self.change(act)

    async def forget_gone(self, before: float) -> int:
        """Drop what is remembered of content that was deleted before then; how many."""

        def act(rows: Rows) -> int:
            old = [key for key, since in rows.all("gone/") if float(since) < before]
            for key in old:
                rows.delete(key)
            return len(old)

        return await self.change(act)

    async def close(self) -> None:
        await in_thread(self._writer, self._rows.close)
        self._writer.shutdown()
        self._rows.close()

    def _doubt(self) -> None:
        now = self._clock.now()
        if (
            not now < self._believed_until <= now + _BELIEVED
            or len(self._links) + len(self._tags) + len(self._seen) > _MOST_FACTS
        ):
            self._forget()
            self._believed_until = now + _BELIEVED

    def _forget(self) -> None:
        self._tags.clear()
        self._links.clear()
        self._seen.clear()


def put_links(rows: Rows, links: Sequence[Link]) -> None:
    for link in links:
        key = link_key(link.kind, Pinned(link.repository, link.descriptor.digest))
        rows.put(key, json.dumps([link.descriptor.media_type, link.descriptor.size]))
        rows.delete(gone_key(link.kind, Pinned(link.repository, link.descriptor.digest)))


def put_held(rows: Rows, held: Held, **changed: Any) -> None:
    """Write a blob's row; the total is the business of `add_held` and `drop_held`."""
    row = [held.size, held.stored, held.used, held.uses, held.pinned, held.needs]
    for position, field in enumerate(("size", "stored", "used", "uses", "pinned", "needs")):
        row[position] = changed.get(field, row[position])
    rows.put(f"blob/{held.digest}", json.dumps(row))


def add_held(rows: Rows, held: Held) -> None:
    """Account for a blob that is here now; that it was pinned before still holds, and that it is a manifest."""
    value = rows.get(f"blob/{held.digest}")
    before = held_of(held.digest, value) if value else None
    if before is not None:
        held = replace(held, pinned=held.pinned or before.pinned, needs=held.needs or before.needs)
    put_held(rows, held)
    rows.put(_TOTAL, str(int(rows.get(_TOTAL) or 0) + held.size - (before.size if before else 0)))


def drop_held(rows: Rows, digest: Digest) -> int:
    """Delete a blob's row; the bytes it accounted for."""
    value = rows.get(f"blob/{digest}")
    if value is None:
        return 0
    size = held_of(digest, value).size
    rows.delete(f"blob/{digest}")
    rows.put(_TOTAL, str(int(rows.get(_TOTAL) or 0) - size))
    return size


def put_tag(rows: Rows, tag: Tag, record: TagRecord) -> None:
    rows.put(tag_key(tag), json.dumps([*record.descriptor, *record[1:]]))


def tag_key(tag: Tag) -> str:
    return f"tag/{tag.repository} {tag.name}"


def link_key(kind: Kind, pinned: Pinned) -> str:
    return f"link/{pinned.digest}/{kind}/{pinned.repository}"


def gone_key(kind: Kind, pinned: Pinned) -> str:
    return f"gone/{pinned.digest}/{kind}/{pinned.repository}"


def version_key(tag: Tag) -> str:
    return f"version/{tag.repository} {tag.name}"


def _descriptor(digest: Digest, value: str) -> Descriptor:
    media_type, size = json.loads(value)
    return Descriptor(media_type, digest, size)


def tag_record(value: str) -> TagRecord:
    media_type, digest, size, *rest = json.loads(value)
    return TagRecord(Descriptor(media_type, Digest(digest), size), *rest)


def _is_forgotten(rows: Rows, value: str, checked_before: float) -> bool:
    record = tag_record(value)
    return record.checked < checked_before and rows.get(f"blob/{record.descriptor.digest}") is None


def held_of(digest: Digest, value: str) -> Held:
    size, stored, used, uses, pinned, needs = json.loads(value)
    return Held(digest, size, stored, used, uses, pinned, tuple(map(Digest, needs)))

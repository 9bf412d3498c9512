"""What was pushed here, in the catalogue's rows: nobody upstream has to know of it."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from edgeproxy.interfaces import Held, TagState
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.manifest import Child, Descriptor
from edgeproxy.oci.reference import Pinned, Repository, Tag
from edgeproxy.store.catalog import (
    Catalog,
    Link,
    Seen,
    TagRecord,
    held_of,
    link_key,
    put_held,
    put_links,
    put_tag,
    tag_record,
)
from edgeproxy.store.outbox import News, note
from edgeproxy.store.removal import Removal, TagFate, keep, let_go, remove_blob, remove_manifest, remove_tag, told
from edgeproxy.store.rows import Rows
from edgeproxy.store.versions import Extent, Merge, known_state, put_state


class Publication(NamedTuple):
    """A manifest that was pushed: what it needs, what it is called, and what it refers to with which descriptor."""

    repository: Repository
    descriptor: Descriptor
    children: Sequence[Child]
    tag: Tag | None
    subject: Digest | None
    referrer: Mapping[str, Any]
    merge: Merge
    """What it makes of its tag."""
    via: tuple[str, ...] = ()
    """As in `store.outbox.News`, where there is no tag."""

    @property
    def extent(self) -> Extent:
        size = self.descriptor.size + sum(child.descriptor.size for child in self.children)
        return Extent(self.referrer.get("artifactType"), size)


class Published(NamedTuple):
    """Where something is `lacking`, nothing was done. `holds` is what the tag's state is now."""

    lacking: Sequence[Child]
    news: bool = False
    holds: TagState | None = None


class Pushed:
    """Writes are transactions, and raise `StoreFull`."""

    def __init__(self, catalog: Catalog, *, journal: bool = False) -> None:
        """`journal`: whether somebody reads the events of `store.outbox`; else none are written."""
        self._catalog = catalog
        self._journal = journal

    def tags(self, repository: Repository) -> list[str]:
        prefix = f"tag/{repository} "
        return [key.removeprefix(prefix) for key, value in self._catalog.scan(prefix) if tag_record(value).pushed]

    def referrers(self, subject: Pinned) -> list[Mapping[str, Any]]:
        """The descriptors of what was pushed with this subject."""
        prefix = f"refers/{subject.digest}/{subject.repository} "
        return [json.loads(value) for key, value in self._catalog.scan(prefix) if self._shows(subject, key, prefix)]

    def referring(self, subject: Pinned) -> list[Digest]:
        """The manifests that were pushed with this subject, and are still there."""
        return [Digest(found["digest"]) for found in self.referrers(subject)]

    def showing(self, blob: Digest) -> list[Repository]:
        """The repositories that show it."""
        return [repository for kind, repository in self._catalog.shown(blob) if kind == "blobs"]

    def media_type(self, manifest: Pinned) -> str:
        """Empty where its repository does not show it."""
        shown = self._catalog.link("manifests", manifest)
        return shown.media_type if shown else ""

    def kept(self, now: float) -> set[Digest]:
        """What waits for its manifest, and is not to be evicted."""
        rows = self._catalog.scan("keep/")
        return {Digest(key.removeprefix("keep/")) for key, until in rows if float(until) > now}

    async def announce(self, blob: Pinned, size: int, now: float, until: float) -> None:
        """A blob is about to be stored that its repository shows, and that stays until then."""
        await self._catalog.change(lambda rows: _show(rows, blob, size, now, until))

    async def mount(self, source: Pinned, target: Repository, now: float, until: float) -> bool:
        """Have another repository show a blob as well; False where the first does not, or it is not here."""

        def act(rows: Rows) -> bool:
            value = rows.get(f"blob/{source.digest}")
            if value is None or rows.get(link_key("blobs", source)) is None:
                return False
            _show(rows, Pinned(target, source.digest), held_of(source.digest, value).size, now, until)
            return True

        return await self._catalog.change(act)

    async def lacking(self, repository: Repository, children: Sequence[Child]) -> list[Child]:
        """Those that this repository does not show, or that are not here."""
        return await self._catalog.change(lambda rows: _lacking(rows, repository, children))

    async def publish(self, new: Publication, now: float) -> Published:
        """Show a manifest that is stored, keep it, and have its tag name it unless another state of that holds."""

        def act(rows: Rows) -> Published:
            value = rows.get(f"blob/{new.descriptor.digest}")
            if value is None:
                return Published([Child("manifests", new.descriptor)])
            lacking = _lacking(rows, new.repository, new.children)
            if lacking:
                return Published(lacking)
            held = held_of(new.descriptor.digest, value)
            if new.tag is None:
                return _publish(rows, new, held, now, self._journal)
            return _publish_tag(rows, new, new.tag, held, now, self._journal)

        return await self._catalog.change(act)

    async def remove_tag(self, tag: Tag, removal: Removal) -> TagFate:
        return await self._catalog.change(lambda rows: remove_tag(rows, tag, removal, self._journal))

    async def remove_manifest(self, pinned: Pinned, removal: Removal) -> bool:
        """False where its repository does not show it."""
        return await self._catalog.change(lambda rows: remove_manifest(rows, pinned, removal, self._journal))

    async def remove_blob(self, pinned: Pinned, now: float) -> bool:
        """False where its repository does not show it."""
        return await self._catalog.change(lambda rows: remove_blob(rows, pinned, now))

    async def let_go(self, is_over: Callable[[Tag, float], bool]) -> int:
        """How many tags are as upstream's from now on; as `store.removal.let_go`."""
        return await self._catalog.change(lambda rows: let_go(rows, is_over))

    async def forget_kept(self, now: float) -> None:
        """Drop the rows of what has waited long enough."""

        def act(rows: Rows) -> None:
            for key, until in list(self._catalog.scan("keep/")):
                if float(until) <= now:
                    rows.delete(key)

        await self._catalog.change(act)

    def _shows(self, subject: Pinned, key: str, prefix: str) -> bool:
        """Whether a referrer is still there: one that nobody kept may have been evicted."""
        referrer = Pinned(subject.repository, Digest(key.removeprefix(prefix)))
        return self._catalog.link("manifests", referrer) is not None


def _show(rows: Rows, blob: Pinned, size: int, now: float, until: float) -> None:
    _hide(rows, blob.repository)
    put_links(rows, [Link("blobs", blob.repository, Descriptor("", blob.digest, size))])
    rows.put(f"keep/{blob.digest}", str(until))


def _hide(rows: Rows, repository: Repository) -> None:
    """What is pushed is private, unless upstream, which nobody has asked yet, shows the repository to everybody."""
    if rows.get(f"seen/{repository}") is None:
        rows.put(f"seen/{repository}", json.dumps(Seen(public=False, checked=0.0)))


def _lacking(rows: Rows, repository: Repository, children: Sequence[Child]) -> list[Child]:
    def is_here(child: Child) -> bool:
        digest = child.descriptor.digest
        linked = rows.get(link_key(child.kind, Pinned(repository, digest)))
        return linked is not None and rows.get(f"blob/{digest}") is not None

    return [child for child in children if not is_here(child)]


def _publish(rows: Rows, new: Publication, held: Held, now: float, journal: bool) -> Published:
    """By digest: that is news where the repository did not keep it yet."""
    news = _keep(rows, new, held)
    if news and journal:
        media_type, extent = new.descriptor.media_type, new.extent
        note(rows, News(new.repository, None, held.digest, media_type, *extent, now, new.via, subject=new.subject))
    return Published([], news)


def _publish_tag(rows: Rows, new: Publication, tag: Tag, held: Held, now: float, journal: bool) -> Published:
    """The tag and its version last. What was known to be out of date is not kept."""
    known, extent = known_state(rows, tag)
    change = new.merge(known)
    holds = change.state if change else known
    names = holds is not None and holds.descriptor is not None and holds.descriptor.digest == held.digest
    if change is not None or names:
        _keep(rows, new, held)
    if names:
        extent = new.extent
        put_tag(rows, tag, TagRecord(new.descriptor, now, now, pushed=True))
    if change is not None:
        put_state(rows, tag, change.state, extent)
        if journal:
            note(rows, told(tag, change, extent, now))
    return Published([], change is not None, holds)


def _keep(rows: Rows, new: Publication, held: Held) -> bool:
    """Show a manifest, and pin it; whether that is new."""
    _hide(rows, new.repository)
    put_held(rows, held, pinned=True)
    put_links(rows, [Link("manifests", new.repository, new.descriptor)])
    if new.subject is not None:
        key = f"refers/{new.subject}/{new.repository} {new.descriptor.digest}"
        rows.put(key, json.dumps(new.referrer))
    return keep(rows, Pinned(new.repository, held.digest))

"""What was pushed here, in the catalogue's rows: nobody upstream has to know of it."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from edgeproxy.interfaces import Held, Kind, TagState
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
    tag_key,
    tag_record,
)
from edgeproxy.store.outbox import Event, put_event
from edgeproxy.store.rows import Rows
from edgeproxy.store.written import put_state, state_in

_MOST_TAGS = 100_000
"""Of one repository that are looked at when it is to be known whether a manifest still has a name."""


Decide = Callable[[TagState | None], tuple[TagState, bool]]
"""From what is known of a tag to what holds from now on, and whether that is news."""


Via = Callable[[], tuple[str, ...]]
"""The source ids of the sites that know of it already."""


class Publication(NamedTuple):
    """A manifest that was pushed: what it needs, what it is called, and what it refers to with which descriptor."""

    repository: Repository
    descriptor: Descriptor
    children: Sequence[Child]
    tag: Tag | None
    subject: Digest | None
    referrer: Mapping[str, Any]
    decide: Decide
    via: Via = tuple
    """Asked after `decide`."""


class Published(NamedTuple):
    """What became of a publication."""

    lacking: Sequence[Child] = ()
    """What was not here; then nothing was done."""
    state: TagState | None = None
    """What its tag names now."""
    news: bool = True


class Pushed:
    """Writes are transactions, and raise `StoreFull`."""

    def __init__(self, catalog: Catalog, *, journal: bool = False) -> None:
        """`journal`: whether somebody reads the journal, so that it has to be kept."""
        self._catalog = catalog
        self._journal = journal

    def tags(self, repository: Repository) -> list[str]:
        prefix = f"tag/{repository} "
        return [key.removeprefix(prefix) for key, value in self._catalog.scan(prefix) if tag_record(value).pushed]

    def names(self, manifest: Pinned) -> list[str]:
        """The tags by which its repository calls it, whoever gave them."""
        prefix = f"tag/{manifest.repository} "
        rows = self._catalog.scan(prefix)
        return [
            key.removeprefix(prefix) for key, value in rows if tag_record(value).descriptor.digest == manifest.digest
        ]

    def referrers(self, subject: Pinned) -> list[Mapping[str, Any]]:
        """The descriptors of what was pushed with this subject."""
        rows = self._catalog.scan(f"refers/{subject.digest}/{subject.repository} ")
        return [json.loads(value) for _, value in rows]

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
        """Show a manifest that is stored, and pin it; and its tag, unless what the tag names is newer."""

        def act(rows: Rows) -> Published:
            value = rows.get(f"blob/{new.descriptor.digest}")
            if value is None:
                return Published([Child("manifests", new.descriptor)])
            lacking = _lacking(rows, new.repository, new.children)
            if lacking:
                return Published(lacking)
            _publish(rows, new, held_of(new.descriptor.digest, value))
            state, news = _name(rows, new.tag, new.decide, now) if new.tag else (None, True)
            if news and self._journal:
                put_event(rows, _event(new, state, now))
            return Published([], state, news)

        return await self._catalog.change(act)

    async def delete_tag(self, tag: Tag, decide: Decide, now: float, via: Via | None) -> Published | None:
        """Forget a tag; `None` where there is none, and none was ever written here. `via` where another site did it."""

        def act(rows: Rows) -> Published | None:
            before = state_in(rows, tag)
            if via is None and (before is None or before.descriptor is None):
                # A copy of upstream's at most, of which nobody else has to hear.
                return Published() if rows.delete(tag_key(tag)) else None
            state, news = _name(rows, tag, decide, now)
            if news and self._journal:
                known_by, version = via() if via else (), str(state.version)
                put_event(rows, Event(tag.repository, tag.name, None, "", None, None, 0, now, known_by, version))
            if news and before is not None and before.descriptor is not None:
                _unpin(rows, Pinned(tag.repository, before.descriptor.digest))
            return Published([], state, news)

        return await self._catalog.change(act)

    async def delete(self, kind: Kind, pinned: Pinned, subject: Digest | None) -> bool:
        """Have a repository show this no more; False where it does not. `subject`: what a manifest refers to."""

        def act(rows: Rows) -> bool:
            shown = rows.delete(link_key(kind, pinned))
            if shown and kind == "manifests":
                rows.delete(f"refers/{subject}/{pinned.repository} {pinned.digest}")
                _unpin(rows, pinned)
            if shown and kind == "blobs":
                rows.delete(f"keep/{pinned.digest}")
            return shown

        return await self._catalog.change(act)

    async def forget_kept(self, now: float) -> None:
        """Drop the rows of what has waited long enough."""

        def act(rows: Rows) -> None:
            for key, until in list(self._catalog.scan("keep/")):
                if float(until) <= now:
                    rows.delete(key)

        await self._catalog.change(act)


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


def _publish(rows: Rows, new: Publication, held: Held) -> None:
    _hide(rows, new.repository)
    put_held(rows, held, pinned=True)
    put_links(rows, [Link("manifests", new.repository, new.descriptor)])
    if new.subject is not None:
        key = f"refers/{new.subject}/{new.repository} {new.descriptor.digest}"
        rows.put(key, json.dumps(new.referrer))


def _name(rows: Rows, tag: Tag, decide: Decide, now: float) -> tuple[TagState, bool]:
    """Have a tag name what it is decided to, with its version."""
    state, news = decide(state_in(rows, tag))
    if news:
        put_state(rows, tag, state)
        if state.descriptor is None:
            rows.delete(tag_key(tag))
        else:
            put_tag(rows, tag, TagRecord(state.descriptor, now, now, pushed=True))
    return state, news


def _unpin(rows: Rows, manifest: Pinned) -> None:
    """It may be evicted, unless another tag, or another repository, still has it."""
    shown = {key for key, _ in rows.scan(f"link/{manifest.digest}/manifests/")}
    named = any(
        tag_record(value).descriptor.digest == manifest.digest
        for _, value in rows.scan(f"tag/{manifest.repository} ", limit=_MOST_TAGS)
    )
    value = rows.get(f"blob/{manifest.digest}")
    if value is not None and not named and shown <= {link_key("manifests", manifest)}:
        put_held(rows, held_of(manifest.digest, value), pinned=False)


def _event(new: Publication, state: TagState | None, now: float) -> Event:
    size = new.descriptor.size + sum(child.descriptor.size for child in new.children)
    return Event(
        new.repository,
        new.tag.name if new.tag else None,
        new.descriptor.digest,
        new.descriptor.media_type,
        new.referrer.get("artifactType"),
        new.subject,
        size,
        now,
        new.via(),
        str(state.version) if state else "",
    )

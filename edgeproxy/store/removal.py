"""What deletions do to the rows: who shows content, and who keeps it. Its bytes leave later, by eviction."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from edgeproxy.interfaces import Kind, TagState
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.reference import Pinned, Repository, Tag
from edgeproxy.store.catalog import gone_key, held_of, link_key, put_held, put_tag, tag_key, tag_record
from edgeproxy.store.outbox import News, note
from edgeproxy.store.rows import Rows
from edgeproxy.store.versions import Change, Extent, Merge, known_state, put_state


class Removal(NamedTuple):
    """A tag, or a manifest, is to go."""

    merge: Merge
    """For a tag; for a manifest, what its deletion makes of each of its tags."""
    now: float
    forced: bool = False
    """Whether the deletion of a tag counts where nothing is known of it: it comes from another site."""
    via: tuple[str, ...] = ()
    """As in `store.outbox.News`, for a manifest."""
    subject: Digest | None = None
    """What a manifest refers to."""


class TagFate(NamedTuple):
    """What became of a tag; `holds` is what holds now, where sites know of it."""

    known: bool
    news: bool = False
    holds: TagState | None = None


def remove_tag(rows: Rows, tag: Tag, removal: Removal, journal: bool) -> TagFate:
    """A tag of upstream's only leaves; one that was pushed here stays as a state that names nothing."""
    value = rows.get(tag_key(tag))
    known, extent = known_state(rows, tag)
    if not removal.forced:
        if value is None:
            return TagFate(known=False)
        if not tag_record(value).pushed:
            rows.delete(tag_key(tag))
            return TagFate(known=True)
    change = removal.merge(known)
    if change is not None:
        _apply(rows, tag, change, extent, removal.now, journal)
    return TagFate(True, change is not None, change.state if change else known)


def remove_manifest(rows: Rows, pinned: Pinned, removal: Removal, journal: bool) -> bool:
    """With its tags in its repository; False where that does not show it."""
    if rows.get(link_key("manifests", pinned)) is None:
        return False
    was_kept = rows.get(pin_key(pinned)) is not None
    for name, pushed in list(_tags(rows, pinned)):
        tag = Tag(pinned.repository, name)
        remove_tag(rows, tag, removal._replace(forced=pushed), journal)
    if removal.subject is not None:
        rows.delete(f"refers/{removal.subject}/{pinned.repository} {pinned.digest}")
    rows.delete(f"referrers/{pinned.digest}/{pinned.repository}")
    release(rows, pinned)
    _hide(rows, "manifests", pinned, removal.now)
    if journal and was_kept:
        note(rows, News(pinned.repository, None, pinned.digest, "", None, 0, removal.now, removal.via))
    return True


def remove_blob(rows: Rows, pinned: Pinned, now: float) -> bool:
    """False where its repository does not show it."""
    if rows.get(link_key("blobs", pinned)) is None:
        return False
    _hide(rows, "blobs", pinned, now)
    if not rows.scan(f"link/{pinned.digest}/", limit=1):
        rows.delete(f"keep/{pinned.digest}")
    return True


def let_go(rows: Rows, is_over: Callable[[Tag, float], bool]) -> int:
    """Have tags that were pushed be as upstream's are, from when on is asked: by tag and by when it was changed."""
    gone = 0
    for key, value in list(rows.all("tag/")):
        record = tag_record(value)
        name, _, tag_name = key.removeprefix("tag/").partition(" ")
        tag = Tag(Repository(*name.split("/", 1)), tag_name)
        if record.pushed and is_over(tag, record.changed):
            put_tag(rows, tag, record._replace(pushed=False))
            release(rows, Pinned(tag.repository, record.descriptor.digest))
            gone += 1
    return gone


def keep(rows: Rows, pinned: Pinned) -> bool:
    """Have a repository keep a manifest; whether that is new."""
    key = pin_key(pinned)
    if rows.get(key) is not None:
        return False
    rows.put(key, "")
    return True


def release(rows: Rows, pinned: Pinned) -> None:
    """A manifest without a tag is no longer kept, nor what only it names; what something else needs stays with that."""
    pending = [pinned.digest]
    while pending:
        found = Pinned(pinned.repository, pending.pop())
        if rows.get(pin_key(found)) is None or any(pushed for _, pushed in _tags(rows, found)):
            continue
        rows.delete(pin_key(found))
        value = rows.get(f"blob/{found.digest}")
        if value is not None:
            held = held_of(found.digest, value)
            if not rows.scan(f"pin/{found.digest}/", limit=1):
                put_held(rows, held, pinned=False)
            pending.extend(held.needs)


def pin_key(pinned: Pinned) -> str:
    return f"pin/{pinned.digest}/{pinned.repository}"


def told(tag: Tag, change: Change, extent: Extent, now: float) -> News:
    """The event of what a tag has come to."""
    media_type, digest, _ = change.state.descriptor or ("", None, 0)
    version = str(change.state.version)
    return News(tag.repository, tag.name, digest, media_type, *extent, now, tuple(change.via), version)


def _apply(rows: Rows, tag: Tag, change: Change, extent: Extent, now: float, journal: bool) -> None:
    if change.state.descriptor is None:
        extent = Extent()
        named = _named(rows, tag)
        rows.delete(tag_key(tag))
        if named is not None and not change.conflict:
            release(rows, Pinned(tag.repository, named))
    put_state(rows, tag, change.state, extent)
    if journal:
        note(rows, told(tag, change, extent, now))


def _named(rows: Rows, tag: Tag) -> Digest | None:
    value = rows.get(tag_key(tag))
    return tag_record(value).descriptor.digest if value else None


def _tags(rows: Rows, pinned: Pinned) -> Iterator[tuple[str, bool]]:
    """The tags in its repository that name a manifest, and whether each was pushed here."""
    prefix = f"tag/{pinned.repository} "
    for key, value in rows.all(prefix):
        if pinned.digest in value and (record := tag_record(value)).descriptor.digest == pinned.digest:
            yield key.removeprefix(prefix), record.pushed


def _hide(rows: Rows, kind: Kind, pinned: Pinned, now: float) -> None:
    rows.delete(link_key(kind, pinned))
    rows.put(gone_key(kind, pinned), str(now))

"""What was pushed here, in the catalogue's rows: nobody upstream has to know of it."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from edgeproxy.interfaces import Held
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
from edgeproxy.store.rows import Rows


class Publication(NamedTuple):
    """A manifest that was pushed: what it needs, what it is called, and what it refers to with which descriptor."""

    repository: Repository
    descriptor: Descriptor
    children: Sequence[Child]
    tag: Tag | None
    subject: Digest | None
    referrer: Mapping[str, Any]


class Pushed:
    """Writes are transactions, and raise `StoreFull`."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def tags(self, repository: Repository) -> list[str]:
        prefix = f"tag/{repository} "
        return [key.removeprefix(prefix) for key, value in self._catalog.scan(prefix) if tag_record(value).pushed]

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

    async def publish(self, new: Publication, now: float) -> list[Child]:
        """Show a manifest that is stored, and pin it. Where something is lacking by now, that, and nothing is done."""

        def act(rows: Rows) -> list[Child]:
            own = Child("manifests", new.descriptor)
            value = rows.get(f"blob/{new.descriptor.digest}")
            if value is None:
                return [own]
            lacking = _lacking(rows, new.repository, new.children)
            if not lacking:
                _publish(rows, new, held_of(new.descriptor.digest, value), now)
            return lacking

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


def _publish(rows: Rows, new: Publication, held: Held, now: float) -> None:
    """The tag last."""
    _hide(rows, new.repository)
    put_held(rows, held, pinned=True)
    put_links(rows, [Link("manifests", new.repository, new.descriptor)])
    if new.subject is not None:
        key = f"refers/{new.subject}/{new.repository} {new.descriptor.digest}"
        rows.put(key, json.dumps(new.referrer))
    if new.tag is not None:
        put_tag(rows, new.tag, TagRecord(new.descriptor, now, now, pushed=True))

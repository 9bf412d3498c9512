"""What is held, image by image, for operators: whole or not, by platform; and what they want kept, or gone."""

import asyncio
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import inf

from edgeproxy.cache.answers import read
from edgeproxy.cache.chronicle import Chronicle, Event
from edgeproxy.cache.eviction import Room
from edgeproxy.interfaces import Clock, Held
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.errors import ManifestUnknown
from edgeproxy.oci.reference import Pinned, Reference, Tag
from edgeproxy.store.catalog import TagRecord, tag_key
from edgeproxy.store.disk import DiskStore
from edgeproxy.store.rows import Rows

_ANY = "*"


@dataclass(frozen=True, slots=True)
class Part:
    """A manifest of an image, with what it names."""

    digest: Digest
    platform: str
    """`linux/amd64`; empty where nothing says so."""
    bytes: int
    """Of what is here of it, itself included."""
    missing: Sequence[Digest]
    """What it names and is not here; itself alone where it is not."""


@dataclass(frozen=True, slots=True)
class Image:
    name: str
    digest: Digest
    bytes: int
    """Of what is here of it."""
    missing: int
    """How many blobs and manifests it names that are not here."""
    used: float
    pinned: bool
    pushed: bool
    checked: float
    """When upstream was asked last what the tag names."""


@dataclass(frozen=True, slots=True)
class About:
    """Times in seconds since the epoch; `None` where there is none."""

    digest: Digest
    used: float | None
    uses: int
    pinned: bool
    pushed: bool
    checked: float | None
    fresh_for: float | None
    """Seconds until upstream is asked again what the tag names."""
    stays_for: float | None
    """Seconds until it goes, however much room there is, unless it is asked for; `None` where it then stays."""


@dataclass(frozen=True, slots=True)
class Item:
    """A manifest or a blob of an image, and what happened to it since the start."""

    digest: Digest
    bytes: int
    here: bool
    pinned: bool
    used: float | None
    history: Sequence[Event]


class Holdings:
    """Reads the catalogue as it is asked; nothing is kept up to date for it."""

    def __init__(
        self,
        store: DiskStore,
        room: Room,
        clock: Clock,
        chronicle: Chronicle,
        fresh_for: Callable[[Tag], float | None],
    ) -> None:
        """`fresh_for`: seconds until upstream is asked about a tag again; `None` where it is not."""
        self._chronicle = chronicle
        self._fresh_for = fresh_for
        self._store = store
        self._catalog = store.catalog
        self._room = room
        self._clock = clock

    async def images(self, match: str = _ANY, after: str = "", limit: int = 100) -> list[Image]:
        """Up to `limit` images `registry/repository:tag` that match a shell pattern and come after a name, in order."""
        return await asyncio.to_thread(self._images, match, after, limit)

    def _images(self, match: str, after: str, limit: int) -> list[Image]:
        found: list[Image] = []
        for name, tag, record in self._tags():
            if name > after and fnmatchcase(name, match):
                found.append(self._image(name, tag, record))
        return sorted(found, key=lambda image: image.name)[:limit]

    async def parts(self, reference: Reference) -> list[Part]:
        """By platform, in the order of its index. Raises `ManifestUnknown` where it is not here."""
        digest = self._digest(reference)
        content = await self._store.open(digest)
        if content is None:
            raise ManifestUnknown(f"{reference} is not here")
        index = json.loads(read(content))
        platforms = {str(each.get("digest")): _platform(each) for each in index.get("manifests") or []}
        parts = list(map(Digest, platforms)) or [digest]
        return [Part(part, platforms.get(part, ""), *self._below(part)) for part in parts]

    async def about(self, reference: Reference) -> About:
        """The image as a whole. Raises `ManifestUnknown`."""
        digest = self._digest(reference)
        held = self._catalog.held(digest)
        record = self._catalog.tag(reference) if isinstance(reference, Tag) else None
        return About(
            digest,
            held.used if held else None,
            held.uses if held else 0,
            bool(held and held.pinned),
            bool(record and record.pushed),
            record.checked if record else None,
            self._fresh_for(reference) if isinstance(reference, Tag) else None,
            await self._stays_for(held) if held else None,
        )

    async def _stays_for(self, held: Held) -> float | None:
        stays = inf if held.pinned else await self._room.stays(held.digest)
        return None if stays == inf else max(0.0, held.used + stays - self._clock.now())

    async def items(self, reference: Reference) -> list[Item]:
        """All that it takes, its own manifest first. Raises `ManifestUnknown`."""
        return await asyncio.to_thread(self._items, self._digest(reference))

    def _items(self, root: Digest) -> list[Item]:
        found, pending = dict[Digest, Item](), [root]
        while pending:
            digest = pending.pop(0)
            if digest in found:
                continue
            held = self._catalog.held(digest)
            kept = bool(held and held.pinned)
            found[digest] = Item(
                digest, held.size if held else 0, held is not None, kept, held.used if held else None,
                self._chronicle.of(digest),
            )  # fmt: skip
            pending.extend(held.needs if held else ())
        return list(found.values())

    async def pin(self, reference: Reference, pinned: bool) -> Digest:
        """Keep what it names now, or no longer. Raises `ManifestUnknown`."""
        digest = self._digest(reference)
        if self._catalog.held(digest) is None:
            raise ManifestUnknown(f"{reference} is not here: prefetch it first")
        await self._catalog.pin(digest, pinned)
        return digest

    async def purge(self, match: str, *, dry: bool) -> tuple[list[str], int]:
        """The images that match and go, and the bytes they free; what is pinned or was pushed here stays."""
        chosen = [image for image in await self.images(match, limit=1_000_000) if not image.pinned and not image.pushed]
        names = {image.name for image in chosen}
        kept = {record.descriptor.digest for name, _, record in self._tags() if name not in names}
        roots = {image.digest for image in chosen} - kept
        freed = await self._room.remove(roots, dry=dry)
        if not dry:
            await self._forget(names)
        return sorted(names), freed

    async def _forget(self, names: Collection[str]) -> None:
        keys = [tag_key(tag) for name, tag, _ in self._tags() if name in names]

        def drop(rows: Rows) -> None:
            for key in keys:
                rows.delete(key)

        await self._catalog.change(drop)

    def _tags(self) -> Iterator[tuple[str, Tag, TagRecord]]:
        return ((str(tag), tag, record) for tag, record in self._catalog.all_tags())

    def _digest(self, reference: Reference) -> Digest:
        if isinstance(reference, Pinned):
            return reference.digest
        record = self._catalog.tag(reference)
        if record is None:
            raise ManifestUnknown(f"{reference} is not here")
        return record.descriptor.digest

    def _image(self, name: str, tag: Tag, record: TagRecord) -> Image:
        digest = record.descriptor.digest
        held = self._catalog.held(digest)
        size, missing = self._below(digest)
        used, pinned = (held.used, held.pinned) if held else (0.0, False)
        return Image(name, digest, size, len(missing), used, pinned, record.pushed, record.checked)

    def _below(self, root: Digest) -> tuple[int, list[Digest]]:
        """Bytes of what is here of it, and what is not."""
        size, missing, seen, pending = 0, list[Digest](), set[Digest](), [root]
        while pending:
            digest = pending.pop()
            if digest in seen:
                continue
            seen.add(digest)
            held = self._catalog.held(digest)
            if held is None:
                missing.append(digest)
            else:
                size += held.size
                pending.extend(held.needs)
        return size, missing


def _platform(item: Mapping[str, object]) -> str:
    platform = item.get("platform")
    words = platform if isinstance(platform, dict) else {}
    return "/".join(str(words[key]) for key in ("os", "architecture", "variant") if words.get(key))

"""What is known of the objects of a site: updated by each happening, in a time that does not grow with what is known.

An object is a blob or a manifest. A line is a row of releases: tags of one repository that differ in digits only.
A burst is a run of requests for one thing with no more than ten minutes between two of them: a roll-out, or a job.
"""

import zlib
from array import array
from collections.abc import Iterable, Sequence
from math import exp2
from typing import Any

import numpy as np

from edgeproxy.interfaces import Access, Checked, Contents, Happening, Held
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.manifest import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST
from edgeproxy.oci.reference import Tag
from edgeproxy.oci.releases import shape_of
from edgeproxy.predict.parts import Parts
from edgeproxy.predict.table import Keys, Table, stamp

SLOWEST = 4 * 86400.0
"""Half-life of the slowest counters, in seconds; each quicker one has an eighth of it."""
BURST = 600.0
LAYER, CONFIG, MANIFEST, INDEX = 0, 1, 2, 3
_KINDS = {OCI_INDEX: INDEX, DOCKER_LIST: INDEX, OCI_MANIFEST: MANIFEST, DOCKER_MANIFEST: MANIFEST}
_CLIENTS = 65536
_OBJECTS = {
    "size": "f", "kind": "B", "first": "I", "last": "I", "gap": "f", "start": "I", "lull1": "f", "lull2": "f",
    "lull3": "f", "burst": "f", "fast": "f", "middle": "f", "slow": "f", "uses": "f", "crowd": "Q", "regular": "f",
    "cold": "f", "moves": "f", "mentioned": "I", "mention": "I", "quiet": "f", "named": "f", "often": "f",
    "line": "i", "release": "f", "image": "i", "place": "B", "parts": "B", "images": "f", "current": "f", "left": "I",
    "released": "I", "parts_at": "I",
}  # fmt: skip
_LINES = {
    "last": "I", "middle": "f", "slow": "f", "releases": "f", "released": "I", "rhythm": "f", "crowd": "Q",
    "former": "Q",
}  # fmt: skip
_ALGORITHM, _KEYED, _SHORTEST = len("sha256:"), 22, 71
"""Letters of a digest: before its digits, with those that make its key, and in all, of any at least."""
_CHUNK = 1024
"""Keys that are worked out at once: text of more is so large that its room comes anew from the system each time."""
_NONE = frozenset[int]()
_TAGS = {"line": "i", "shown": "i"}
"""By a tag's hash: its line, and the slot of the manifest that it showed last, or -1."""


def key_of(digest: Digest) -> int:
    """Sixty bits of it: enough to tell apart what one site sees."""
    return int(digest[_ALGORITHM:_KEYED], 16)


def keys_of(digests: Sequence[Digest]) -> Keys:
    """The same of each, worked out for many at once."""
    some = [_keys_of(digests[at : at + _CHUNK]) for at in range(0, len(digests), _CHUNK)]
    return np.concatenate([np.zeros(0, np.int64), *some])


def _keys_of(digests: Sequence[Digest]) -> Keys:
    text = "".join(digests)
    if len(text) != _SHORTEST * len(digests):
        text = "".join([digest[:_SHORTEST] for digest in digests])
    whole = np.frombuffer(text.encode(), np.uint8).reshape(-1, _SHORTEST)
    letters = whole[:, _ALGORITHM - 1 : _KEYED].ravel()
    numbers = (letters & 15) + 9 * (letters >> 6)  # as ASCII has 0 to 9, and a to f
    numbers[:: _KEYED - _ALGORITHM + 1] = 0
    return (numbers[::2] << 4 | numbers[1::2]).view(">i8").astype(np.int64)


class Ledger:
    """`limit` objects are known at most: those asked for last. Times in it are stamps."""

    def __init__(self, limit: int = 400_000) -> None:
        self.objects = Table(_OBJECTS, limit)
        self.lines = Table(_LINES, max(1024, limit // 8))
        self.parts = Parts(self.objects)
        self._tags = Table(_TAGS, max(1024, limit))
        self._current: dict[int, set[int]] = {}
        """By line, the objects that its newest release needs."""
        self._clients: dict[str, array[Any]] = {
            "last": array("I", bytes(4 * _CLIENTS)),
            "cold": array("f", bytes(4 * _CLIENTS)),
            "moves": array("f", bytes(4 * _CLIENTS)),
            "place": array("q", bytes(8 * _CLIENTS)),
        }

    def observe(self, happening: Happening) -> int:
        """Take it down. The slot of the object that it is about, or -1."""
        if isinstance(happening, Access):
            return self._asked(happening) if happening.digest is not None else -1
        if isinstance(happening, Contents):
            return self._names(happening)
        return self._checked(happening)

    def find(self, digest: Digest) -> int:
        """Its slot, or -1 where nothing is known of it."""
        return self.objects.find(key_of(digest))

    def coldness(self, client: int) -> float:
        """Share of its latest requests that were for what nobody had wanted for a day."""
        return float(self._clients["cold"][client & (_CLIENTS - 1)])

    def expect(self, digest: Digest, size: int, now: float) -> None:
        """It is here, and nobody has asked for it."""
        self._slot(digest, size, LAYER, stamp(now))

    def adopt(self, held: Held) -> int:
        """Its slot; what is held and was never observed is taken as used when the catalogue says so."""
        slot = self.find(held.digest)
        if slot >= 0:
            return slot
        used = stamp(held.used)
        slot = self._slot(held.digest, held.size, MANIFEST if held.needs else LAYER, used)
        columns = self.objects.columns
        columns["first"][slot], columns["last"][slot] = stamp(held.stored), used
        columns["start"][slot] = used
        columns["uses"][slot] = columns["slow"][slot] = held.uses
        return slot

    def _slot(self, digest: Digest, size: int, kind: int, now: int) -> int:
        objects = self.objects
        key = key_of(digest)
        slot = objects.find(key)
        if slot >= 0:
            objects.seen[slot] = now
            return slot
        if objects.full:
            self._forget()
        slot = objects.take(key, now)
        columns = objects.columns
        columns["size"][slot] = size
        columns["kind"][slot] = kind
        columns["first"][slot] = now
        columns["line"][slot] = columns["image"][slot] = -1
        columns["released"][slot] = now
        return slot

    def _forget(self) -> None:
        slots = self.objects.drop_oldest()
        gone = set(slots.tolist())
        self.parts.forget(slots)
        self._tags.forget("shown", slots)
        self.objects.forget("image", slots)
        for needed in self._current.values():
            needed -= gone

    def _asked(self, access: Access) -> int:
        assert access.digest is not None
        now = stamp(access.time)
        kind = MANIFEST if access.kind == "manifests" else LAYER
        slot = self._slot(access.digest, access.size, kind, now)
        columns = self.objects.columns
        if access.size:
            columns["size"][slot] = access.size
        cold, moves = self._client(access, columns["last"][slot], now)
        if access.kind == "manifests":
            self._pulled(access, slot, now)
        if access.method == "GET":
            self._used(slot, now, 1 << (access.client & 63))
            columns["cold"][slot], columns["moves"][slot] = cold, moves
            if cold < 0.5:
                columns["regular"][slot] += 1
        return slot

    def _client(self, access: Access, last: int, now: int) -> tuple[float, float]:
        """How much the client asks for what nobody wanted for a day, and how many repositories it visits an hour."""
        client = access.client & (_CLIENTS - 1)
        columns = self._clients
        place = hash(access.reference.repository.path)
        moves = columns["moves"][client] * exp2(-max(0, now - columns["last"][client]) / 3600.0)
        if place != columns["place"][client]:
            columns["place"][client] = place
            moves += 1.0
        columns["moves"][client] = moves
        columns["last"][client] = now
        cold = columns["cold"][client]
        cold += ((now - last > 86400.0) - cold) / 32.0
        columns["cold"][client] = cold
        return cold, moves

    def _used(self, slot: int, now: int, client: int) -> None:
        columns = self.objects.columns
        last = columns["last"][slot]
        since = now - last if now > last else 0
        slow = exp2(-since / SLOWEST)
        middle = slow**8
        columns["slow"][slot] = columns["slow"][slot] * slow + 1.0
        columns["middle"][slot] = columns["middle"][slot] * middle + 1.0
        columns["fast"][slot] = columns["fast"][slot] * middle**8 + 1.0
        columns["uses"][slot] += 1.0
        columns["crowd"][slot] |= client
        columns["last"][slot] = now
        if not last:
            columns["start"][slot] = now
            columns["burst"][slot] = 1.0
            return
        columns["gap"][slot] = max(1, since)
        if since > BURST:
            columns["lull3"][slot] = columns["lull2"][slot]
            columns["lull2"][slot] = columns["lull1"][slot]
            columns["lull1"][slot] = now - columns["start"][slot]
            columns["start"][slot] = now
            columns["burst"][slot] = 0.0
        columns["burst"][slot] += 1.0

    def _pulled(self, access: Access, slot: int, now: int) -> None:
        """A manifest was asked for: what it names is in use, whether or not the client lacks it."""
        objects = self.objects.columns
        line = objects["line"][slot]
        if isinstance(access.reference, Tag):
            line = self._shows(access.reference, slot, now)
        if line >= 0:
            lines = self.lines.columns
            slow = exp2(-max(0, now - lines["last"][line]) / SLOWEST)
            lines["slow"][line] = lines["slow"][line] * slow + 1.0
            lines["middle"][line] = lines["middle"][line] * slow**8 + 1.0
            lines["last"][line] = now
            lines["crowd"][line] |= 1 << (access.client & 63)
        parts = self.parts.of(slot)
        self._mention((slot, *parts), now)
        if line >= 0 and not self._current.get(line, _NONE).issuperset(parts):
            newest = self.lines.columns["releases"][line]
            for part in parts if objects["release"][slot] == newest else ():
                self._needs(line, part)

    def _mention(self, slots: Iterable[int], now: int) -> None:
        columns = self.objects.columns
        mentioned, mention = columns["mentioned"], columns["mention"]
        often, named = columns["often"], columns["named"]
        before, slow, middle = 0, 1.0, 1.0
        for slot in slots:
            since = now - mentioned[slot]
            if since > 0:
                if since != before:  # what one image names was mostly mentioned at once
                    before, slow = since, exp2(-since / SLOWEST)
                    middle = slow**8
                often[slot] = often[slot] * slow + 1.0
                named[slot] = named[slot] * middle + 1.0
                if since > BURST:
                    columns["quiet"][slot] = min(now - mention[slot], 1e9)
                    mention[slot] = now
                mentioned[slot] = now
            else:
                often[slot] += 1.0
                named[slot] += 1.0

    def _tag(self, tag: Tag, now: int) -> int:
        """The tag's slot among the tags; its line is known afterwards."""
        tags, known = self._tags, hash(tag)
        slot = tags.find(known)
        if slot < 0:
            if tags.full:
                tags.drop_oldest()
            slot = tags.take(known, now)
            tags.columns["line"][slot] = tags.columns["shown"][slot] = -1
        tags.seen[slot] = now
        line = tags.columns["line"][slot]
        if line < 0:
            line = tags.columns["line"][slot] = self._line(tag, now)
        self.lines.seen[line] = now
        return slot

    def _line(self, tag: Tag, now: int) -> int:
        key = hash_of(f"{tag.repository}:{shape_of(tag.name)}")
        line = self.lines.find(key)
        if line < 0:
            if self.lines.full:
                self._forget_lines()
            line = self.lines.take(key, now)
            self.lines.columns["last"][line] = now
        return line

    def _forget_lines(self) -> None:
        gone = self.lines.drop_oldest()
        self._tags.forget("line", gone)
        self.objects.forget("line", gone)
        for line in gone.tolist():
            self._current.pop(line, None)

    def _shows(self, tag: Tag, slot: int, now: int) -> int:
        """The tag's line. Where the tag has moved, or the manifest was in another line or none, this is a release."""
        tags, known = self._tags.columns, self._tag(tag, now)
        line: int = tags["line"][known]
        moved = tags["shown"][known] not in (-1, slot)
        tags["shown"][known] = slot
        if moved or self.objects.columns["line"][slot] != line:
            self._release(line, slot, now)
        return line

    def _release(self, line: int, slot: int, now: int) -> None:
        objects, lines = self.objects.columns, self.lines.columns
        if lines["releases"][line]:
            since = max(1, now - lines["released"][line])
            lines["rhythm"][line] = since if not lines["rhythm"][line] else 0.7 * lines["rhythm"][line] + 0.3 * since
        lines["releases"][line] += 1.0
        lines["released"][line] = now
        lines["former"][line] = lines["crowd"][line]
        lines["crowd"][line] = 0
        for part in self._current.pop(line, ()):
            objects["current"][part] -= 1.0
            objects["left"][part] = now
        self._place(slot, line, now)

    def _place(self, slot: int, line: int, now: int) -> None:
        objects = self.objects.columns
        objects["line"][slot] = line
        objects["release"][slot] = self.lines.columns["releases"][line]
        objects["released"][slot] = now
        self._needs(line, slot)
        for part in self.parts.of(slot):
            self._place_part(part, slot, now)

    def _place_part(self, part: int, image: int, now: int) -> None:
        objects = self.objects.columns
        objects["line"][part] = objects["line"][image]
        objects["release"][part] = objects["release"][image]
        objects["released"][part] = now
        objects["image"][part] = image
        for layer in self.parts.of(part) if objects["kind"][image] == INDEX else ():
            self._place_part(layer, part, now)

    def _needs(self, line: int, slot: int) -> None:
        needed = self._current.setdefault(line, set())
        if slot not in needed:
            needed.add(slot)
            self.objects.columns["current"][slot] += 1.0

    def _names(self, contents: Contents) -> int:
        now = stamp(contents.time)
        index = _KINDS.get(contents.manifest.media_type, MANIFEST) == INDEX
        slot = self._slot(contents.manifest.digest, contents.manifest.size, INDEX if index else MANIFEST, now)
        objects = self.objects.columns
        objects["kind"][slot] = INDEX if index else MANIFEST
        if self.parts.known(slot):
            return slot
        parts = array("i")
        for place, named in enumerate(contents.names):
            part = self._slot(named.digest, named.size, _kind(named.media_type), now)
            objects["kind"][part] = _kind(named.media_type)
            objects["place"][part] = min(place, 255)
            objects["parts"][part] = min(len(contents.names), 255)
            objects["images"][part] += 1.0
            parts.append(part)
        self.parts.put(slot, parts)
        for part in parts:
            if objects["line"][slot] >= 0 or objects["image"][part] < 0:
                self._place_part(part, slot, now)
        if objects["line"][slot] >= 0:
            for part in parts:
                self._needs(objects["line"][slot], part)
        return slot

    def _checked(self, checked: Checked) -> int:
        if checked.descriptor is None:
            return -1
        slot = self.find(checked.descriptor.digest)
        if slot >= 0 and self.parts.known(slot):  # else what it shares with the former release would be taken for left
            self._shows(checked.tag, slot, stamp(checked.time))
        return slot


def hash_of(text: str) -> int:
    """The same in every process, other than `hash`."""
    return zlib.crc32(text.encode())


def _kind(media_type: str) -> int:
    if media_type in _KINDS:
        return _KINDS[media_type]
    return CONFIG if "config" in media_type or media_type.endswith("image.v1+json") else LAYER

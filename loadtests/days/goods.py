"""What a made-up site asks for, made of real bytes: smaller than it says there, with digests that are right."""

import json
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from edgeproxy.interfaces import Access, Contents, Happening
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.manifest import Descriptor
from edgeproxy.oci.reference import Pinned, Tag

_LEAST, _LARGEST = 64, 1 << 25
"""Bytes of a blob."""
_MARK = 16
"""Bytes at its beginning that no other blob has."""


class Made(NamedTuple):
    """How a blob's bytes are come by again: what is at its beginning, and how many there are."""

    mark: bytes
    size: int


@dataclass
class Goods:
    """All that upstream has, and what its tags name at the moment."""

    scale: float
    """Bytes here of a byte there; manifests are what JSON makes of them."""
    named: dict[Tag, Digest] = field(default_factory=dict)
    described: dict[Digest, Descriptor] = field(default_factory=dict)
    """By the digests that are right."""
    _made: dict[Digest, Made] = field(default_factory=dict)
    _manifests: dict[Digest, bytes] = field(default_factory=dict)
    _ours: dict[Digest, Descriptor] = field(default_factory=dict)
    """By the digests that the site made up."""
    _noise: bytes = field(default_factory=lambda: random.Random(0).randbytes(2 * _LARGEST))

    def body(self, digest: Digest) -> bytes:
        """Made anew at every call. Raises KeyError."""
        manifest = self._manifests.get(digest)
        return self._bytes(self._made[digest]) if manifest is None else manifest

    def translated(self, happenings: Iterable[Happening]) -> Iterator[Happening]:
        """The same, about what there is here."""
        for each in happenings:
            if isinstance(each, Contents):
                yield self._manifest(each)
            elif isinstance(each, Access):
                yield self._access(each)

    def _access(self, access: Access) -> Access:
        assert access.digest is not None
        about, reference = self._ours[access.digest], access.reference
        if isinstance(reference, Pinned):
            reference = Pinned(reference.repository, about.digest)
        return access._replace(reference=reference, digest=about.digest, size=about.size, sent=about.size)

    def _manifest(self, contents: Contents) -> Contents:
        names = tuple(self._blob(named) for named in contents.names)
        config, *layers = ({"mediaType": one.media_type, "digest": one.digest, "size": one.size} for one in names)
        media_type = contents.manifest.media_type
        about = {"schemaVersion": 2, "mediaType": media_type, "config": config, "layers": layers}
        body = json.dumps({**about, "annotations": {"made.up": contents.manifest.digest}}).encode()
        manifest = Descriptor(media_type, Digest.of(body), len(body))
        self._manifests[manifest.digest] = body
        self._ours[contents.manifest.digest] = self.described[manifest.digest] = manifest
        return Contents(contents.time, manifest, names)

    def _blob(self, there: Descriptor) -> Descriptor:
        known = self._ours.get(there.digest)
        if known is None:
            size = min(_LARGEST, max(_LEAST, int(there.size * self.scale)))
            made = Made(len(self._made).to_bytes(_MARK, "big"), size)
            known = Descriptor(there.media_type, Digest.of(self._bytes(made)), size)
            self._ours[there.digest] = self.described[known.digest] = known
            self._made[known.digest] = made
        return known

    def _bytes(self, made: Made) -> bytes:
        start = _MARK + int.from_bytes(made.mark, "big") * 4099 % _LARGEST
        return made.mark + self._noise[start : start + made.size - _MARK]

"""Content addresses (OCI image-spec, descriptor.md#digests)."""

import hashlib
import re
from typing import Protocol, Self

from edgeproxy.oci.errors import DigestInvalid

_HEX_LENGTH = {"sha256": 64, "sha512": 128}
_GRAMMAR = re.compile(r"[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[a-zA-Z0-9=_-]+")
_HEX = re.compile(r"[0-9a-f]+")


class Hasher(Protocol):
    """The part of hashlib's objects that is used here."""

    def update(self, data: bytes | memoryview, /) -> None: ...
    def hexdigest(self) -> str: ...
    def copy(self) -> "Hasher": ...


class Digest(str):
    """`algorithm:hex` of a registered algorithm (sha256, sha512); a `Digest` is always well formed."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raise `DigestInvalid` unless `text` is a digest of a registered algorithm."""
        algorithm, _, encoded = text.partition(":")
        length = _HEX_LENGTH.get(algorithm)
        if length is None:
            if not _GRAMMAR.fullmatch(text):
                raise DigestInvalid(f"{text[:100]!r} is not a digest: expected sha256:<64 hex digits>")
            raise DigestInvalid(f"unsupported digest algorithm {algorithm[:40]!r}: use sha256 or sha512")
        if len(encoded) != length or not _HEX.fullmatch(encoded):
            raise DigestInvalid(f"{text[:100]!r} is not a digest: {algorithm} takes {length} hex digits")
        return cls(text)

    @classmethod
    def of(cls, content: bytes, algorithm: str = "sha256") -> Self:
        return cls(f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}")

    @property
    def algorithm(self) -> str:
        return self.partition(":")[0]

    @property
    def hex(self) -> str:
        return self.partition(":")[2]

    def hasher(self) -> Hasher:
        """A fresh hash of this digest's algorithm."""
        return hashlib.new(self.algorithm)

    def matches(self, hasher: Hasher) -> bool:
        return hasher.hexdigest() == self.hex

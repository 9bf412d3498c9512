"""The hot tier: small blobs by digest, the least recently used leave first."""

from edgeproxy.oci.digest import Digest

_OVERHEAD = 250
"""Bytes that an entry costs beside its body: the key, the objects' headers, the table's slot."""


class MemoryTier:
    """At most `budget` bytes. Blobs never change, so an entry can be absent but never wrong."""

    def __init__(self, budget: int, largest: int) -> None:
        self._budget = budget
        self.largest = min(largest, budget - _OVERHEAD)
        """Bytes of the largest blob that is taken."""
        self._bodies: dict[Digest, bytes] = {}
        self.size = 0

    def get(self, digest: Digest) -> bytes | None:
        body = self._bodies.pop(digest, None)
        if body is not None:
            self._bodies[digest] = body  # last in the order of the dict: most recently used
        return body

    def put(self, digest: Digest, body: bytes) -> None:
        if len(body) > self.largest or digest in self._bodies:
            return
        self._bodies[digest] = body
        self.size += len(body) + _OVERHEAD
        while self.size > self._budget:
            self.drop(next(iter(self._bodies)))

    def drop(self, digest: Digest) -> None:
        body = self._bodies.pop(digest, None)
        if body is not None:
            self.size -= len(body) + _OVERHEAD

"""One blob to any registry, in pieces one after another (OCI distribution-spec, spec.md#pushing-a-blob-in-chunks)."""

import asyncio
from collections.abc import AsyncIterator

from edgeproxy.interfaces import BlobParcel, Content, Link, Urgency
from edgeproxy.oci.errors import BlobUploadInvalid, BlobUploadUnknown, DigestInvalid, RangeInvalid, Unavailable
from edgeproxy.remote.packing import read_at
from edgeproxy.remote.pushing import Answer, Pushing, Slices
from edgeproxy.remote.shipping import Retries, finish

_PIECE = 16 * 1024 * 1024
"""Bytes of a blob in one request."""
_SLICE = 256 * 1024
"""Bytes that are in memory."""
SHOWN = (200, 301, 302, 303, 307, 308)
"""What a HEAD of a blob that is there is answered with: some registries keep them elsewhere."""


class _Pieces:
    def __init__(self, pushing: Pushing, parcel: BlobParcel, base: str, content: Content, link: Link) -> None:
        self._pushing = pushing
        self._parcel = parcel
        self._base = base
        self._content = content
        self._link = link
        self.retries = Retries(pushing.clock)
        """Of the upload that is sent."""
        self.sent = 0
        """Bytes that went over the line."""

    async def send(self) -> None:
        """By an upload of its own, from beginning to end. Raises the `Refusal` after which it cannot go on."""
        repository, size = self._parcel.blob.repository, self._parcel.size
        answer = await self._pushing.ask("POST", f"{self._base}/blobs/uploads/", repository)
        self._pushing.check(answer, 202)
        location, offset, broken = self._pushing.place(answer), 0, False
        least = answer.headers.get("OCI-Chunk-Min-Length", "")
        piece = max(_PIECE, int(least) if least.isdecimal() else 0)
        retries = self.retries = Retries(self._pushing.clock)
        while offset < size:
            try:
                if broken:
                    answer = await self._pushing.ask("GET", location, repository)
                    self._pushing.check(answer, 200, 202, 204)
                    before, offset, broken = offset, _end_of(answer.headers.get("Range", "")), False
                else:
                    answer = await self._piece(location, offset, min(piece, size - offset))
                    before, offset = offset, min(size, offset + piece)
                if offset > before:
                    retries.went_well()
                location = self._pushing.place(answer)
            except (Unavailable, RangeInvalid) as refusal:
                await retries.after(refusal)
                broken = True
        await finish(self._pushing, self._parcel, location)

    async def _piece(self, location: str, start: int, size: int) -> Answer:
        headers = {"Content-Type": "application/octet-stream", "Content-Range": f"{start}-{start + size - 1}"}
        body = Slices(size, lambda: self._slices(start, start + size))
        answer = await self._pushing.ask("PATCH", location, self._parcel.blob.repository, headers, body)
        self._pushing.check(answer, 202, 204)
        return answer

    async def _slices(self, start: int, stop: int) -> AsyncIterator[bytes]:
        for position in range(start, stop, _SLICE):
            part = await asyncio.to_thread(read_at, self._content, position, min(_SLICE, stop - position))
            await self._link.admit(self._pushing.name, len(part), Urgency.REPLICATION)
            self.sent += len(part)
            yield part

    async def is_there(self) -> bool:
        """An answer that says so may have been lost on the line."""
        blob = self._parcel.blob
        answer = await self._pushing.ask("HEAD", f"{self._base}/blobs/{blob.digest}", blob.repository)
        return answer.status in SHOWN


async def in_pieces(pushing: Pushing, parcel: BlobParcel, base: str, content: Content, link: Link) -> int:
    """The bytes that went over the line. Where an upload cannot go on, it is begun once more, a few times."""
    pieces, retries, again = _Pieces(pushing, parcel, base, content, link), Retries(pushing.clock), False
    while True:
        try:
            if not again or not await pieces.is_there():
                await pieces.send()
            return pieces.sent
        except (Unavailable, RangeInvalid, BlobUploadUnknown, BlobUploadInvalid, DigestInvalid) as refusal:
            if pieces.retries.spent:
                raise
            await retries.after(refusal)
            again = True


def _end_of(field: str) -> int:
    """`0-99` is 100 bytes; `0-0` is what registries say of none."""
    last = field.rpartition("-")[2]
    return int(last) + 1 if last.isdecimal() and int(last) > 0 else 0

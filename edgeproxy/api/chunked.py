"""Pushing in chunks, from one site to another (docs/adr/0009): requests to what `cache.chunks` does."""

from collections.abc import Mapping, Sequence
from functools import partial

from edgeproxy.api import fields
from edgeproxy.api.address import NewUpload, Upload
from edgeproxy.api.ranges import parse_claim
from edgeproxy.api.receive import whole
from edgeproxy.api.reply import joined
from edgeproxy.cache.chunks import Chunk, ChunkedBlob, Chunks, session_of
from edgeproxy.cache.uploads import Body
from edgeproxy.interfaces import Span
from edgeproxy.oci.chunks import LARGEST_CHUNK, read_blob, write_held
from edgeproxy.oci.errors import BlobUploadInvalid, DigestInvalid
from edgeproxy.oci.reference import Pinned

FIELD = "Edgeproxy-Blob"
Answered = tuple[int, list[fields.Field]]
"""A status, and what is said beside it."""


class Chunked:
    def __init__(self, chunks: Chunks) -> None:
        self._chunks = chunks

    async def begin(self, ask: NewUpload, headers: Mapping[str, str]) -> tuple[ChunkedBlob, Sequence[Span] | None]:
        """What is held of it; `None` where all of it is."""
        digest, size = read_blob(headers[FIELD])
        blob = ChunkedBlob(Pinned(ask.repository, digest), size)
        return blob, await self._chunks.begin(blob)

    async def answer(self, ask: Upload, method: str, headers: Mapping[str, str], body: Body) -> Answered:
        """A request about a session. Raises the `Refusal` that says why not."""
        blob = session_of(ask.repository, ask.identity)
        assert blob is not None
        match method:
            case "GET":
                return 204, [await self.held(ask)]
            case "PATCH":
                await self._patch(blob, headers, body)
                return 202, []
            case "PUT":
                return await self._finish(blob, ask, body)
            case _:
                self._chunks.cancel(blob)
                return 204, []

    async def _patch(self, blob: ChunkedBlob, headers: Mapping[str, str], body: Body) -> None:
        span = parse_claim(headers.get("Content-Range"))
        if span is None:
            raise BlobUploadInvalid("say which bytes of the blob these are: Content-Range: <first>-<last>")
        encoding, checksum = headers.get("Content-Encoding", "").strip().lower(), joined(headers, "Content-Digest")
        receive = partial(whole, body, LARGEST_CHUNK, "a chunk")
        await self._chunks.put(blob, Chunk(span, receive, encoding, checksum))

    async def _finish(self, blob: ChunkedBlob, ask: Upload, body: Body) -> Answered:
        if ask.digest != blob.blob.digest:
            raise DigestInvalid(f"this upload is of {blob.blob.digest}: ?digest= has to say so")
        if body.length:
            raise BlobUploadInvalid("bytes of this upload come by PATCH, each with its Content-Range")
        await self._chunks.finish(blob)
        return 201, []

    async def held(self, ask: Upload) -> fields.Field:
        """Raises `BlobUploadUnknown`."""
        blob = session_of(ask.repository, ask.identity)
        assert blob is not None
        return held_field(await self._chunks.held(blob))


def held_field(spans: Sequence[Span]) -> fields.Field:
    return "Edgeproxy-Held", write_held(spans)

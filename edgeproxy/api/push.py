"""Pushing (OCI distribution-spec, spec.md#push): parse, allow, take."""

from collections.abc import Mapping
from typing import NamedTuple, assert_never
from urllib.parse import urlencode

from edgeproxy.access.identity import NOBODY, Caller, Role
from edgeproxy.api import fields
from edgeproxy.api.address import Content, NewUpload, PushAsk, Upload
from edgeproxy.api.between import VERSION, said_of
from edgeproxy.api.chunked import FIELD, Chunked, held_field
from edgeproxy.api.ranges import parse_claim
from edgeproxy.api.receive import whole
from edgeproxy.api.reply import Reply, reply_with_refusal
from edgeproxy.cache.admission import Admission
from edgeproxy.cache.chunks import session_of
from edgeproxy.cache.manifests import Manifests
from edgeproxy.cache.removals import Removals
from edgeproxy.cache.uploads import Body, Uploads
from edgeproxy.cache.writes import Said
from edgeproxy.interfaces import Span
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.errors import Denied, DigestInvalid, RangeInvalid, Refusal
from edgeproxy.oci.manifest import LARGEST_MANIFEST
from edgeproxy.oci.reference import Pinned, Repository, Tag, path_of

_CAME_BY = (("Cache-Status", "edgeproxy; detail=pushed"),)


class Request(NamedTuple):
    """What a client says beside whom it means: `target` is how it addressed that."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: Body
    caller: Caller = NOBODY


class Push:
    """Takes what clients push; knows the core but no sockets."""

    def __init__(
        self,
        uploads: Uploads,
        chunked: Chunked,
        manifests: Manifests,
        removals: Removals,
        admission: Admission,
        idle: float,
    ) -> None:
        """`idle`: seconds that a body may take for its next bytes."""
        self.idle = idle
        self._uploads = uploads
        self._chunked = chunked
        self._manifests = manifests
        self._removals = removals
        self._admission = admission

    async def answer(self, ask: PushAsk, request: Request) -> Reply:
        """Raises the `Refusal` that says why it is not taken."""
        match ask:
            case Content() if request.method == "DELETE":
                await self._admit(ask, request.caller, Role.REPLICATOR)
                return await self._removal(ask, said_of(request.headers))
            case Content():
                await self._admit(ask, request.caller, Role.PUSHER)
                return await self._manifest(ask, request, await self._said(ask, request))
            case NewUpload() if FIELD in request.headers:
                await self._admit_site(request.caller, ask.repository, "tags/list", FIELD)
                return await self._begin_chunked(ask, request)
            case NewUpload():
                await self._admission.admit(request.caller, ask.repository, "tags/list", Role.PUSHER)
                return await self._begin(ask, request)
            case Upload() if session_of(ask.repository, ask.identity):
                await self._admit_site(request.caller, ask.repository, "tags/list", "a blob in chunks")
                return await self._chunked_upload(ask, request)
            case Upload():
                await self._admission.admit(request.caller, ask.repository, "tags/list", Role.PUSHER)
                try:
                    return await self._upload(ask, request)
                except RangeInvalid as refusal:
                    reply = reply_with_refusal(refusal, ask, head_only=False)
                    return reply._replace(about=(*reply.about, *self._progress(ask, request)))
            case _:
                assert_never(ask)

    async def _admit(self, ask: Content, caller: Caller, role: Role) -> None:
        await self._admission.admit(caller, ask.reference.repository, path_of(ask.kind, ask.reference), role)

    async def _said(self, ask: Content, request: Request) -> Said | None:
        """What another site says of the write. Raises `Denied` where it is none of a site's, `RequestInvalid`."""
        said = said_of(request.headers)
        if said is not None:
            repository, path = ask.reference.repository, path_of(ask.kind, ask.reference)
            await self._admit_site(request.caller, repository, path, f"{VERSION} or Edgeproxy-Via")
        return said

    async def _admit_site(self, caller: Caller, repository: Repository, path: str, what: str) -> None:
        """For what only other sites say."""
        try:
            await self._admission.admit(caller, repository, path, Role.REPLICATOR)
        except Denied as refusal:
            raise Denied(f"{what} takes the role replicator: {refusal.message}", refusal.reason) from refusal

    async def _manifest(self, ask: Content, request: Request, said: Said | None) -> Reply:
        body = await whole(request.body, LARGEST_MANIFEST, "a manifest")
        new = await self._manifests.put(ask.reference, body, request.headers.get("Content-Type", ""), said)
        digest = new.descriptor.digest
        about = [("Location", _location(ask, request, f"manifests/{digest}")), ("Docker-Content-Digest", digest)]
        if new.subject is not None:
            about.append(("OCI-Subject", new.subject))
        if said is not None and new.version is not None:
            about.append((VERSION, str(new.version)))
        return _reply(201 if new.news else 200, about, ask, ask.reference.repository, "manifests")

    async def _removal(self, ask: Content, said: Said | None) -> Reply:
        """Distribution-spec, spec.md#content-management."""
        reference, status = ask.reference, 202
        about: list[fields.Field] = []
        if isinstance(reference, Tag):
            done = await self._removals.tag(reference, said)
            if said is not None and done.version is not None:
                status = 202 if done.news else 200
                about.append((VERSION, str(done.version)))
        elif ask.kind == "manifests":
            await self._removals.manifest(reference, said)
        else:
            await self._removals.blob(reference)
        return _reply(status, about, ask, reference.repository, ask.kind)

    async def _begin_chunked(self, ask: NewUpload, request: Request) -> Reply:
        blob, held = await self._chunked.begin(ask, request.headers)
        if held is None:
            return _created(ask, request, blob.blob.digest)
        location = _location(ask, request, f"blobs/uploads/{blob.identity}")
        return _reply(202, [("Location", location), held_field(held)], ask, ask.repository)

    async def _chunked_upload(self, ask: Upload, request: Request) -> Reply:
        try:
            status, about = await self._chunked.answer(ask, request.method, request.headers, request.body)
        except RangeInvalid as refusal:
            reply = reply_with_refusal(refusal, ask, head_only=False)
            return reply._replace(about=(*reply.about, await self._chunked.held(ask)))
        if status == 201 and ask.digest is not None:
            return _created(ask, request, ask.digest)
        return _reply(status, about, ask, ask.repository)

    async def _begin(self, ask: NewUpload, request: Request) -> Reply:
        if ask.mount is not None and await self._mounted(ask, ask.mount, request.caller):
            return _created(ask, request, ask.mount)
        if ask.digest is not None:
            await self._uploads.whole(Pinned(ask.repository, ask.digest), request.body)
            return _created(ask, request, ask.digest)
        return _reply(202, _session(ask, request, self._uploads.begin(ask.repository), 0), ask, ask.repository)

    async def _mounted(self, ask: NewUpload, digest: Digest, caller: Caller) -> bool:
        """What the caller may not see is not there for it: it is to upload the blob."""
        if ask.source is None:
            return False
        try:
            await self._admission.admit(caller, ask.source, f"blobs/{digest}", Role.PULLER)
        except Refusal:
            return False
        return await self._uploads.mount(Pinned(ask.source, digest), ask.repository)

    async def _upload(self, ask: Upload, request: Request) -> Reply:
        progress = self._progress(ask, request)
        match request.method:
            case "GET":
                return _reply(204, progress, ask, ask.repository)
            case "PATCH":
                claim = parse_claim(request.headers.get("Content-Range"))
                await self._uploads.append(ask.repository, ask.identity, request.body, claim)
                return _reply(202, self._progress(ask, request), ask, ask.repository)
            case "PUT":
                if ask.digest is None:
                    raise DigestInvalid("say what this is: ?digest=sha256:…")
                claim = parse_claim(request.headers.get("Content-Range"))
                await self._uploads.finish(Pinned(ask.repository, ask.digest), ask.identity, request.body, claim)
                return _created(ask, request, ask.digest)
            case _:
                self._uploads.cancel(ask.repository, ask.identity)
                return _reply(204, [], ask, ask.repository)

    def _progress(self, ask: Upload, request: Request) -> list[fields.Field]:
        """Raises `BlobUploadUnknown`."""
        return _session(ask, request, ask.identity, self._uploads.offset(ask.repository, ask.identity))


def _location(ask: PushAsk, request: Request, path: str) -> str:
    """In the same repository, which the client is to find by the same words."""
    within = "/manifests/" if isinstance(ask, Content) else "/blobs/uploads"
    query = f"?{urlencode({'ns': ask.namespace})}" if ask.namespace else ""
    return f"{request.target.partition('?')[0].rpartition(within)[0]}/{path}{query}"


def _session(ask: NewUpload | Upload, request: Request, identity: str, offset: int) -> list[fields.Field]:
    return [
        ("Location", _location(ask, request, f"blobs/uploads/{identity}")),
        ("Docker-Upload-UUID", identity),
        ("Range", f"0-{max(0, offset - 1)}"),
    ]


def _created(ask: NewUpload | Upload, request: Request, digest: Digest) -> Reply:
    about = [("Location", _location(ask, request, f"blobs/{digest}")), ("Docker-Content-Digest", digest)]
    return _reply(201, about, ask, ask.repository)


def _reply(
    status: int, about: list[fields.Field], ask: PushAsk, repository: Repository, kind: str = "uploads"
) -> Reply:
    empty = [] if status == 204 else [("Content-Length", "0")]
    sent = (*about, *empty, *fields.of_namespace(ask.namespace))
    return Reply(status, sent, _CAME_BY, None, Span(0, 0), repository.registry, kind, "pushed")

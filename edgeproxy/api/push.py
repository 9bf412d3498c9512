"""Pushing (OCI distribution-spec, spec.md#push): parse, allow, take."""

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple, assert_never
from urllib.parse import urlencode

from edgeproxy.access.identity import NOBODY, Caller, Role
from edgeproxy.api import fields
from edgeproxy.api.address import Content, NewUpload, PushAsk, Upload
from edgeproxy.api.chunked import FIELD, Chunked, held_field
from edgeproxy.api.ranges import parse_claim
from edgeproxy.api.receive import whole
from edgeproxy.api.reply import Reply, reply_with_refusal
from edgeproxy.api.site import claim_in
from edgeproxy.cache.admission import Admission
from edgeproxy.cache.chunks import session_of
from edgeproxy.cache.manifests import Claim, Manifests
from edgeproxy.cache.uploads import Body, Uploads
from edgeproxy.interfaces import Span, TagState
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.errors import DigestInvalid, RangeInvalid, Refusal
from edgeproxy.oci.manifest import LARGEST_MANIFEST
from edgeproxy.oci.reference import Pinned, Repository, path_of

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
        self, uploads: Uploads, chunked: Chunked, manifests: Manifests, admission: Admission, idle: float
    ) -> None:
        """`idle`: seconds that a body may take for its next bytes."""
        self.idle = idle
        self._uploads = uploads
        self._chunked = chunked
        self._manifests = manifests
        self._admission = admission

    async def answer(self, ask: PushAsk, request: Request) -> Reply:
        """Raises the `Refusal` that says why it is not taken."""
        match ask:
            case Content() if request.method == "DELETE":
                return await self._delete(ask, request)
            case Content():
                return await self._manifest(ask, request)
            case NewUpload() if FIELD in request.headers:
                await self._admission.admit(request.caller, ask.repository, "tags/list", Role.REPLICATOR)
                return await self._begin_chunked(ask, request)
            case NewUpload():
                await self._admission.admit(request.caller, ask.repository, "tags/list", Role.PUSHER)
                return await self._begin(ask, request)
            case Upload() if session_of(ask.repository, ask.identity):
                await self._admission.admit(request.caller, ask.repository, "tags/list", Role.REPLICATOR)
                return await self._chunked_upload(ask, request)
            case Upload():
                await self._admission.admit(request.caller, ask.repository, "tags/list", Role.PUSHER)
                try:
                    return await self._upload(ask, request)
                except RangeInvalid as refusal:
                    reply = reply_with_refusal(refusal, ask, head_only=False)
                    return replace(reply, about=(*reply.about, *self._progress(ask, request)))
            case _:
                assert_never(ask)

    async def _manifest(self, ask: Content, request: Request) -> Reply:
        claim, repository = claim_in(request.headers), ask.reference.repository
        role = Role.PUSHER if claim is None else Role.REPLICATOR
        await self._admission.admit(request.caller, repository, path_of("manifests", ask.reference), role)
        body = await whole(request.body, LARGEST_MANIFEST, "a manifest")
        new = await self._manifests.put(ask.reference, body, request.headers.get("Content-Type", ""), claim)
        digest = new.descriptor.digest
        about = [("Location", _location(ask, request, f"manifests/{digest}")), ("Docker-Content-Digest", digest)]
        if new.subject is not None:
            about.append(("OCI-Subject", new.subject))
        return _reply(201 if new.news else 200, [*about, *_version(claim, new.state)], ask, repository, "manifests")

    async def _delete(self, ask: Content, request: Request) -> Reply:
        """Distribution-spec, spec.md#content-management."""
        claim, repository = claim_in(request.headers), ask.reference.repository
        await self._admission.admit(request.caller, repository, path_of(ask.kind, ask.reference), Role.REPLICATOR)
        if isinstance(ask.reference, Pinned):
            await self._manifests.delete(ask.kind, ask.reference)
            return _reply(202, [], ask, repository, ask.kind)
        gone = await self._manifests.delete_tag(ask.reference, claim)
        return _reply(202 if gone.news else 200, _version(claim, gone.state), ask, repository, ask.kind)

    async def _begin_chunked(self, ask: NewUpload, request: Request) -> Reply:
        blob, held = await self._chunked.begin(ask, request.headers)
        if held is None:
            return _created(ask, request, blob.blob.digest)
        location = _location(ask, request, f"blobs/uploads/{blob.identity}")
        return _reply(202, [("Location", location), held_field(held)], ask, ask.repository)

    async def _chunked_upload(self, ask: Upload, request: Request) -> Reply:
        status, about = await self._chunked.answer(ask, request.method, request.headers, request.body)
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


def _version(claim: Claim | None, state: TagState | None) -> list[fields.Field]:
    """For a site that told one: what holds now."""
    return [("Edgeproxy-Version", str(state.version))] if claim is not None and state is not None else []


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

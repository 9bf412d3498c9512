"""A registry that we push to: any that speaks OCI, and faster another edgeproxy (docs/adr/0009)."""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from typing import Any, TypeVar
from urllib.parse import quote

from yarl import URL

from edgeproxy.interfaces import (
    BlobParcel,
    Deletion,
    Link,
    ManifestParcel,
    OnDisk,
    Parcel,
    Receipt,
    Standing,
    TagState,
    Urgency,
)
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.errors import (
    Denied,
    DigestInvalid,
    ManifestMalformed,
    RequestInvalid,
    TagInvalid,
    Unavailable,
    Unsupported,
)
from edgeproxy.oci.manifest import ACCEPTED, Descriptor
from edgeproxy.oci.reference import Pinned, Reference, Repository, Tag, parse_reference
from edgeproxy.oci.version import Version, is_source, parse_version
from edgeproxy.remote.pieces import SHOWN, in_pieces
from edgeproxy.remote.pushing import Answer, Pushing
from edgeproxy.remote.shipping import in_chunks

Q = TypeVar("Q")
T = TypeVar("T")
_TAGS_TYPE = "application/vnd.edgeproxy.tags.v1+json"
_AT_ONCE = 16
"""Questions about blobs or tags at the same time."""
_MOST_PAGES = 1000
_STAYS_WRITABLE = 600.0
"""Seconds."""
_LONGEST_LIST = 64 * 1024 * 1024
"""Bytes: of 100,000 tags with their versions."""
_IN_MEMORY = 48
"""Chunks, of all blobs that are on their way."""
_MOST_SOURCES = 3
"""Repositories that a mount is tried from."""


class RegistryPeer:
    """Implements `interfaces.Peer`."""

    def __init__(self, pushing: Pushing, link: Link, threads: Executor) -> None:
        """`threads` compress what is sent."""
        self.name = pushing.name
        self._pushing = pushing
        self._link = link
        self._threads = threads
        self._room = asyncio.Semaphore(_IN_MEMORY)
        self._source: str | None = None
        """Its source id; empty where it is no edgeproxy, `None` where it was not asked yet."""
        self._writable: dict[Repository, float] = {}
        """When it took something last."""

    async def check(self, repository: Repository | None) -> Standing:
        """Registries keep remains of what is begun for nothing: that is tried now and then only."""
        answer = await self._pushing.ask("GET", "/v2/", None)
        self._pushing.check(answer, 200)
        source, free = answer.headers.get("Edgeproxy-Source", ""), answer.headers.get("Edgeproxy-Free", "")
        self._source = source if is_source(source) else ""
        if not self._source and answer.headers.get("Server") == "edgeproxy":
            raise Denied(
                f'{self.name} is an edgeproxy where our login is no replicator: add [[access]] allow = "replicator" '
                "there, to = the name we log in by",
                "target",
            )
        now = self._pushing.clock.now()
        if repository is not None and self._writable.get(repository, 0.0) + _STAYS_WRITABLE <= now:
            self._writable.clear()
            await self._try_to_write(repository)
            self._writable[repository] = now
        return Standing(self._source, int(free) if free.isdecimal() else None, str(answer.address), answer.seconds)

    async def _try_to_write(self, repository: Repository) -> None:
        opened = await self._pushing.ask("POST", f"{self._base(repository)}/blobs/uploads/", repository)
        self._pushing.check(opened, 202)
        await self._give_up(opened, repository)

    async def _give_up(self, opened: Answer, repository: Repository) -> None:
        """An upload that was begun for nothing; what stays of it ends by itself."""
        with suppress(Unavailable):
            await self._pushing.ask("DELETE", self._pushing.place(opened), repository)

    async def missing(self, repository: Repository, digests: Sequence[Digest]) -> list[Digest]:
        await self._know()
        base = self._base(repository)

        async def lacks(digest: Digest) -> Digest | None:
            answer = await self._pushing.ask("HEAD", f"{base}/blobs/{digest}", repository)
            if answer.status == 404:
                return digest
            self._pushing.check(answer, *SHOWN)
            return None

        return [digest for digest in await _at_once(lacks, digests) if digest is not None]

    async def send(self, parcel: Parcel) -> Receipt:
        await self._know()
        match parcel:
            case BlobParcel():
                return await self._blob(parcel)
            case ManifestParcel():
                return await self._manifest(parcel)
            case Deletion():
                return await self._deletion(parcel)

    async def tags(self, repository: Repository) -> Mapping[str, TagState | Descriptor]:
        await self._know()
        return await (self._written_tags(repository) if self._source else self._plain_tags(repository))

    async def _know(self) -> None:
        if self._source is None:
            await self.check(None)

    def _base(self, repository: Repository) -> str:
        """An edgeproxy has many registries under one address; anybody else has one."""
        return f"/v2/{repository if self._source else repository.path}"

    # blobs

    async def _blob(self, parcel: BlobParcel) -> Receipt:
        base = self._base(parcel.blob.repository)
        if await self._mounted(parcel, base):
            return Receipt(0, news=False)
        content = await parcel.open()
        try:
            if self._source:
                link, threads, room = self._link, self._threads, self._room
                return Receipt(await in_chunks(self._pushing, parcel, base, content, link, threads, room))
            return Receipt(await in_pieces(self._pushing, parcel, base, content, self._link))
        finally:
            if isinstance(content, OnDisk):
                os.close(content.fd)

    async def _mounted(self, parcel: BlobParcel, base: str) -> bool:
        """Distribution-spec, spec.md#mounting-a-blob-from-another-repository. Where it is refused, the blob is sent."""
        blob = parcel.blob
        for source in parcel.sources[:_MOST_SOURCES]:
            name = str(source) if self._source else source.path
            query = f"mount={blob.digest}&from={quote(name, safe='')}"
            answer = await self._pushing.ask("POST", f"{base}/blobs/uploads/?{query}", blob.repository)
            if answer.status == 201:
                return True
            if answer.status == 202:
                await self._give_up(answer, blob.repository)
        return False

    # manifests

    async def _manifest(self, parcel: ManifestParcel) -> Receipt:
        headers = {"Content-Type": parcel.media_type, **self._claim(parcel.version, parcel.via)}
        await self._link.admit(self.name, len(parcel.body), Urgency.REPLICATION)
        target = self._manifest_at(parcel.reference)
        answer = await self._pushing.ask("PUT", target, parcel.reference.repository, headers, parcel.body)
        self._pushing.check(answer, 200, 201, 202)
        return Receipt(len(parcel.body), news=answer.status != 200)

    async def _deletion(self, parcel: Deletion) -> Receipt:
        """Raises `Unsupported` where a registry deletes no tags, or nothing at all."""
        headers, reference = self._claim(parcel.version, parcel.via), parcel.reference
        answer = await self._pushing.ask("DELETE", self._manifest_at(reference), reference.repository, headers)
        try:
            self._pushing.check(answer, 200, 202, 204, 404)
        except (Unsupported, DigestInvalid, ManifestMalformed) as refusal:
            if self._source:
                raise
            what = "tags" if isinstance(reference, Tag) else "manifests"
            raise Unsupported(f"{self.name} deletes no {what}: {refusal.message}") from refusal
        return Receipt(0, news=answer.status in (202, 204))

    def _manifest_at(self, reference: Reference) -> str:
        name = reference.name if isinstance(reference, Tag) else reference.digest
        return f"{self._base(reference.repository)}/manifests/{name}"

    def _claim(self, version: Version | None, via: Sequence[str]) -> dict[str, str]:
        if version is None or not self._source:
            return {}
        return {"Edgeproxy-Version": str(version), "Edgeproxy-Via": ", ".join(via)}

    # tags

    async def _written_tags(self, repository: Repository) -> Mapping[str, TagState | Descriptor]:
        target = f"{self._base(repository)}/tags/list"
        answer = await self._pushing.ask("GET", target, repository, {"Accept": _TAGS_TYPE}, most=_LONGEST_LIST)
        if answer.status == 404:
            return {}
        self._pushing.check(answer, 200)
        try:
            return {item["name"]: _state(item) for item in json.loads(answer.body)["tags"]}
        except (
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            RecursionError,
            DigestInvalid,
            RequestInvalid,
        ) as error:
            raise Unavailable(f"{self.name} answers with no list of tags") from error

    async def _plain_tags(self, repository: Repository) -> Mapping[str, TagState | Descriptor]:
        names = await self._names(repository)

        async def describe(name: str) -> tuple[str, Descriptor] | None:
            target = f"{self._base(repository)}/manifests/{name}"
            answer = await self._pushing.ask("HEAD", target, repository, {"Accept": ", ".join(ACCEPTED)})
            if answer.status == 404:
                return None
            self._pushing.check(answer, 200)
            return name, _described(answer, self.name)

        return dict(found for found in await _at_once(describe, names) if found is not None)

    async def _names(self, repository: Repository) -> list[str]:
        """Distribution-spec, spec.md#listing-tags, page by page. What is no tag is left out."""
        target, names = f"{self._base(repository)}/tags/list", list[str]()
        for _ in range(_MOST_PAGES):
            answer = await self._pushing.ask("GET", target, repository)
            if answer.status == 404:
                return names
            self._pushing.check(answer, 200)
            try:
                names += [name for name in json.loads(answer.body).get("tags") or [] if _is_tag(repository, name)]
                following = URL(answer.links["next"]["url"]).raw_query_string
            except KeyError:
                return names
            except (ValueError, TypeError, AttributeError, RecursionError) as error:
                raise Unavailable(f"{self.name} answers with no list of tags") from error
            target = f"{target.partition('?')[0]}?{following}"
        raise Unavailable(f"{self.name} lists the tags of {repository} without end")


async def _at_once(ask: Callable[[Q], Awaitable[T]], questions: Iterable[Q]) -> list[T]:
    """All answers, a number of them asked for at the same time; the first failure is raised as it is."""
    free = asyncio.Semaphore(_AT_ONCE)

    async def answer(question: Q) -> T:
        async with free:
            return await ask(question)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(answer(question)) for question in questions]
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [task.result() for task in tasks]


def _state(item: Mapping[str, Any]) -> TagState:
    version = parse_version(item["version"])
    if "digest" not in item:
        return TagState(None, version)
    return TagState(Descriptor(str(item["mediaType"]), Digest.parse(item["digest"]), int(item["size"])), version)


def _described(answer: Answer, name: str) -> Descriptor:
    try:
        digest = Digest.parse(answer.headers["Docker-Content-Digest"])
    except (KeyError, DigestInvalid) as error:
        raise Unavailable(f"{name} does not say what its tags name") from error
    length = answer.headers.get("Content-Length", "")
    return Descriptor(answer.headers.get("Content-Type", ""), digest, int(length) if length.isdecimal() else 0)


def _is_tag(repository: Repository, name: object) -> bool:
    try:
        return isinstance(name, str) and not isinstance(parse_reference(repository, name), Pinned)
    except (TagInvalid, DigestInvalid):
        return False

"""What an image takes with it to another site: blobs first, then manifests, and what refers to it; its tag last."""

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from functools import partial
from typing import Any, Protocol

from edgeproxy.cache.answers import read
from edgeproxy.cache.library import Library
from edgeproxy.interfaces import (
    BlobParcel,
    BlobStore,
    Content,
    Deletion,
    Kind,
    ManifestParcel,
    Peer,
    TagState,
    Urgency,
)
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.errors import unknown
from edgeproxy.oci.manifest import Descriptor, children, is_foreign
from edgeproxy.oci.reference import Pinned, Reference, Repository, Tag

_AT_ONCE = 8
"""Blobs of one image that are on their way at the same time."""


class States(Protocol):
    """What tags name; implemented by the store."""

    def state(self, tag: Tag) -> TagState | None: ...

    def states(self, repository: Repository) -> dict[str, TagState]: ...


class Written(Protocol):
    """What has been pushed here; implemented by the store."""

    def media_type(self, manifest: Pinned) -> str:
        """Of a manifest that is shown here."""
        ...

    def referring(self, subject: Pinned) -> Sequence[Digest]:
        """The manifests pushed with this subject."""
        ...

    def showing(self, digest: Digest) -> Sequence[Repository]:
        """The repositories that show this blob."""
        ...


class Known(Protocol):
    """Which sites know of a version."""

    @property
    def version(self) -> str: ...

    @property
    def via(self) -> Sequence[str]:
        """Ours the last."""
        ...


class Shipments:
    """Reads what is to be sent from the store; what has left it is brought from upstream again."""

    def __init__(self, library: Library, store: BlobStore, states: States, written: Written, source: str) -> None:
        """`source`: this site's id."""
        self._library = library
        self._store = store
        self._states = states
        self._written = written
        self._source = source
        self._busy: dict[tuple[str, Digest], asyncio.Event] = {}
        """Blobs that are on their way, by peer: two images that share one send it once."""

    async def send(self, peer: Peer, reference: Reference, known: Known, *, deletions: bool) -> int:
        """What `reference` names now; the bytes of content that it took. Raises the `Refusal` of either side.

        A tag that nobody wrote here is nothing to send. `deletions`: whether one that was deleted is deleted there.
        """
        if isinstance(reference, Pinned):
            if self._written.media_type(reference):
                return await self._manifest(peer, reference, reference, None, known.via or (self._source,))
            return (await peer.send(Deletion(reference, None, known.via))).sent if deletions else 0
        state = self._states.state(reference)
        if state is None or (state.descriptor is None and not deletions):
            return 0
        passed = known.via if known.version == str(state.version) else (self._source,)
        if state.descriptor is None:
            return (await peer.send(Deletion(reference, state.version, passed))).sent
        pinned = Pinned(reference.repository, state.descriptor.digest)
        return await self._manifest(peer, pinned, reference, state, passed)

    async def _manifest(
        self, peer: Peer, pinned: Pinned, name: Reference, state: TagState | None, passed: Sequence[str]
    ) -> int:
        """With all it needs and all that refers to it; shown under `name` when it is whole."""
        body = read(await self._content("manifests", pinned))
        repository, sent = pinned.repository, 0
        named = [child for child in children(body) if not is_foreign(child.descriptor.media_type)]
        for child in named:
            if child.kind == "manifests":
                below = Pinned(repository, child.descriptor.digest)
                sent += await self._manifest(peer, below, below, None, passed)
        sent += await self._blobs(peer, repository, [child.descriptor for child in named if child.kind == "blobs"])
        kind, version = self._written.media_type(pinned), state.version if state else None
        sent += (await peer.send(ManifestParcel(name, kind, body, version, passed))).sent
        for referrer in self._written.referring(pinned):
            below = Pinned(repository, referrer)
            sent += await self._manifest(peer, below, below, None, passed)
        return sent + await self._companions(peer, pinned)

    async def _companions(self, peer: Peer, subject: Pinned) -> int:
        """Signatures and the like that are kept under tags made of their subject's digest."""
        prefix, sent = subject.digest.replace(":", "-", 1), 0
        for name, state in self._states.states(subject.repository).items():
            if name.startswith(prefix) and state.descriptor is not None:
                pinned = Pinned(subject.repository, state.descriptor.digest)
                sent += await self._manifest(peer, pinned, Tag(subject.repository, name), state, (self._source,))
        return sent

    async def _blobs(self, peer: Peer, repository: Repository, named: Sequence[Descriptor]) -> int:
        sizes = {descriptor.digest: descriptor.size for descriptor in named}
        free = asyncio.Semaphore(_AT_ONCE)

        async def send(digest: Digest) -> int:
            async with free:
                return await self._blob(peer, Pinned(repository, digest), sizes[digest])

        missing = await peer.missing(repository, list(sizes)) if sizes else []
        return await _together(map(send, missing))

    async def _blob(self, peer: Peer, blob: Pinned, size: int) -> int:
        key = (peer.name, blob.digest)
        while other := self._busy.get(key):
            await other.wait()
            if not await peer.missing(blob.repository, [blob.digest]):
                return 0
        done = self._busy[key] = asyncio.Event()
        try:
            others = [each for each in self._written.showing(blob.digest) if each != blob.repository]
            parcel = BlobParcel(blob, size, partial(self._content, "blobs", blob), others)
            return (await peer.send(parcel)).sent
        finally:
            del self._busy[key]
            done.set()

    async def _content(self, kind: Kind, pinned: Pinned) -> Content:
        content = await self._store.open(pinned.digest)
        if content is None:
            await self._library.bring(kind, pinned, Urgency.REPLICATION)
            content = await self._store.open(pinned.digest)
        if content is None:
            raise unknown(kind, pinned)
        return content


async def _together(work: Iterable[Coroutine[Any, Any, int]]) -> int:
    """The sum; the first that fails ends the others, and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each) for each in work]
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return sum(task.result() for task in tasks)

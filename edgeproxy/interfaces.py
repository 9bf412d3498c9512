"""The seams: what the rooms know of each other, on one page.

`store`, `remote` and `predict` do not know each other; `cache` joins them by these protocols.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal, NamedTuple, Protocol

from edgeproxy.oci.credentials import Credentials
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.manifest import Descriptor
from edgeproxy.oci.reference import Pinned, Reference, Repository, Tag
from edgeproxy.oci.version import Version

Kind = Literal["manifests", "blobs"]
Method = Literal["GET", "HEAD"]
"""The two kinds of content, in the words of the API's paths."""


class StoreFull(Exception):
    """The disk, or a quota on it, takes no more bytes."""


class Span(NamedTuple):
    """The bytes from `start` up to but without `stop`."""

    start: int
    stop: int

    @property
    def length(self) -> int:
        return self.stop - self.start


class InMemory(NamedTuple):
    """Content that is at hand."""

    body: bytes


class OnDisk(NamedTuple):
    """Content as an open file descriptor, which its receiver closes; deleting the blob meanwhile does no harm."""

    fd: int
    size: int


Content = InMemory | OnDisk


@dataclass(frozen=True, slots=True)
class Held:
    """A stored blob as the catalogue accounts for it; times in seconds since the epoch, sizes in bytes."""

    digest: Digest
    size: int
    stored: float
    used: float
    uses: int = 1
    pinned: bool = False
    needs: tuple[Digest, ...] = ()
    """The digests a manifest names; empty for anything else."""


class BlobWriter(Protocol):
    """The one way in for bytes. Whoever creates a writer closes it."""

    @property
    def offset(self) -> int:
        """Bytes from the beginning on without a gap, those of an earlier attempt included."""
        ...

    @property
    def ahead(self) -> Sequence[Span]:
        """What is written beyond `offset`, in order; there is a gap before each."""
        ...

    def reader(self) -> OnDisk:
        """The growing file, for reading below `offset`; the receiver closes it."""
        ...

    async def write(self, chunk: bytes, at: int | None = None) -> None:
        """Write where nothing has been written yet: at byte `at`, else at `offset`.

        Several may write at once, each somewhere else. Raises `StoreFull` with nothing changed, or OSError.
        """
        ...

    async def verify(self) -> None:
        """Raise `DigestMismatch` unless what was written is what the digest promises."""
        ...

    async def rewind(self) -> None:
        """Forget all that was written."""
        ...

    async def commit(self, needs: Sequence[Digest] = ()) -> None:
        """Make durable and visible. Raises `StoreFull` or OSError."""
        ...

    async def close(self, *, keep: bool) -> None:
        """Stop here; keep the bytes for a later attempt, or free them. After `commit` it does nothing."""
        ...


class BlobStore(Protocol):
    """Whole, verified blobs by digest. Only "not here" is `None`: a failing disk raises OSError."""

    def recall(self, digest: Digest) -> bytes | None:
        """The blob if it is in memory: no I/O."""
        ...

    async def open(self, digest: Digest) -> Content | None: ...

    async def create(self, digest: Digest) -> BlobWriter:
        """A writer that goes on where an earlier attempt was suspended or killed. Raises `StoreFull` or OSError."""
        ...

    async def delete(self, digests: Iterable[Digest]) -> int:
        """Free these blobs; the bytes freed."""
        ...


class Body(Protocol):
    """An upstream's answer while it arrives."""

    @property
    def start(self) -> int:
        """Offset of the first byte that `chunks` yields: what was asked for, or 0 where upstream ignores ranges."""
        ...

    @property
    def size(self) -> int | None:
        """Bytes of the whole content, where upstream says so."""
        ...

    @property
    def media_type(self) -> str: ...

    def chunks(self) -> AsyncIterator[bytes]:
        """Raises `Unavailable` when the transfer breaks or stalls."""
        ...


Role = Literal["origin", "mirror", "peer"]
"""A peer is a sibling of this proxy: it is asked for what it holds, and fetches nothing for others."""


class Upstream(Protocol):
    """A registry above us. Every method raises a `Refusal` when upstream does, in the words of `oci.errors`."""

    @property
    def name(self) -> str: ...

    @property
    def role(self) -> Role: ...

    async def resolve(self, tag: Tag) -> Descriptor:
        """What the tag names now; asked by HEAD, which no registry counts."""
        ...

    async def stat(self, kind: Kind, pinned: Pinned) -> Descriptor:
        """Whether this repository shows this content; asked by HEAD."""
        ...

    def open(
        self, kind: Kind, pinned: Pinned, start: int = 0, stop: int | None = None
    ) -> AbstractAsyncContextManager[Body]:
        """The content from byte `start` on, up to `stop` where that is given and upstream honours ranges."""
        ...

    async def listing(self, repository: Repository, path: str, query: Sequence[tuple[str, str]]) -> "Page":
        """`tags/list` or `referrers/<digest>`."""
        ...


class Keeper(Protocol):
    """An upstream's say in who may see what it has."""

    @property
    def guarded(self) -> bool:
        """Whether it knows us by a login or a certificate, and so may show us what is not for everybody."""
        ...

    async def shows(self, repository: Repository, path: str, own: Credentials | None = None) -> bool:
        """Whether it shows this to somebody with this login, or with none: `manifests/1.0`, `tags/list`.

        A login is shown to the registry itself only. Raises a `Refusal` where it does not say: it knows no such thing,
        or cannot be asked.
        """
        ...


class Page(NamedTuple):
    """A JSON listing: the document, and the query that leads to what follows; none where nothing does."""

    body: bytes
    following: Sequence[tuple[str, str]] = ()


class Ranking(Protocol):
    """Which upstreams serve a registry, by what was measured of them."""

    def order(self, registry: str) -> Sequence[Upstream]:
        """The best first."""
        ...

    def patience(self, upstream: Upstream) -> float:
        """Seconds after which its answer is so late that another one is asked as well."""
        ...

    def trusts(self, upstream: Upstream) -> bool:
        """Whether its bytes may be passed on before they are verified; always so where there is no other upstream."""
        ...

    def judge(self, upstream: Upstream, size: int, *, right: bool) -> None:
        """So many bytes of it have turned out to be right, or wrong."""
        ...


class Urgency(IntEnum):
    """Who waits for bytes; the lower, the sooner they get the link."""

    CLIENT = 0
    REPLICATION = 1
    PREFETCH = 2


class Link(Protocol):
    """The site's line to its upstreams, shared by urgency."""

    async def admit(self, upstream: str, size: int, urgency: Urgency) -> None:
        """Wait until `size` bytes more may come from this upstream.

        Called after the bytes were read: back-pressure does the rest.
        """
        ...

    def began(self, upstream: str, seconds: float, urgency: Urgency) -> None:
        """An answer took so long to its first byte."""
        ...


class TagState(NamedTuple):
    """What a tag names, for all sites that write it; without a descriptor it has been deleted."""

    descriptor: Descriptor | None
    version: Version


class Standing(NamedTuple):
    """How a peer was found."""

    source: str
    """Its source id; empty where it is no edgeproxy, and takes plain OCI pushes only."""
    free: int | None
    """Bytes it has room for, where it says so."""
    path: str
    """The address it was reached at."""
    seconds: float
    """From question to answer."""


class BlobParcel(NamedTuple):
    """A blob for a peer: `open` is called once for every transfer, and what it gives is closed by whoever called."""

    blob: Pinned
    size: int
    open: Callable[[], Awaitable[Content]]
    sources: Sequence[Repository] = ()
    """Other repositories that show it here, and perhaps there: it may be mounted from them."""


class ManifestParcel(NamedTuple):
    """A manifest for a peer that has all it names; by tag with its version where several sites write the tag."""

    reference: Reference
    media_type: str
    body: bytes
    version: Version | None = None
    via: Sequence[str] = ()
    """The source ids of the sites it has come through, ours the last."""


class Deletion(NamedTuple):
    """A tag is to go, or with `Pinned` a manifest."""

    reference: Reference
    version: Version | None = None
    via: Sequence[str] = ()


Parcel = BlobParcel | ManifestParcel | Deletion


class Receipt(NamedTuple):
    """What became of a parcel."""

    sent: int
    """Bytes of content that went over the line."""
    news: bool = True
    """False where the peer had it, or something newer, already."""


class Peer(Protocol):
    """A registry beside us that we push to. Every method raises a `Refusal`: `Unavailable` where trying later helps."""

    @property
    def name(self) -> str: ...

    async def check(self, repository: Repository | None) -> Standing:
        """Whether it is there, takes our login, and lets us write to this repository, where one is given."""
        ...

    async def missing(self, repository: Repository, digests: Sequence[Digest]) -> list[Digest]:
        """Those blobs that it does not show in this repository."""
        ...

    async def send(self, parcel: Parcel) -> Receipt:
        """A blob goes on where an earlier transfer of it broke off."""
        ...

    async def tags(self, repository: Repository) -> Mapping[str, TagState | Descriptor]:
        """What each tag names there, with the version and the deletions where it says so."""
        ...


class Access(NamedTuple):
    """One answered request; times in seconds since the epoch, sizes in bytes."""

    time: float
    """When its answer began."""
    client: int
    """A salted bucket of the client's address, below 65536; nobody is found again by it."""
    method: Method
    kind: Kind
    reference: Reference
    """As it was asked for."""
    digest: Digest | None
    """What was shown; `None` where nothing was."""
    size: int
    """Of the whole content."""
    outcome: str
    """`hit`, `stale`, `miss` or `collapsed` as in `Cache-Status`; `refused` where nothing was shown."""
    sent: int
    seconds: float
    """From the request to the first byte of its answer."""


class Contents(NamedTuple):
    """What a manifest or an index names: each once, in its order; said when it is first seen."""

    time: float
    manifest: Descriptor
    names: tuple[Descriptor, ...]


class Checked(NamedTuple):
    """Upstream was asked what a tag names."""

    time: float
    tag: Tag
    descriptor: Descriptor | None
    """`None` where upstream knows no such tag."""


Happening = Access | Contents | Checked
"""What is recorded, learned from and replayed, in the order of time."""


class Policy(Protocol):
    """Judges; pure: neither I/O nor a clock. One thread at a time."""

    @property
    def singly(self) -> bool:
        """Whether blobs leave one by one; else whole images do."""
        ...

    def observe(self, happening: Happening) -> None:
        """Told of all that is recorded, in the order of time."""
        ...

    def ttl(self, tag: Tag, now: float) -> float:
        """Seconds for which a tag just checked is fresh."""
        ...

    def worths(self, held: Sequence[Held], now: float) -> Sequence[float]:
        """The higher, the longer each stays; one may stand for a whole image."""
        ...


class Clock(Protocol):
    def now(self) -> float:
        """Seconds since the epoch."""
        ...

    async def sleep(self, seconds: float) -> None: ...

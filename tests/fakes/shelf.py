"""What a scripted registry has and how it misbehaves: one script for the fake in memory and the one behind HTTP."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from edgeproxy.interfaces import Kind, Page
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.errors import ManifestUnknown, NameUnknown, RangeInvalid, RouteUnknown, unknown
from edgeproxy.oci.manifest import OCI_INDEX, OCI_MANIFEST, Descriptor
from edgeproxy.oci.reference import Pinned, Repository, Tag

Method = Literal["resolve", "stat", "open", "listing", "knock"]
LAYER = "application/vnd.oci.image.layer.v1.tar"
CONFIG = "application/vnd.oci.image.config.v1+json"


@dataclass
class Fault:
    """What happens to the questions it matches; the first fault that matches is the one."""

    method: Method | None = None
    about: str = ""
    """A part of the question's path."""
    times: int | None = None
    """After so many questions it no longer matches."""
    refusal: Exception | None = None
    """Raised instead of an answer; the registry behind HTTP knows how to say a `Refusal` only."""
    hold: asyncio.Event | None = None
    """Waited for: at byte `at` of the content, else before there is an answer."""
    at: int | None = None
    breaks: bool = False
    """The transfer breaks at byte `at` of the content."""
    body: bytes | None = None
    """Sent in place of the content."""
    ignores_range: bool = False
    announces: int | Literal["true", "nothing"] = "true"
    """The size of the whole as it is announced."""
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once somebody waits for `hold`."""

    async def held(self) -> None:
        if self.hold is not None:
            self.reached.set()
            await self.hold.wait()


class Question(NamedTuple):
    method: Method
    path: str
    start: int = 0


class Served(NamedTuple):
    """An answer's bytes from `start` of the whole on."""

    media_type: str
    start: int
    size: int | None
    rest: bytes


class Shelf:
    """The content of a registry, by repository; `asked` is the record of its questions."""

    def __init__(self) -> None:
        self.contents: dict[tuple[Kind, Pinned], tuple[str, bytes]] = {}
        self.names: dict[Tag, Digest] = {}
        self.subjects: dict[Pinned, bytes] | None = None
        """The indexes of the referrers API; `None` where there is no such API."""
        self.pages = True
        """Whether `n` and `last` are heeded, and the tags of a list in order."""
        self.tags_per_page: int | None = None
        """At most, whatever is asked for."""
        self.referrers_per_page: int | None = None
        self.nonsense: bytes | None = None
        """Answered instead of any list."""
        self.faults: list[Fault] = []
        self.asked: list[Question] = []
        self.reading = 0
        """Bodies that are open."""

    # filling it

    def blob(self, repository: Repository, body: bytes) -> Pinned:
        pinned = Pinned(repository, Digest.of(body))
        self.contents["blobs", pinned] = (LAYER, body)
        return pinned

    def manifest(self, repository: Repository, body: bytes, tag: str = "", kind: str = OCI_MANIFEST) -> Pinned:
        pinned = Pinned(repository, Digest.of(body))
        self.contents["manifests", pinned] = (kind, body)
        if tag:
            self.names[Tag(repository, tag)] = pinned.digest
        return pinned

    def image(self, repository: Repository, tag: str = "", layers: Sequence[bytes] = (b"layer",)) -> Pinned:
        """An image with its config and layers."""
        config = b'{"of":"%s"}' % tag.encode()
        for body in (config, *layers):
            self.blob(repository, body)
        return self.manifest(repository, image_manifest(config, layers), tag)

    # being asked

    def ask(self, question: Question) -> Fault:
        self.asked.append(question)
        for fault in self.faults:
            if fault.method in (None, question.method) and fault.about in question.path and fault.times != 0:
                fault.times = None if fault.times is None else fault.times - 1
                return fault
        return Fault()

    def count(self, method: Method, about: str = "") -> int:
        return sum(question.method == method and about in question.path for question in self.asked)

    def resolve(self, tag: Tag) -> Descriptor:
        if tag not in self.names:
            raise ManifestUnknown(f"{tag} is unknown")
        return self.stat("manifests", Pinned(tag.repository, self.names[tag]))

    def stat(self, kind: Kind, pinned: Pinned) -> Descriptor:
        if (kind, pinned) not in self.contents:
            raise unknown(kind, pinned)
        media_type, body = self.contents[kind, pinned]
        return Descriptor(media_type, pinned.digest, len(body))

    def open(self, kind: Kind, pinned: Pinned, start: int, fault: Fault, stop: int | None = None) -> Served:
        media_type = self.stat(kind, pinned).media_type
        body = self.contents[kind, pinned][1] if fault.body is None else fault.body
        if fault.ignores_range:
            start, stop = 0, None
        if start and start >= len(body):
            raise RangeInvalid(f"byte {start} is beyond the end")
        size = {"true": len(body), "nothing": None}.get(str(fault.announces), fault.announces)
        assert not isinstance(size, str)
        return Served(media_type, start, size, body[start:stop])

    def listing(self, repository: Repository, path: str, query: Mapping[str, str]) -> Page:
        if self.nonsense is not None:
            return Page(self.nonsense)
        if path.startswith("referrers/"):
            return self._referrers(Pinned(repository, Digest(path.removeprefix("referrers/"))), query)
        tags = [tag.name for tag in self.names if tag.repository == repository]
        if not tags:
            raise NameUnknown(f"{repository} is unknown")
        if self.pages:
            tags = sorted(tag for tag in tags if tag > query.get("last", ""))
        most = int(query["n"]) if self.pages and "n" in query else len(tags)
        most = most if self.tags_per_page is None else min(most, self.tags_per_page)
        body = {"name": repository.path, "tags": tags[:most]}
        more = len(tags) > most > 0
        return Page(json.dumps(body).encode(), (("n", str(most)), ("last", tags[most - 1])) if more else ())

    def _referrers(self, subject: Pinned, query: Mapping[str, str]) -> Page:
        if self.subjects is None:
            raise RouteUnknown("there is no referrers API")
        index = self.subjects.get(subject, image_index())
        if self.referrers_per_page is None:
            return Page(index)
        start = int(query.get("from", "0"))
        end = start + self.referrers_per_page
        document = json.loads(index)
        found = document["manifests"]
        return Page(image_index(*found[start:end]), (("from", str(end)),) if end < len(found) else ())


def described(media_type: str, body: bytes, **more: object) -> dict[str, object]:
    """A descriptor as it stands in a manifest."""
    return {"mediaType": media_type, "digest": Digest.of(body), "size": len(body), **more}


def image_manifest(config: bytes, layers: Sequence[bytes]) -> bytes:
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": described(CONFIG, config),
        "layers": [described(LAYER, layer) for layer in layers],
    }
    return json.dumps(document).encode()


def image_index(*manifests: Mapping[str, object]) -> bytes:
    return json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}).encode()

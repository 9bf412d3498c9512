"""The images of a made-up site: systems, runtimes on them, services on those, all released again and again."""

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from edgeproxy.oci.digest import Digest
from edgeproxy.oci.manifest import OCI_MANIFEST, Descriptor
from edgeproxy.oci.reference import Pinned, Reference, Repository, Tag

DAY = 86400.0
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
_SIZES = ((0.45, 1e3), (0.65, 2e5), (0.80, 4e6), (1.0, 4e7))
"""Shares of layers up to which they have sizes around so many bytes."""
_LARGEST = 2e9
_MOVING = ("", "", "", "", "", "1", "1", "latest", "main", "stable")
"""What services call their releases: half of them have a tag of its own for each."""


@dataclass(frozen=True, slots=True)
class Image:
    tag: Tag
    manifest: Descriptor
    names: tuple[Descriptor, ...]


class Published(NamedTuple):
    """From this time on upstream has it."""

    time: float
    image: Image


@dataclass(slots=True)
class Service:
    """A program that is released, and the nodes it runs on."""

    repository: Repository
    runtime: int
    own: list[Descriptor]
    popularity: float
    period: float
    """Seconds between two releases, about."""
    begins: float
    ends: float
    nodes: list[int]
    moving: str
    """The tag that every release takes over; `1` is taken over until the next major version; empty where none is."""
    images: list[Image] = field(default_factory=list)

    def lives(self, now: float) -> bool:
        return self.begins <= now <= self.ends


class Registry:
    """What upstream has; `chance` decides all that is not said here."""

    def __init__(self, chance: np.random.Generator, name: str, services: int, nodes: int, skew: float) -> None:
        self._chance = chance
        self._name = name
        self._made = 0
        self._shown: dict[Tag, Digest] = {}
        self.systems = [self.layer(3e7) for _ in range(8)]
        self.bases = [int(chance.integers(8)) for _ in range(32)]
        self.runtimes = [[self.layer() for _ in range(1 + chance.poisson(2))] for _ in self.bases]
        popularity = 1.0 / np.arange(1, services + 1) ** skew
        self.services = [
            self._service(place, float(share), nodes) for place, share in enumerate(popularity / popularity.sum())
        ]
        for service in self.services:
            self.build(service)

    def layer(self, around: float | None = None) -> Descriptor:
        """A new one."""
        chance = self._chance
        if around is None:
            draw = chance.random()
            around = next(size for share, size in _SIZES if draw <= share)
        return self._blob(_LAYER, around * math.exp(chance.normal(0.0, 0.8)))

    def build(self, service: Service) -> Image:
        """The next version of a service, on what it stands on now."""
        base = self.bases[service.runtime]
        config = self._blob(_CONFIG, 3000.0)
        names = (config, self.systems[base], *self.runtimes[service.runtime], *service.own)
        number = len(service.images) + 1
        name = f"{1 + number // 8}" if service.moving == "1" else service.moving or f"1.{number // 8}.{number % 8}"
        tag = Tag(service.repository, name)
        image = Image(tag, self._blob(OCI_MANIFEST, 700.0 + 200.0 * len(names)), names)
        service.images.append(image)
        self._shown[tag] = image.manifest.digest
        return image

    def reference(self, image: Image) -> Reference:
        """How it is asked for: by its tag, as long as that is its own."""
        digest = image.manifest.digest
        return image.tag if self._shown.get(image.tag, digest) == digest else Pinned(image.tag.repository, digest)

    def change(self, service: Service) -> Image:
        """Some of its own layers, from the top, are replaced."""
        count = min(len(service.own), 1 + int(self._chance.geometric(0.5)))
        for place in range(len(service.own) - count, len(service.own)):
            service.own[place] = self._blob(_LAYER, service.own[place].size * math.exp(self._chance.normal(0.0, 0.1)))
        return self.build(service)

    def stranger(self) -> Image:
        """An image that somebody wants once."""
        self._made += 1
        layers = tuple(self.layer() for _ in range(1 + self._chance.poisson(4)))
        tag = Tag(Repository("docker.io", f"other/image{self._made}"), "latest")
        return Image(tag, self._blob(OCI_MANIFEST, 2000.0), (self._blob(_CONFIG, 3000.0), *layers))

    def _blob(self, media_type: str, size: float) -> Descriptor:
        self._made += 1
        digest = Digest.of(f"{self._name} {self._made}".encode())
        return Descriptor(media_type, digest, int(min(_LARGEST, max(100.0, size))))

    def _service(self, place: int, popularity: float, nodes: int) -> Service:
        chance = self._chance
        replicas = max(1, int(min(nodes * 0.6, 1 + chance.poisson(popularity * 1500))))
        return Service(
            repository=Repository("registry.example", f"team{place % 40}/service{place}"),
            runtime=int(chance.zipf(1.5) % 32),
            own=[self.layer() for _ in range(1 + chance.poisson(3.5))],
            popularity=popularity,
            period=DAY * math.exp(chance.uniform(math.log(0.25), math.log(60.0))),
            begins=0.0 if chance.random() > 0.3 else chance.uniform(0.0, 28.0) * DAY,
            ends=math.inf if chance.random() > 0.25 else chance.uniform(3.0, 28.0) * DAY,
            nodes=chance.permutation(nodes)[:replicas].tolist(),
            moving=_MOVING[int(chance.integers(len(_MOVING)))],
        )

"""Real content: images made of this machine's own packages, pushed to a registry as any client would."""

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import zstandard
from yarl import URL

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
OCI_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
ACCEPT = ", ".join((OCI_INDEX, OCI_MANIFEST, DOCKER_MANIFEST, "*/*"))
_PACKAGES = Path(json.__file__).parent.parent
_LAYER_BYTES = 3_000_000


@dataclass(frozen=True)
class Pushed:
    """A manifest in a registry, and every blob below it."""

    digest: str
    media_type: str
    size: int
    blobs: tuple[str, ...] = ()
    children: tuple["Pushed", ...] = ()

    @property
    def descriptor(self) -> dict[str, Any]:
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size}


def digest_of(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


def layer(packages: Sequence[str], more: bytes = b"") -> bytes:
    """A tar of packages of Python's library, of some megabytes, beside what every root file system has."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        _add(tar, "etc/passwd", b"root:x:0:0:root:/:/bin/sh\n")
        _add(tar, "etc/mark", more)
        for package in packages:
            for file in sorted((_PACKAGES / package).rglob("*.py")):
                if out.tell() < _LAYER_BYTES:
                    _add(tar, f"usr/lib/{file.relative_to(_PACKAGES)}", file.read_bytes())
    return out.getvalue()


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))


def gzipped(tar: bytes) -> bytes:
    return gzip.compress(tar, mtime=0)


def zstandardized(tar: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(tar)


class Pusher:
    """Pushes to one repository (distribution-spec, spec.md#push)."""

    def __init__(self, session: aiohttp.ClientSession, registry: str, repository: str) -> None:
        self._session = session
        self._base = f"{registry}/v2/{repository}"

    async def blob(self, body: bytes) -> str:
        async with self._session.post(f"{self._base}/blobs/uploads/") as begun:
            assert begun.status == 202, await begun.text()
            location = begun.url.join(URL(begun.headers["Location"], encoded=True))
        digest = digest_of(body)
        async with self._session.put(location.update_query(digest=digest), data=io.BytesIO(body)) as done:
            assert done.status == 201, await done.text()
        return digest

    async def manifest(
        self, document: dict[str, Any], tag: str | None = None, children: Sequence[Pushed] = ()
    ) -> Pushed:
        body = json.dumps(document).encode()
        digest, media_type = digest_of(body), str(document["mediaType"])
        url = f"{self._base}/manifests/{tag or digest}"
        async with self._session.put(url, data=body, headers={"Content-Type": media_type}) as done:
            assert done.status == 201, await done.text()
        named = [document.get("config"), *document.get("layers", [])]
        blobs = tuple(item["digest"] for item in named if item)
        return Pushed(digest, media_type, len(body), blobs, tuple(children))

    async def image(
        self,
        tars: Sequence[bytes],
        tag: str | None = None,
        architecture: str = "amd64",
        compress: Callable[[bytes], bytes] = gzipped,
        types: tuple[str, str, str] = (OCI_MANIFEST, OCI_CONFIG, OCI_GZIP),
    ) -> Pushed:
        """An image of these layers; `types` of its manifest, config and layers."""
        packed = [compress(tar) for tar in tars]
        config = {
            "architecture": architecture,
            "os": "linux",
            "config": {"Cmd": ["/bin/sh"]},
            "rootfs": {"type": "layers", "diff_ids": [digest_of(tar) for tar in tars]},
        }
        text = json.dumps(config).encode()
        layers = [{"mediaType": types[2], "digest": await self.blob(one), "size": len(one)} for one in packed]
        document = {
            "schemaVersion": 2,
            "mediaType": types[0],
            "config": {"mediaType": types[1], "digest": await self.blob(text), "size": len(text)},
            "layers": layers,
        }
        return await self.manifest(document, tag)

    async def index(self, images: dict[str, Pushed], tag: str) -> Pushed:
        """An OCI index of images by architecture."""
        manifests = [
            {**image.descriptor, "platform": {"os": "linux", "architecture": architecture}}
            for architecture, image in images.items()
        ]
        document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}
        return await self.manifest(document, tag, list(images.values()))

    async def artifact(self, subject: Pushed, artifact_type: str) -> Pushed:
        """A referrer of `subject`, listed under the fallback tag as a client does where there is no referrers API."""
        empty = b"{}"
        document = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": artifact_type,
            "config": {
                "mediaType": "application/vnd.oci.empty.v1+json",
                "digest": await self.blob(empty),
                "size": len(empty),
            },
            "layers": [{"mediaType": "text/plain", "digest": await self.blob(b"signed"), "size": 6}],
            "subject": subject.descriptor,
        }
        pushed = await self.manifest(document)
        listed = {**pushed.descriptor, "artifactType": artifact_type}
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [listed]}
        await self.manifest(index, subject.digest.replace(":", "-"))
        return pushed


@dataclass(frozen=True)
class Gallery:
    """One of everything, in the repositories `team/index`, `team/docker` and `team/zstd`, all tagged `1.0`."""

    index: Pushed
    docker: Pushed
    zstd: Pushed
    artifact: Pushed


async def push_gallery(registry: str) -> Gallery:
    """An index of two platforms and a Docker schema 2 image that share a layer, and an image with zstd layers.

    Those are of other files: podman and buildah remember across runs which layers are the same once unpacked, and do
    not ask for a second packing of what they have.
    """
    base, middle = layer(["json", "email", "asyncio"]), layer(["http", "xml", "logging"])
    async with aiohttp.ClientSession() as session:
        many = Pusher(session, registry, "team/index")
        images = {
            name: await many.image([base, middle, layer(["unittest"], name.encode())], architecture=name)
            for name in ("amd64", "arm64")
        }
        index = await many.index(images, "1.0")
        artifact = await many.artifact(index, "application/vnd.example.signature")
        types = (DOCKER_MANIFEST, DOCKER_CONFIG, DOCKER_LAYER)
        docker = await Pusher(session, registry, "team/docker").image([base, layer(["sqlite3"])], "1.0", types=types)
        zstd = await Pusher(session, registry, "team/zstd").image(
            [layer(["ctypes"], b"zstd"), layer(["encodings"], b"zstd")],
            "1.0",
            compress=zstandardized,
            types=(OCI_MANIFEST, OCI_CONFIG, OCI_ZSTD),
        )
    return Gallery(index, docker, zstd, artifact)

"""edgeproxy export and edgeproxy import: images as an OCI image layout (image-spec, image-layout.md) in a tar."""

import io
import json
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, urlsplit

import click

from edgeproxy.cli.client import json_option, print_json
from edgeproxy.cli.registry import Registry
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.errors import Refusal
from edgeproxy.oci.manifest import OCI_INDEX, children

_HERE = "http://127.0.0.1:5000"
_NAME = "org.opencontainers.image.ref.name"
_PIECE = 1024 * 1024
_url = click.option("--url", default=_HERE, show_default=True, help="The daemon, as its clients reach it.")


@click.command("export")
@click.argument("images", nargs=-1, required=True)
@click.option("--platform", help="Only this, as in linux/amd64; else all that an image is for.")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The tar.")
@_url
@json_option
def export(images: Sequence[str], platform: str | None, output: Path, url: str, as_json: bool) -> None:
    """Write IMAGES into one tar, which carries them to a site without a link. What they share is in it once."""
    registry, aside = Registry(url), output.with_name(f".{output.name}.part")
    try:
        with tarfile.open(aside, "w") as tar:
            _add(tar, "oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
            writer, entries = _Writer(registry, tar), list[dict[str, Any]]()
            for image in images:
                repository, reference = _split(image)
                entry = writer.manifest(repository, reference, platform)
                entries.append({**entry, "annotations": {_NAME: image}})
                if not as_json:
                    click.echo(f"{image}: {entry['digest']}")
            _add(
                tar,
                "index.json",
                json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode(),
            )
        aside.replace(output)
        if as_json:
            print_json({"images": _named(entries)})
    finally:
        aside.unlink(missing_ok=True)


class _Writer:
    def __init__(self, registry: Registry, tar: tarfile.TarFile) -> None:
        self._registry = registry
        self._tar = tar
        self._added = set[str]()

    def manifest(self, repository: str, reference: str, platform: str | None = None) -> dict[str, Any]:
        """Its descriptor, when all it names is in the tar."""
        with self._registry.have("GET", f"/v2/{repository}/manifests/{reference}") as answer:
            body, media_type = answer.read(), answer.headers.get("Content-Type", "")
        named = json.loads(body).get("manifests") or []
        if platform is not None and named:
            return self.manifest(repository, _of_platform(named, platform, f"{repository}:{reference}"))
        for child in children(body):
            if child.kind == "manifests":
                self.manifest(repository, child.descriptor.digest)
            else:
                self._blob(repository, child.descriptor.digest)
        digest = Digest.of(body)
        if digest not in self._added:
            self._added.add(digest)
            _add(self._tar, _place(digest), body)
        return {"mediaType": media_type, "digest": digest, "size": len(body)}

    def _blob(self, repository: str, digest: Digest) -> None:
        if digest in self._added:
            return
        self._added.add(digest)
        with self._registry.have("GET", f"/v2/{repository}/blobs/{digest}") as answer:
            info = tarfile.TarInfo(_place(digest))
            info.size = int(answer.headers["Content-Length"])
            checked = _Checked(answer, digest)
            self._tar.addfile(info, checked)
            if not digest.matches(checked.hasher):
                raise click.ClickException(f"{digest} arrived wrong: try again")


class _Checked(io.RawIOBase):
    """Hashes what is read through it."""

    def __init__(self, source: IO[bytes] | Any, digest: Digest) -> None:
        self._source = source
        self.hasher = digest.hasher()

    def read(self, size: int = -1) -> bytes:
        piece: bytes = self._source.read(size)
        self.hasher.update(piece)
        return piece


@click.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@_url
@json_option
def import_(file: Path, url: str, as_json: bool) -> None:
    """Push the images of a tar, under the names they were exported by. They stay until somebody deletes them.

    It takes the role `pusher`; each blob is verified on its way in.
    """
    registry = Registry(url)
    try:
        with tarfile.open(file) as tar:
            reader = _Reader(registry, tar)
            entries = json.loads(reader.read("index.json"))["manifests"]
            for entry in entries:
                name = (entry.get("annotations") or {}).get(_NAME, "")
                repository, reference = _split(name)
                reader.push(repository, reference, Digest.parse(entry["digest"]), entry["mediaType"])
                if not as_json:
                    click.echo(f"{name}: {entry['digest']}")
            if as_json:
                print_json({"images": _named(entries)})
    except (tarfile.TarError, KeyError, ValueError, TypeError) as error:
        raise click.ClickException(f"{file} holds no OCI image layout: {error}") from error
    except Refusal as refusal:
        raise click.ClickException(f"{file}: {refusal.message}") from refusal


def _named(entries: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    return [{"name": entry["annotations"][_NAME], "digest": entry["digest"]} for entry in entries]


class _Reader:
    def __init__(self, registry: Registry, tar: tarfile.TarFile) -> None:
        self._registry = registry
        self._tar = tar

    def read(self, name: str) -> bytes:
        """Raises KeyError."""
        found = self._tar.extractfile(self._tar.getmember(name))
        if found is None:
            raise KeyError(f"{name} is no file")
        return found.read()

    def push(self, repository: str, reference: str, digest: Digest, media_type: str) -> None:
        """All that it names first."""
        body = self.read(_place(digest))
        for child in children(body):
            if child.kind == "manifests":
                below = child.descriptor
                self.push(repository, below.digest, below.digest, below.media_type)
            else:
                self._blob(repository, child.descriptor.digest)
        target = f"/v2/{repository}/manifests/{reference}"
        self._registry.have("PUT", target, body=body, fields={"Content-Type": media_type}).close()

    def _blob(self, repository: str, digest: Digest) -> None:
        known = self._registry.ask("HEAD", f"/v2/{repository}/blobs/{digest}", missing=True)
        if known is not None:
            return known.close()
        with self._registry.have("POST", f"/v2/{repository}/blobs/uploads/", body=b"") as answer:
            place = answer.headers["Location"]
        member = self._tar.getmember(_place(digest))
        fields = {"Content-Length": str(member.size), "Content-Type": "application/octet-stream"}
        target = f"{place}{'&' if urlsplit(place).query else '?'}digest={quote(digest)}"
        self._registry.have("PUT", target, body=self._pieces(member), fields=fields).close()
        return None

    def _pieces(self, member: tarfile.TarInfo) -> Iterator[bytes]:
        found = self._tar.extractfile(member)
        while found is not None and (piece := found.read(_PIECE)):
            yield piece


def _split(image: str) -> tuple[str, str]:
    """`registry/repository` and a tag or digest. Raises a usage error, exit code 2."""
    repository, at, reference = image.partition("@")
    if not at:
        repository, _, reference = image.rpartition(":")
    if not repository or "/" not in repository or "/" in reference:
        raise click.UsageError(f"{image!r} names no image: write it whole, as in docker.io/library/nginx:1.25")
    return repository, reference


def _of_platform(named: Sequence[dict[str, Any]], platform: str, image: str) -> str:
    known = {}
    for item in named:
        words = item.get("platform") or {}
        known["/".join(str(words[key]) for key in ("os", "architecture", "variant") if words.get(key))] = item["digest"]
    if platform not in known:
        raise click.ClickException(f"{image} is not for {platform}: it is for {', '.join(known)}")
    return str(known[platform])


def _place(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _add(tar: tarfile.TarFile, name: str, body: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(body)
    tar.addfile(info, io.BytesIO(body))

"""Manifests and indexes (OCI image-spec, manifest.md and image-index.md; Docker schema 2): what they name."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

from edgeproxy.oci.digest import Digest
from edgeproxy.oci.errors import DigestInvalid, ManifestMalformed

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
ACCEPTED = (OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST, "*/*")
_NAME = r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}"
_TYPE = re.compile(f"{_NAME}/{_NAME}")  # RFC 6838, section 4.2: it becomes a header field
LARGEST_MANIFEST = 4 * 1024 * 1024
"""Bytes; distribution-spec, spec.md#pushing-manifests asks registries to take at least this much."""


class Descriptor(NamedTuple):
    """OCI image-spec, descriptor.md: what something is, where it is named, how many bytes it has."""

    media_type: str
    digest: Digest
    size: int


class Child(NamedTuple):
    """What a manifest names, and under which path a registry shows it."""

    kind: Literal["manifests", "blobs"]
    descriptor: Descriptor


def children(body: bytes) -> list[Child]:
    """What a manifest or an index needs to be whole, each once, in its order. What is malformed names nothing."""
    document = _document(body)
    found: dict[Digest, Child] = {}
    for item in _list(document, "manifests"):
        found.update((named.digest, Child("manifests", named)) for named in _descriptors(item))
    for item in [document.get("config"), *_list(document, "layers"), *_list(document, "blobs")]:
        found.update((named.digest, Child("blobs", named)) for named in _descriptors(item))
    return list(found.values())


class Pushed(NamedTuple):
    """A manifest as a client pushes it, checked."""

    media_type: str
    children: list[Child]
    """What it needs in its repository; layers that are kept elsewhere are none of that."""
    subject: Digest | None
    about: dict[str, Any]
    """What a list of referrers says of it, beside its descriptor (distribution-spec, spec.md#listing-referrers)."""


def pushed(body: bytes, declared: str) -> Pushed:
    """Raises `ManifestMalformed` where it is none, or says otherwise than its `Content-Type`."""
    document = _document(body)
    if document.get("schemaVersion") != 2:
        raise ManifestMalformed("this is no manifest or index: JSON with schemaVersion 2 is expected")
    declared, own = declared.partition(";")[0].strip(), document.get("mediaType")
    if own is not None and declared and own != declared:
        raise ManifestMalformed(f"the manifest is a {str(own)[:100]!r}, its Content-Type says {declared[:100]!r}")
    kind = declared or own
    if not isinstance(kind, str) or not _TYPE.fullmatch(kind):
        raise ManifestMalformed("name the manifest's type in Content-Type, or in its mediaType")
    config, subject = document.get("config"), document.get("subject")
    named = [item for item in (config, subject) if item is not None]
    for key in ("manifests", "layers", "blobs"):
        if not isinstance(document.get(key, []), list):
            raise ManifestMalformed(f"{key} is no list")
        named += _list(document, key)
    wrong = next((item for item in named if not _is_descriptor(item)), None)
    if wrong is not None:
        raise ManifestMalformed(f"{json.dumps(wrong)[:200]} is no descriptor: it needs mediaType, digest and size")
    about = {key: document[key] for key in ("artifactType", "annotations") if document.get(key)}
    if config is not None:
        about.setdefault("artifactType", config["mediaType"])
    needed = [child for child in children(body) if not is_foreign(child.descriptor.media_type)]
    return Pushed(kind, needed, Digest(subject["digest"]) if subject else None, about)


def subject(body: bytes) -> Digest | None:
    """What a manifest refers to."""
    return next((named.digest for named in _descriptors(_document(body).get("subject"))), None)


def media_type(body: bytes, declared: str) -> str:
    """The type a registry declared, or the document's own where the registry declared none of use."""
    kind = declared.partition(";")[0].strip()
    if kind and kind not in ("application/json", "text/plain", "application/octet-stream"):
        return declared
    own = _document(body).get("mediaType")
    return own if isinstance(own, str) and _TYPE.fullmatch(own) else declared


def is_foreign(media_type: str) -> bool:
    """Whether a layer is kept elsewhere (image-spec, layer.md#non-distributable-layers): a name, and no more."""
    return "nondistributable" in media_type or ".foreign." in media_type


def referrers_index(manifests: list[Mapping[str, Any]]) -> bytes:
    """The answer of the referrers API (distribution-spec, spec.md#listing-referrers)."""
    return json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}).encode()


def referrers_of(index: bytes, artifact_type: str | None) -> list[Mapping[str, Any]]:
    """The descriptors of a referrers index, those of one `artifactType` only when it is given."""
    found: list[Mapping[str, Any]] = [item for item in _list(_document(index), "manifests") if isinstance(item, dict)]
    return found if artifact_type is None else [item for item in found if item.get("artifactType") == artifact_type]


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _list(document: Mapping[str, Any], key: str) -> list[Any]:
    value = document.get(key)
    return value if isinstance(value, list) else []


def _is_descriptor(item: object) -> bool:
    found = list(_descriptors(item))
    return (
        bool(found)
        and isinstance(item, dict)
        and isinstance(item.get("mediaType"), str)
        and type(item.get("size")) is int
        and item["size"] >= 0
    )


def _descriptors(item: object) -> Iterator[Descriptor]:
    if not isinstance(item, dict) or not isinstance(item.get("digest"), str):
        return
    size = item.get("size")
    try:
        digest = Digest.parse(item["digest"])
    except DigestInvalid:
        return
    yield Descriptor(str(item.get("mediaType", "")), digest, size if isinstance(size, int) and size >= 0 else 0)

"""Names of things (OCI distribution-spec, spec.md#pulling-manifests): repositories, tags, pinned content."""

import re
from typing import NamedTuple

from edgeproxy.oci.digest import Digest
from edgeproxy.oci.errors import NameInvalid, TagInvalid

_PATH = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
_REGISTRY = re.compile(r"(?:[a-z0-9]+(?:[.-]+[a-z0-9]+)*|\[[0-9a-f:]+\])(?::[0-9]{1,5})?")
_LONGEST_PATH = 255
DOCKER_HUB = "docker.io"
_ALIASES = {
    "registry-1.docker.io": DOCKER_HUB,
    "index.docker.io": DOCKER_HUB,
    "registry.hub.docker.com": DOCKER_HUB,
}


class Repository(NamedTuple):
    """A repository of a registry: `docker.io/library/nginx` is `Repository("docker.io", "library/nginx")`."""

    registry: str
    path: str

    def __str__(self) -> str:
        return f"{self.registry}/{self.path}"


class Tag(NamedTuple):
    """A name that may move from one manifest to another."""

    repository: Repository
    name: str

    def __str__(self) -> str:
        return f"{self.repository}:{self.name}"


class Pinned(NamedTuple):
    """Content of a repository named by its digest: it never changes."""

    repository: Repository
    digest: Digest

    def __str__(self) -> str:
        return f"{self.repository}@{self.digest}"


Reference = Tag | Pinned


def path_of(kind: str, reference: Reference) -> str:
    """Where it is found in its repository: `manifests/1.0`, `blobs/sha256:…`."""
    return f"{kind}/{reference.name if isinstance(reference, Tag) else reference.digest}"


def parse_registry(text: str) -> str:
    """The registry's canonical name: lower case, Docker Hub's other names folded. Raises `NameInvalid`."""
    name = text.lower()
    if len(name) > _LONGEST_PATH or not _REGISTRY.fullmatch(name):
        raise NameInvalid(f"{text[:100]!r} is not a registry: expected a host name, with a port where it has one")
    return _ALIASES.get(name, name)


def parse_repository(registry: str, path: str) -> Repository:
    """`registry` is canonical already; Docker Hub's `nginx` means `library/nginx`. Raises `NameInvalid`."""
    if len(path) > _LONGEST_PATH or not _PATH.fullmatch(path):
        raise NameInvalid(f"{path[:100]!r} is not a repository: expected lower-case words with . _ - / between")
    if registry == DOCKER_HUB and "/" not in path:
        path = f"library/{path}"
    return Repository(registry, path)


def is_tag(text: str) -> bool:
    return _TAG.fullmatch(text) is not None


def parse_reference(repository: Repository, text: str) -> Reference:
    """A digest where there is a colon, else a tag. Raises `DigestInvalid` or `TagInvalid`."""
    if ":" in text:
        return Pinned(repository, Digest.parse(text))
    if not _TAG.fullmatch(text):
        raise TagInvalid(f"{text[:140]!r} is not a tag: expected up to 128 of A-Z a-z 0-9 . _ -, no . or - first")
    return Tag(repository, text)


def parse_full(text: str) -> Reference:
    """What `str` made of a reference. Raises `NameInvalid`, `DigestInvalid` or `TagInvalid`."""
    registry, _, rest = text.partition("/")
    path, at, which = rest.partition("@")
    if not at:
        path, _, which = rest.rpartition(":")
    return parse_reference(parse_repository(parse_registry(registry), path), which)

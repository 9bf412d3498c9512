"""Which registry and repository a request means, in each of the ways that clients say it.

    path        /v2/ghcr.io/owner/app/…            CRI-O, podman, skopeo
    ns          /v2/owner/app/…?ns=ghcr.io         containerd (distribution-spec, spec.md#registry-proxying)
    Host        a name that is configured for a registry, or the registry's own
    default     /v2/library/nginx/…                docker, which mirrors docker.io only and says nothing

The first that applies decides, in this order. A pure function of the request's target and its Host.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from edgeproxy.interfaces import Kind
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.errors import Denied, NameInvalid, Refusal, RequestInvalid, RouteUnknown
from edgeproxy.oci.reference import (
    Pinned,
    Reference,
    Repository,
    parse_reference,
    parse_registry,
    parse_repository,
)

Word = Literal["base", "catalog", "tags", "referrers", "manifests", "blobs"]
_UPLOADS = re.compile(r"/v2/(?P<name>.+)/blobs/uploads(?:/(?P<id>[^/]*))?")
_ROUTE = re.compile(r"/v2/(?P<name>.+)/(?:(?P<kind>manifests|blobs|referrers)/(?P<which>[^/]+)|(?P<tags>tags/list))")
_REMEMBERED, _LONGEST = 8192, 1024
"""Requests that are remembered, and characters of one that is."""
TOKEN_PATH = "/token"


class Content(NamedTuple):
    """A request for one manifest or blob."""

    kind: Kind
    reference: Reference
    namespace: str | None
    """The `ns` to be confirmed in `OCI-Namespace`."""


class NewUpload(NamedTuple):
    """`POST …/blobs/uploads/`: for a blob that is in the body where `digest` is given, or mounted from `source`."""

    repository: Repository
    namespace: str | None
    digest: Digest | None = None
    mount: Digest | None = None
    source: Repository | None = None


class Upload(NamedTuple):
    """A request about an upload that was begun; `digest` says what it is, at its end."""

    repository: Repository
    namespace: str | None
    identity: str
    digest: Digest | None = None


class TagList(NamedTuple):
    repository: Repository
    named: str
    """The repository as the client wrote it."""
    namespace: str | None
    last: str
    limit: int | None


class Referrers(NamedTuple):
    subject: Pinned
    namespace: str | None
    artifact_type: str | None


class Catalogue(NamedTuple):
    last: str
    limit: int | None


class Base(NamedTuple):
    """`GET /v2/`: whether this is a registry at all."""


class TokenAsk(NamedTuple):
    """A request to the token endpoint: what for, in the words of the Docker token specification."""

    service: str
    scopes: tuple[str, ...]
    """`repository:<name>:<actions>`; none where somebody only wants to know whether the login is right."""


PullAsk = Content | TagList | Referrers | Catalogue | Base
PushAsk = Content | NewUpload | Upload
Ask = PullAsk | PushAsk | TokenAsk


def methods(ask: Ask) -> tuple[str, ...]:
    """What may be done with it (RFC 9110, section 10.2.1)."""
    match ask:
        case TokenAsk():
            return ("GET", "POST")
        case NewUpload():
            return ("POST",)
        case Upload():
            return ("GET", "PATCH", "PUT", "DELETE")
        case Content("manifests"):
            return ("GET", "HEAD", "PUT", "DELETE")
        case Content():
            return ("GET", "HEAD", "DELETE")
        case _:
            return ("GET", "HEAD")


class Addresses:
    """Parses targets; what was parsed lately is remembered."""

    def __init__(self, registries: Collection[str], hosts: Mapping[str, str], default: str) -> None:
        """`hosts` maps names in the Host field to registries."""
        self._registries = frozenset(registries)
        self._hosts = {**{name: name for name in registries}, **hosts}
        self._default = default
        self._remembered = lru_cache(_REMEMBERED)(self._parse)

    def parse(self, target: str, host: str) -> Ask:
        """Raises the `Refusal` that says what is wrong with the request."""
        if len(target) + len(host) > _LONGEST:
            return self._parse(target, host)
        return self._remembered(target, host)

    def _parse(self, target: str, host: str) -> Ask:
        try:
            url = urlsplit(target)
            asked = parse_qsl(url.query, keep_blank_values=True)
        except ValueError as error:
            raise RequestInvalid(f"the request's target cannot be read: {error}") from error
        query, path = dict(asked), unquote(url.path)
        if path == TOKEN_PATH:
            return TokenAsk(query.get("service", ""), tuple(_scopes(asked)))
        if path in ("/v2/", "/v2"):
            return Base()
        if path == "/v2/_catalog":
            return Catalogue(query.get("last", ""), _limit(query.get("n")))
        if found := _UPLOADS.fullmatch(path):
            return self._upload(found["name"], found["id"], query, host)
        found = _ROUTE.fullmatch(path)
        if not found:
            raise RouteUnknown(f"{path[:200]!r} is no path of the registry API: see /v2/<name>/manifests/<reference>")
        repository = self._repository(found["name"], query.get("ns"), host)
        namespace = self._honoured(query.get("ns"), repository)
        if found["tags"]:
            return TagList(repository, found["name"], namespace, query.get("last", ""), _limit(query.get("n")))
        if found["kind"] == "referrers":
            subject = Pinned(repository, Digest.parse(found["which"]))
            return Referrers(subject, namespace, query.get("artifactType"))
        if found["kind"] == "blobs":
            return Content("blobs", Pinned(repository, Digest.parse(found["which"])), namespace)
        return Content("manifests", parse_reference(repository, found["which"]), namespace)

    def _upload(self, name: str, identity: str | None, query: Mapping[str, str], host: str) -> NewUpload | Upload:
        ns = query.get("ns")
        repository = self._repository(name, ns, host)
        namespace = self._honoured(ns, repository)
        digest = Digest.parse(query["digest"]) if "digest" in query else None
        if identity:
            return Upload(repository, namespace, identity, digest)
        mount = Digest.parse(query["mount"]) if "mount" in query else None
        return NewUpload(repository, namespace, digest, mount, self._source(query.get("from"), ns, host))

    def _source(self, name: str | None, ns: str | None, host: str) -> Repository | None:
        """Where a blob is mounted from: a name that means nothing here is as good as none."""
        try:
            return self._repository(name, ns, host) if name else None
        except Refusal:
            return None

    def image(self, text: str) -> Reference:
        """`docker.io/library/nginx:1.25` or `ghcr.io/owner/app@sha256:…`, as people write them.

        Raises the refusals of `parse`.
        """
        name, at, digest = text.partition("@")
        if not at:
            name, _, tag = name.rpartition(":") if ":" in name.rpartition("/")[2] else (name, "", "")
            digest = tag or "latest"
        repository = self._repository(name, None, "")
        return parse_reference(repository, digest)

    def canonical(self, name: str) -> str | None:
        """The `registry/repository` that a name means where nothing else says so; `None` where that is none."""
        try:
            return str(self._repository(name, None, ""))
        except Refusal:
            return None

    def registries(self, names: Sequence[str], service: str) -> set[str]:
        """The registries that a login is for: those that names say, else the service, else the default."""
        prefixes = {_registry_or_none(name.partition("/")[0]) for name in names if "/" in name}
        said = {prefix for prefix in prefixes if prefix is not None and prefix in self._registries}
        return said or {service if service in self._registries else self._default}

    def _honoured(self, ns: str | None, repository: Repository) -> str | None:
        """The `ns` to be confirmed: one that says what the path says, or decided because the path says nothing."""
        return ns if ns and _registry_or_none(ns) == repository.registry else None

    def _repository(self, name: str, ns: str | None, host: str) -> Repository:
        first, slash, rest = name.partition("/")
        prefix = _registry_or_none(first) if slash else None
        if prefix in self._registries and prefix is not None:
            return parse_repository(prefix, rest)
        if ns:
            return parse_repository(self._known(parse_registry(ns)), name)
        if registry := self._hosts.get(host.lower()) or self._hosts.get(host.lower().rpartition(":")[0]):
            return parse_repository(registry, name)
        if prefix is not None and ("." in first or ":" in first):
            self._known(prefix)
        return parse_repository(self._default, name)

    def _known(self, registry: str) -> str:
        if registry not in self._registries:
            raise Denied(
                f'{registry} is not configured here, and this is no open proxy: add [registry."{registry}"] '
                f"to the configuration, or use one of {', '.join(sorted(self._registries))}",
                "unconfigured",
            )
        return registry


def _registry_or_none(text: str) -> str | None:
    try:
        return parse_registry(text)
    except NameInvalid:
        return None


def _scopes(query: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Several in one parameter, or in several."""
    for key, value in query:
        if key == "scope":
            yield from value.split()


def _limit(n: str | None) -> int | None:
    if n is None:
        return None
    if not n.isdecimal() or len(n) > 9:
        raise RequestInvalid(f"n is a number of entries, not {n[:20]!r}")
    return int(n)

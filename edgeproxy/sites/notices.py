"""What registries tell of themselves: notifications of distribution, webhooks of Harbor. Pure."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from edgeproxy.oci.digest import Digest
from edgeproxy.oci.errors import DigestInvalid
from edgeproxy.oci.reference import is_tag

_DISTRIBUTION = {"push": False, "delete": True}
_HARBOR = {"PUSH_ARTIFACT": False, "DELETE_ARTIFACT": True}
"""Whether an event is about a deletion; others are about nothing that we do."""


class Notice(NamedTuple):
    """A manifest was pushed, or deleted; by tag or digest, or both."""

    path: str
    """Of the repository, in its registry."""
    tag: str | None
    digest: Digest | None
    deleted: bool


def notices(body: bytes) -> list[Notice]:
    """What a body tells of, unknown events left out. Raises ValueError where it is of neither kind."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"this is no JSON: {error}") from error
    if not isinstance(document, dict) or not ("events" in document or "type" in document):
        raise ValueError("notifications of distribution, or a webhook of Harbor in its default format, are expected")
    found = _of_distribution(document) if "events" in document else _of_harbor(document)
    try:
        return [notice for notice in found if notice.path and (notice.tag or notice.digest)]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"an event lacks what is told of it: {error}") from error


def _of_distribution(document: Mapping[str, Any]) -> Iterator[Notice]:
    """CNCF distribution, notifications: blobs are told of as well, manifests by their URL."""
    for event in document["events"]:
        target = event["target"]
        is_manifest = "/manifests/" in str(target.get("url", "")) or target.get("tag")
        if event.get("action") in _DISTRIBUTION and is_manifest:
            deleted = _DISTRIBUTION[event["action"]]
            yield Notice(str(target["repository"]), _tag(target.get("tag")), _digest(target.get("digest")), deleted)


def _of_harbor(document: Mapping[str, Any]) -> Iterator[Notice]:
    if document["type"] not in _HARBOR:
        return
    about = document["event_data"]
    for resource in about["resources"]:
        path = str(about["repository"]["repo_full_name"])
        yield Notice(path, _tag(resource.get("tag")), _digest(resource.get("digest")), _HARBOR[document["type"]])


def _tag(value: object) -> str | None:
    return value if isinstance(value, str) and is_tag(value) else None


def _digest(value: object) -> Digest | None:
    try:
        return Digest.parse(value) if isinstance(value, str) else None
    except DigestInvalid:
        return None

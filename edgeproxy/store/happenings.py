"""Happenings as lines of JSON, each an array: what is recorded and exported.

["asked", time, client, method, kind, registry, path, tag or digest, digest or null, size, outcome, sent, seconds]
["names", time, [media type, digest, size], [[media type, digest, size], ...]]
["checked", time, registry, path, tag, [media type, digest, size] or null]
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from edgeproxy.interfaces import Access, Checked, Contents, Happening
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.errors import Refusal
from edgeproxy.oci.manifest import Descriptor
from edgeproxy.oci.reference import Pinned, Reference, Repository, Tag


def write(happening: Happening) -> str:
    """One line, without its end."""
    match happening:
        case Access():
            reference = happening.reference
            name = reference.name if isinstance(reference, Tag) else reference.digest
            about = [happening.method, happening.kind, *reference.repository, name, happening.digest, happening.size]
            told = [happening.outcome, happening.sent, round(happening.seconds, 6)]
            row = ["asked", round(happening.time, 3), happening.client, *about, *told]
        case Contents():
            row = ["names", round(happening.time, 3), happening.manifest, happening.names]
        case Checked():
            row = [
                "checked",
                round(happening.time, 3),
                *happening.tag.repository,
                happening.tag.name,
                happening.descriptor,
            ]
    return json.dumps(row, separators=(",", ":"))


def read(line: str | bytes) -> Happening:
    """Raises ValueError where it is none."""
    try:
        word, *row = json.loads(line)
        return _READ[word](*row)
    except (TypeError, KeyError, AttributeError, RecursionError, Refusal) as error:
        raise ValueError(f"this is no line of an access record: {str(line)[:100]}") from error


def _asked(
    time: float,
    client: int,
    method: Any,
    kind: Any,
    registry: str,
    path: str,
    name: str,
    digest: str | None,
    size: int,
    outcome: str,
    sent: int,
    seconds: float,
) -> Access:
    repository = Repository(registry, path)
    reference: Reference = Pinned(repository, Digest.parse(name)) if ":" in name else Tag(repository, name)
    shown = None if digest is None else Digest.parse(digest)
    return Access(
        float(time), int(client), method, kind, reference, shown, int(size), str(outcome), int(sent), float(seconds)
    )


def _names(time: float, manifest: Any, names: Any) -> Contents:
    return Contents(float(time), _descriptor(manifest), tuple(map(_descriptor, names)))


def _checked(time: float, registry: str, path: str, tag: str, descriptor: Any) -> Checked:
    shown = None if descriptor is None else _descriptor(descriptor)
    return Checked(float(time), Tag(Repository(registry, path), tag), shown)


def _descriptor(row: Any) -> Descriptor:
    media_type, digest, size = row
    return Descriptor(str(media_type), Digest.parse(digest), int(size))


_READ: Mapping[str, Callable[..., Happening]] = {"asked": _asked, "names": _names, "checked": _checked}

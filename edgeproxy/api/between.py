"""What sites say to each other beside OCI (docs/adr/0009): fields of requests and answers, and the list of versions."""

from collections.abc import Mapping

from edgeproxy.api.reply import joined
from edgeproxy.cache.writes import Said
from edgeproxy.oci.errors import RequestInvalid
from edgeproxy.oci.version import is_source, parse_version

VERSION, VIA = "Edgeproxy-Version", "Edgeproxy-Via"
SOURCE, FREE = "Edgeproxy-Source", "Edgeproxy-Free"
VERSIONED_TAGS = "application/vnd.edgeproxy.tags.v1+json"
_MOST_SITES = 100
"""That a write has come through."""


def said_of(headers: Mapping[str, str]) -> Said | None:
    """What a request says of a write that is passed on; `None` where it is its caller's. Raises `RequestInvalid`."""
    version, via = headers.get(VERSION), joined(headers, VIA)
    if version is None and not via:
        return None
    sites = tuple(site.strip() for site in via.split(",")) if via else ()
    if len(sites) > _MOST_SITES or not all(map(is_source, sites)):
        raise RequestInvalid(f"{via[:100]!r} is no list of sites: write {VIA}: source, source")
    return Said(parse_version(version) if version is not None else None, sites)


def wants_versions(headers: Mapping[str, str]) -> bool:
    """Whether a list of tags is asked for as sites tell it to each other."""
    return VERSIONED_TAGS in joined(headers, "Accept")

"""Where an upstream may lead us, and where its login may go."""

import re
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address

from yarl import URL

from edgeproxy.oci.errors import Unavailable

_WRITTEN = re.compile(r"[!#-;=?-Z\[\]_a-z~]*")


def may_send(credentials_of: URL, to: URL) -> bool:
    """Whether a login for one host may go to another: encrypted unless both are the same, and the same owner's.

    The owner is taken from the last two labels of the name, so that registry-1.docker.io trusts auth.docker.io.
    """
    if credentials_of.origin() == to.origin():
        return True
    if to.scheme != "https":
        return False
    ours, theirs = (credentials_of.host or "").split("."), (to.host or "").split(".")
    return len(ours) > 1 and _address(credentials_of.host or "") is None and ours[-2:] == theirs[-2:]


def is_inside(url: URL) -> bool:
    """Whether a URL names an address that only this machine or its own network can reach."""
    host = (url.host or "").rstrip(".").lower()
    address = _address(host)
    return host == "localhost" or host.endswith(".localhost") or (address is not None and not address.is_global)


def led(origin: URL, base: URL, text: str, what: str) -> URL:
    """The URL that a registry leads to, byte by byte as it wrote it: it may be signed. Raises `Unavailable`."""
    try:
        target = base.join(URL(text, encoded=bool(_WRITTEN.fullmatch(text))))
        absolute = target.scheme in ("http", "https") and bool(target.host) and target.port is not None
    except ValueError:
        absolute = False
    if not text or not absolute:
        raise Unavailable(f"{origin.host} names no address of HTTP as its {what}: refused")
    check_target(origin, target, what)
    return target


def check_target(origin: URL, target: URL, what: str) -> None:
    """Refuse to be led by a registry from encryption to plain text, or from the internet into the site's network."""
    if target.scheme not in ("http", "https") or not target.host:
        raise Unavailable(f"{origin.host} names no address of HTTP as its {what}: refused")
    if origin.scheme == "https" and target.scheme != "https":
        raise Unavailable(f"{origin.host} names {target.origin()} as its {what}, which is not encrypted: refused")
    if is_inside(target) and not is_inside(origin):
        raise Unavailable(f"{origin.host} names {target.origin()} as its {what}, which is inside this network: refused")


def _address(host: str) -> IPv4Address | IPv6Address | None:
    """What the resolver takes for an address without asking anybody: 127.1 and 2130706433 too."""
    try:
        return ip_address(host)
    except ValueError:
        pass
    try:
        return IPv4Address(socket.inet_aton(host))
    except (OSError, UnicodeError):
        return None

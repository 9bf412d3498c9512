"""Who the certificate of a client says that it is."""

from collections.abc import Mapping
from typing import Any, Literal

By = Literal["subject", "san"]
"""Which name of a certificate counts: its subject's common name, or its first subject alternative name."""
_ALTERNATIVES = ("DNS", "email", "URI")


def presented(peercert: Mapping[str, Any], by: By) -> str:
    """The name in a verified certificate, in the form of `SSLSocket.getpeercert`; "" where there is not just one.

    Of alternative names the first that is a DNS name, a mail address or a URI.
    """
    if by == "subject":
        found = [value for part in peercert.get("subject", ()) for kind, value in part if kind == "commonName"]
    else:
        found = [value for kind, value in peercert.get("subjectAltName", ()) if kind in _ALTERNATIVES][:1]
    return found[0] if len(found) == 1 and found[0].isprintable() else ""

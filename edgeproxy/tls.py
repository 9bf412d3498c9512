"""TLS for clients: certificates that are read again when they change, and handshakes that fail in words."""

import logging
import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgeproxy.api import fields
from edgeproxy.api.reply import reply_with_refusal
from edgeproxy.oci.errors import RequestInvalid
from edgeproxy.remote.transport import CertificateInvalid, show, trust

log = logging.getLogger(__name__)
Mtls = Literal["off", "optional", "required"]
_VERIFY = {"off": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}


@dataclass(frozen=True, slots=True)
class Encryption:
    """What we show to clients, and whose certificates we want to see of them. The files are PEM."""

    certificate: Path
    key: Path | None = None
    """Where it is not in the same file."""
    client_ca: Path | None = None
    mtls: Mtls = "off"


def server_context(given: Encryption) -> ssl.SSLContext:
    """Raises `CertificateInvalid`."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.sslobject_class = _Handshake
    show(made, "certificate", given.certificate, "key", given.key)
    if given.client_ca is not None:
        trust(made, "client_ca", given.client_ca)
    made.verify_mode = _VERIFY[given.mtls]
    return made


def doubt(given: Encryption) -> str:
    """Why no client will believe our certificate, in OpenSSL's words: it has expired, for one. Else "".

    We ask one that believes nothing else.
    """
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    trust(client, "certificate", given.certificate)
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking = client.wrap_bio(back, there)
    for end in (asking, server_context(given).wrap_bio(there, back, server_side=True), asking):
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue
        except ssl.SSLError as error:
            return getattr(error, "verify_message", str(error))
    return ""


class Certificates:
    """The files of `given`, and the context for a listener that always goes by what they held last."""

    def __init__(self, given: Encryption) -> None:
        """Raises `CertificateInvalid`."""
        self.context = _Newest(ssl.PROTOCOL_TLS_SERVER)
        self._read(given)

    async def step(self) -> None:
        """Read the files again if they have changed."""
        if _stamps(self._given) != self._seen:
            self.renew(self._given)

    def renew(self, given: Encryption) -> None:
        """For the connections to come. A file that cannot be used changes nothing."""
        try:
            self._read(given)
            log.info("certificates read again")
        except CertificateInvalid as error:
            log.error("the certificates stay as they were: %s", error)

    def _read(self, given: Encryption) -> None:
        self._given, self._seen = given, _stamps(given)
        self.context.newest = server_context(given)
        if doubted := doubt(given):
            log.warning("clients will not believe %s: %s", given.certificate, doubted)


def _stamps(given: Encryption) -> list[tuple[int, int, int] | None]:
    return [_stamp(file) for file in (given.certificate, given.key, given.client_ca) if file is not None]


def _stamp(file: Path) -> tuple[int, int, int] | None:
    """What changes with a file's content, whether it is written anew or another takes its place."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


class _Newest(ssl.SSLContext):
    """asyncio binds a listener to one context for good: this one has every handshake done by the newest.

    A context has its own session tickets as well: whom the newest does not trust cannot come back with an old one.
    """

    newest: ssl.SSLContext

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        made = self.newest.wrap_bio(incoming, outgoing, server_side, server_hostname, session)
        assert isinstance(made, _Handshake)
        made.outgoing = outgoing
        return made


class _Handshake(ssl.SSLObject):
    """asyncio closes a connection whose handshake fails without sending OpenSSL's alert, which says why.

    So the failure is held back until the client has had its say about that, or the time for a handshake is up.
    """

    outgoing: ssl.MemoryBIO
    _failure: ssl.SSLError | None = None

    def do_handshake(self) -> None:
        if self._failure is not None:
            raise self._failure
        try:
            super().do_handshake()
        except ssl.SSLWantReadError:
            raise
        except ssl.SSLError as error:
            log.debug("a handshake failed: %s", error)
            if error.reason == "HTTP_REQUEST":
                self.outgoing.write(_speak_tls())
            self._failure = error
            raise ssl.SSLWantReadError from error


def _speak_tls() -> bytes:
    refusal = RequestInvalid("this is not TLS: write https:// for this port")
    reply = reply_with_refusal(refusal, None, head_only=False)
    head = fields.head(reply.status, (*reply.about, ("Connection", "close")), reply.came_by, time.time())
    return head + reply.body.body  # type: ignore[union-attr]

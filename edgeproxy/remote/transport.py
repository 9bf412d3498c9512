"""How requests reach an upstream: the connections of all of them, its certificates, and the proxies on the way."""

import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]

from aiohttp import ClientResponse, ClientSession
from yarl import URL

from edgeproxy.oci.credentials import Credentials
from edgeproxy.remote.targets import may_send


class CertificateInvalid(Exception):
    """A certificate or key cannot be used; the words begin with the key of the configuration."""


class ProxyInvalid(Exception):
    """A variable names no proxy; its words hold nothing of its value, for there may be a login in it."""


@dataclass(frozen=True, slots=True)
class Proxy:
    url: URL
    authorization: str = field(default="", repr=False)


class Proxies:
    """`HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`, in capitals or not, as other clients read them."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Raises `ProxyInvalid`."""
        found = {name.lower(): (name, value) for name, value in sorted(environment.items())}  # small letters win
        self._by_scheme = {scheme: _proxy(*found.get(f"{scheme}_proxy", ("", ""))) for scheme in ("http", "https")}
        self._not = {"no": found.get("no_proxy", ("", ""))[1]}

    def of(self, url: URL) -> Proxy | None:
        proxy = self._by_scheme.get(url.scheme)
        if proxy is None or proxy_bypass_environment(f"{url.host}:{url.port}", self._not):
            return None
        return proxy


def _proxy(name: str, value: str) -> Proxy | None:
    if not value:
        return None
    try:
        url = URL(value if "://" in value else f"http://{value}")
        known = url.scheme in ("http", "https") and bool(url.host) and url.port is not None
    except ValueError:
        known = False
    if not known:
        raise ProxyInvalid(f'{name} names no proxy that speaks HTTP: write it as in "http://proxy.example.com:3128"')
    return Proxy(url.with_user(None), Credentials(url.user, url.password or "").basic() if url.user else "")


DIRECT = Proxies({})


class Transport:
    """Sends requests on behalf of one upstream; the certificate that names us goes to its owner only."""

    def __init__(
        self,
        session: ClientSession,
        origin: URL,
        proxies: Proxies = DIRECT,
        trusting: ssl.SSLContext | None = None,
        named: ssl.SSLContext | None = None,
    ) -> None:
        """`trusting` has the authorities that upstreams are verified by, `named` our own certificate as well."""
        self._session = session
        self._origin = origin
        self._proxies = proxies
        self._trusting = trusting
        self._named = named

    @property
    def is_named(self) -> bool:
        """Whether it shows a certificate of ours."""
        return self._named is not None

    async def send(self, method: str, url: URL, **more: Any) -> ClientResponse:
        """As `ClientSession.request`; redirects are not followed."""
        options: dict[str, Any] = {}
        if (proxy := self._proxies.of(url)) is not None:
            options["proxy"] = proxy.url
            if proxy.authorization:  # of a tunnel it belongs to the request for that
                target, key = (options, "proxy_headers") if url.scheme == "https" else (more, "headers")
                target[key] = {**target.get(key, {}), "Proxy-Authorization": proxy.authorization}
        context = self._named if self._named and may_send(self._origin, url) else self._trusting
        if context is not None and url.scheme == "https":
            options["ssl"] = context
        return await self._session.request(method, url, allow_redirects=False, **options, **more)


def tls(ca_file: Path | None, client_cert: Path | None = None, client_key: Path | None = None) -> ssl.SSLContext:
    """The system's authorities and those of a file; a certificate of our own. Raises `CertificateInvalid`."""
    context = ssl.create_default_context()
    if ca_file is not None:
        trust(context, "ca_file", ca_file)
    if client_cert is not None:
        show(context, "client_cert", client_cert, "client_key", client_key)
    return context


def trust(context: ssl.SSLContext, key: str, authorities: Path) -> None:
    """Verify others by these authorities, which `key` of the configuration names. Raises `CertificateInvalid`."""
    with _told_of(key, authorities, "certificates"):
        authorities.read_bytes()  # says why it cannot be read
        context.load_verify_locations(authorities)


def show(context: ssl.SSLContext, key: str, certificate: Path, key_of_key: str, private: Path | None) -> None:
    """Show others this certificate; its private key may be in the same file. Raises `CertificateInvalid`."""
    if private is not None:
        with _told_of(key_of_key, private, "a key"):
            private.read_bytes()
    with _told_of(key, certificate, "a certificate and its key, which has no password"):
        certificate.read_bytes()
        context.load_cert_chain(certificate, private, password=lambda: b"")


@contextmanager
def _told_of(key: str, file: Path, what: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or "it is no PEM"
        raise CertificateInvalid(f"{key}: {file} cannot be used: {reason}; name a PEM file with {what}") from error

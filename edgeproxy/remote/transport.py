"""How requests reach an upstream: the connections of all of them, its certificates, and the proxies on the way."""

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]

from aiohttp import ClientResponse, ClientSession
from yarl import URL

from edgeproxy.remote.targets import may_send


class CertificateInvalid(Exception):
    """A certificate or key cannot be used."""


class Proxies:
    """`HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`, in capitals or not, as other clients read them."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        found = {name.lower(): value for name, value in sorted(environment.items()) if value}  # small letters win
        self._by_scheme = {scheme: found.get(f"{scheme}_proxy") for scheme in ("http", "https")}
        self._not = {"no": found.get("no_proxy", "")}

    def of(self, url: URL) -> URL | None:
        proxy = self._by_scheme.get(url.scheme)
        if proxy is None or proxy_bypass_environment(f"{url.host}:{url.port}", self._not):
            return None
        return URL(proxy if "://" in proxy else f"http://{proxy}")


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

    async def send(self, method: str, url: URL, **more: Any) -> ClientResponse:
        """As `ClientSession.request`; redirects are not followed."""
        options: dict[str, Any] = {"proxy": self._proxies.of(url)}
        context = self._named if self._named and may_send(self._origin, url) else self._trusting
        if context is not None and url.scheme == "https":
            options["ssl"] = context
        return await self._session.request(method, url, allow_redirects=False, **options, **more)


def tls(ca_file: Path | None, cert: Path | None = None, key: Path | None = None) -> ssl.SSLContext:
    """The system's authorities and those of a file; a certificate of our own. Raises `CertificateInvalid`."""
    context = ssl.create_default_context()
    named = ca_file
    try:
        if ca_file is not None:
            context.load_verify_locations(ca_file)
        if cert is not None:
            named = cert
            context.load_cert_chain(cert, key, password=lambda: b"")
    except (OSError, ValueError) as error:
        raise CertificateInvalid(f"{named}: {error}") from error
    return context

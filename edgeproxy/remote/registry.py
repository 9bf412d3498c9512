"""A registry above us, asked in the words of the OCI distribution-spec."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from aiohttp import (
    ClientError,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    DummyCookieJar,
    TCPConnector,
)
from yarl import URL

from edgeproxy import __version__, tracing
from edgeproxy.interfaces import Kind, Page, Role
from edgeproxy.oci.credentials import Credentials, lent
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.errors import (
    DigestInvalid,
    LoopDetected,
    ManifestUnknown,
    NameUnknown,
    RangeInvalid,
    Refusal,
    RouteUnknown,
    TooManyRequests,
    Unavailable,
    UpstreamTimeout,
    UpstreamUnauthorized,
    unknown,
)
from edgeproxy.oci.manifest import ACCEPTED, LARGEST_MANIFEST, Descriptor
from edgeproxy.oci.passage import passing
from edgeproxy.oci.reference import Pinned, Repository, Tag
from edgeproxy.remote.allowance import Allowance, read_retry_after
from edgeproxy.remote.logins import Login, given
from edgeproxy.remote.targets import led, may_send
from edgeproxy.remote.tokens import Tokens
from edgeproxy.remote.transport import Transport

_MOST_REDIRECTS = 5
_READ_AHEAD = 1024 * 1024
"""Bytes a connection buffers while the store writes: the two overlap, and no body is ever held whole."""
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
_MOST_CALLERS = 1024
_LARGEST_LISTING = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds: to connect, to wait for an answer's header, and to wait for its next bytes."""

    connect: float = 5.0
    first_byte: float = 20.0
    idle: float = 30.0


def new_session(timeouts: Timeouts) -> ClientSession:
    """The connections of all upstreams. Bodies are handed on as they are, never decoded."""
    return ClientSession(
        connector=TCPConnector(limit=0, limit_per_host=64, keepalive_timeout=60),
        timeout=ClientTimeout(total=None, sock_connect=timeouts.connect, sock_read=timeouts.idle),
        auto_decompress=False,
        cookie_jar=DummyCookieJar(),
        read_bufsize=_READ_AHEAD,
        headers={"User-Agent": f"edgeproxy/{__version__}", "Accept-Encoding": "identity"},
    )


class RegistryBody:
    """Implements `interfaces.Body`."""

    def __init__(self, response: ClientResponse, asked: int, upstream: str) -> None:
        self._response = response
        self._upstream = upstream
        self.media_type = response.headers.get("Content-Type", "")
        self.start, self.size = _extent(response, asked)

    async def chunks(self) -> AsyncIterator[bytes]:
        content = self._response.content
        try:
            while chunk := await content.readany():
                yield chunk
            return
        except TimeoutError as error:
            raise UpstreamTimeout(f"{self._upstream} stalls in the middle of a body") from error
        except (ClientError, OSError) as error:
            broken = error
        content.set_exception(None)  # type: ignore[arg-type]  # what had arrived before is still to be read
        if rest := content.read_nowait():
            yield rest
        raise Unavailable(f"{self._upstream} broke off in the middle of a body: {broken}") from broken


class Registry:
    """Implements `interfaces.Upstream` over HTTP."""

    def __init__(
        self,
        name: str,
        url: URL,
        transport: Transport,
        login: Login | None,
        proxy: str,
        timeouts: Timeouts,
        role: Role = "origin",
        allowance: Allowance | None = None,
    ) -> None:
        """`name` for people; `proxy` is this proxy's own name, which upstreams are told (RFC 8586)."""
        self.name = name
        self.role: Role = role
        self.allowance = allowance or Allowance()
        """What it grants us, by what it answers; what it grants callers by their own logins is theirs."""
        self._url = url
        self._transport = transport
        self._proxy = proxy
        self._timeouts = timeouts
        self._tokens = Tokens(transport, url, login, timeouts.first_byte, allowance=self.allowance)
        self._others: dict[Credentials | None, Tokens] = {}
        """Tokens that callers are given by their own logins, and those that anybody is given."""
        self.guarded = login is not None or transport.is_named

    async def resolve(self, tag: Tag) -> Descriptor:
        path = f"manifests/{tag.name}"
        async with self._ask("HEAD", tag.repository, path, {"Accept": ", ".join(ACCEPTED)}) as response:
            self._check(response, ManifestUnknown(f"{tag} is unknown"))
            descriptor = _described(response)
        return descriptor or await self._resolve_by_get(tag, path)

    async def stat(self, kind: Kind, pinned: Pinned) -> Descriptor:
        accept = {"Accept": ", ".join(ACCEPTED)} if kind == "manifests" else {}
        async with self._ask("HEAD", pinned.repository, f"{kind}/{pinned.digest}", accept) as response:
            self._check(response, unknown(kind, pinned))
            if (length := response.headers.get("Content-Length")) is not None:
                return Descriptor(response.headers.get("Content-Type", ""), pinned.digest, int(length))
        async with self.open(kind, pinned) as body:  # a registry that answers a HEAD without the size
            return Descriptor(body.media_type, pinned.digest, body.size or 0)

    @asynccontextmanager
    async def open(
        self, kind: Kind, pinned: Pinned, start: int = 0, stop: int | None = None
    ) -> AsyncIterator[RegistryBody]:
        headers = {"Accept": ", ".join(ACCEPTED)} if kind == "manifests" else {}
        if start or stop is not None:
            headers["Range"] = f"bytes={start}-{'' if stop is None else stop - 1}"
        async with self._ask("GET", pinned.repository, f"{kind}/{pinned.digest}", headers) as response:
            self._check(response, unknown(kind, pinned))
            yield RegistryBody(response, start, self.name)

    async def listing(self, repository: Repository, path: str, query: Sequence[tuple[str, str]]) -> Page:
        absent: Refusal = NameUnknown(f"{repository} is unknown")
        if path.startswith("referrers/"):
            absent = RouteUnknown(f"{self.name} has no referrers API")
        async with self._ask("GET", repository, path, {}, query) as response:
            self._check(response, absent)
            body = await self._read(response, _LARGEST_LISTING)
            return Page(body, _following(response))

    async def shows(self, repository: Repository, path: str, own: Credentials | None = None) -> bool:
        """Implements `interfaces.Keeper`. Where we show a certificate, what we see may be shown to us alone."""
        if self._transport.is_named or (own is not None and self.role != "origin"):
            return False
        method = "GET" if path == "tags/list" else "HEAD"
        accept = {"Accept": ", ".join(ACCEPTED)} if path.startswith("manifests/") else {}
        try:
            async with self._ask(method, repository, path, accept, tokens=self._tokens_of(own)) as response:
                self._check(response, NameUnknown(f"{repository} has no {path}"))
                return response.content_type != "text/html"  # a page to log in at, which strangers are led to
        except UpstreamUnauthorized:
            return False

    def _tokens_of(self, own: Credentials | None) -> Tokens:
        tokens = self._others.get(own)
        if tokens is None:
            if len(self._others) >= _MOST_CALLERS:
                self._others.clear()
            login = Login(given(own.username, lambda: own.password)) if own else None
            tokens = self._others[own] = Tokens(self._transport, self._url, login, self._timeouts.first_byte)
        return tokens

    def _tokens_now(self) -> Tokens:
        """Ours; where we have none, those of the caller whom this is for."""
        own = lent.get()
        return self._tokens if own is None or self.guarded or self.role != "origin" else self._tokens_of(own)

    @property
    def host(self) -> str:
        """Host and port, as they are written."""
        return self.name.partition("/")[0]

    async def try_login(self, credentials: Credentials) -> None:
        """Raises `UpstreamUnauthorized` where this login is not taken; the one that is in use is left alone."""
        login = Login(given(credentials.username, lambda: credentials.password))
        tokens = Tokens(self._transport, self._url, login, self._timeouts.first_byte)
        url = self._url.with_path(f"{self._url.path.rstrip('/')}/v2/")
        response = await tokens.authorized("", partial(self._send, "GET", url, {}, tokens.allowance))
        response.release()
        if response.status in (401, 403):
            raise UpstreamUnauthorized(f"{self.name} does not take the login of {credentials.username}")
        if response.status != 200:
            raise Unavailable(f"{self.name} answers with status {response.status}")

    async def knock(self) -> None:
        """Ask whether it speaks this protocol (distribution-spec, spec.md#determining-support); any answer will do."""
        response = await self._send(
            "GET", self._url.with_path(f"{self._url.path.rstrip('/')}/v2/"), {}, self.allowance, None
        )
        response.release()
        if response.status >= 500:
            raise Unavailable(f"{self.name} answers with status {response.status}")

    async def _resolve_by_get(self, tag: Tag, path: str) -> Descriptor:
        """For registries that answer a HEAD without the digest."""
        async with self._ask("GET", tag.repository, path, {"Accept": ", ".join(ACCEPTED)}) as response:
            self._check(response, ManifestUnknown(f"{tag} is unknown"))
            body = await self._read(response, LARGEST_MANIFEST)
            return Descriptor(response.headers.get("Content-Type", ""), Digest.of(body), len(body))

    async def _read(self, response: ClientResponse, most: int) -> bytes:
        received = bytearray()
        async for chunk in RegistryBody(response, 0, self.name).chunks():
            received += chunk
            if len(received) > most:
                raise Unavailable(f"{self.name} sends more than the {most} bytes that such an answer may have")
        return bytes(received)

    @asynccontextmanager
    async def _ask(
        self,
        method: str,
        repository: Repository,
        path: str,
        headers: Mapping[str, str],
        query: Sequence[tuple[str, str]] = (),
        tokens: Tokens | None = None,
    ) -> AsyncIterator[ClientResponse]:
        """One request, with the login and the redirects it takes."""
        tokens = tokens or self._tokens_now()
        base = self._url.path.rstrip("/")
        if self.role == "peer":  # a sibling knows every registry under one address
            query = [*query, ("ns", repository.registry)]
        url = self._url.with_path(f"{base}/v2/{repository.path}/{path}").with_query(query or None)
        scope = f"repository:{repository.path}:pull"
        response = await tokens.authorized(scope, partial(self._send, method, url, headers, tokens.allowance))
        try:
            for _ in range(_MOST_REDIRECTS):
                if response.status not in (301, 302, 303, 307, 308):
                    break
                target = led(self._url, response.url, response.headers.get("Location", ""), "redirect")
                response.release()
                response = await self._follow(method, target, headers, scope, tokens)
            yield response
        finally:
            response.close() if not response.content.is_eof() else response.release()

    def _check(self, response: ClientResponse, unknown: Refusal) -> None:
        """Raise the refusal that a status means."""
        status, name = response.status, self.name
        if status in (200, 206):
            return
        if status == 404 or (status == 504 and self.role == "peer"):  # it holds none, and was not to ask for it
            raise unknown
        if status in (401, 403):
            raise UpstreamUnauthorized(f"{name} refuses access (status {status}): configure a login that may pull this")
        if status == 416:
            raise RangeInvalid(f"{name} has no such range")
        if status == 429:
            raise TooManyRequests(
                f"{name} limits our requests",
                retry_after=read_retry_after(response.headers.get("Retry-After", ""), time.time()),
            )
        if status == 508:
            raise LoopDetected(f"{name} says that this request has passed it already")
        raise Unavailable(f"{name} answers with status {status}")

    async def _follow(
        self, method: str, target: URL, headers: Mapping[str, str], scope: str, tokens: Tokens
    ) -> ClientResponse:
        """To an object store without the login; back to the registry itself with it."""
        ours = target.origin() == self._url.origin() and may_send(self._url, target)
        return await self._send(
            method, target, headers, tokens.allowance, tokens.authorization(scope) if ours else None
        )

    async def _send(
        self, method: str, url: URL, headers: Mapping[str, str], allowance: Allowance, authorization: str | None
    ) -> ClientResponse:
        sent = {**headers, "CDN-Loop": passing(self._proxy)}
        if self.role == "peer":
            sent["Cache-Control"] = "only-if-cached"  # RFC 9111, section 5.2.1.7
        if authorization:
            sent["Authorization"] = authorization
        own = url.origin() == self._url.origin()
        with tracing.span(f"{method} {self.name}", "client") as span:
            tracing.carry(sent)
            response = await self._sent(method, url, sent, allowance if own else None)
            span.set_attribute("http.request.method", method)
            span.set_attribute("http.response.status_code", response.status)
            span.set_attribute("url.full", str(url.with_query(None).with_user(None)))
            return response

    async def _sent(
        self, method: str, url: URL, headers: Mapping[str, str], allowance: Allowance | None
    ) -> ClientResponse:
        """`allowance`: what its owner is told to have left by the answer."""
        if allowance is not None and (after := allowance.retry_after(time.time())) is not None:
            raise TooManyRequests(f"{self.name} wants not to be asked for {after:.0f} s", retry_after=after)
        try:
            async with asyncio.timeout(self._timeouts.first_byte):
                response = await self._transport.send(method, url, headers=headers)
            if allowance is not None:
                allowance.answered(response.status, response.headers, time.time())
            return response
        except TimeoutError as error:
            raise UpstreamTimeout(f"{self.name} does not answer within {self._timeouts.first_byte:g} s") from error
        except (ClientError, OSError, ValueError) as error:
            raise Unavailable(f"{self.name} cannot be reached: {error}") from error


def _described(response: ClientResponse) -> Descriptor | None:
    """What a HEAD says in its header fields, where it says all of it."""
    try:
        digest = Digest.parse(response.headers["Docker-Content-Digest"])
        return Descriptor(response.headers["Content-Type"], digest, int(response.headers["Content-Length"]))
    except (KeyError, ValueError, DigestInvalid):
        return None


def _following(response: ClientResponse) -> Sequence[tuple[str, str]]:
    """The query of what comes next (RFC 8288; distribution-spec, spec.md#listing-tags)."""
    try:
        return tuple(URL(response.links["next"]["url"]).query.items())
    except (KeyError, ValueError):
        return ()


def _extent(response: ClientResponse, asked: int) -> tuple[int, int | None]:
    """Where the body starts and how long the whole is; an upstream that ignores the range starts at 0."""
    if response.status == 206:
        found = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
        if not found or int(found[1]) > asked:
            raise Unavailable("upstream answered another range than was asked for")
        return int(found[1]), None if found[2] == "*" else int(found[2])
    length = response.headers.get("Content-Length")
    return 0, int(length) if length and length.isdecimal() else None

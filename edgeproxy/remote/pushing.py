"""Requests to a registry that we push to: by the address that works, with the login it takes, refusals in our words."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from aiohttp import ClientError, ClientResponse, ClientTimeout
from yarl import URL

from edgeproxy.interfaces import Clock
from edgeproxy.oci.errors import (
    BlobUploadInvalid,
    BlobUploadUnknown,
    ContentUnreadable,
    Denied,
    DigestInvalid,
    ManifestMalformed,
    NameUnknown,
    RangeInvalid,
    Refusal,
    SizeInvalid,
    Unavailable,
    Unsupported,
    UpstreamUnauthorized,
)
from edgeproxy.oci.reference import Repository
from edgeproxy.remote.allowance import read_retry_after
from edgeproxy.remote.paths import Paths
from edgeproxy.remote.registry import Timeouts
from edgeproxy.remote.targets import led, may_send
from edgeproxy.remote.tokens import Tokens
from edgeproxy.remote.transport import Transport

log = logging.getLogger(__name__)
_LONGEST_ANSWER = 4 * 1024 * 1024
_TOLD = 300
"""Characters of what it says that are passed on."""
_OF_A_GATEWAY = (502, 503, 504)
"""Statuses that may be of the way rather than of the target."""


@dataclass(frozen=True, slots=True)
class Address:
    """One way to the registry."""

    url: URL
    transport: Transport
    tokens: Tokens


class Slices(NamedTuple):
    """A body that is sent slice by slice; `read` begins anew each time that it is sent."""

    size: int
    read: Callable[[], AsyncIterator[bytes | memoryview]]


class _Request(NamedTuple):
    method: str
    headers: Mapping[str, str]
    body: bytes | Slices
    scope: str
    """Of a token."""
    patience: float
    """Seconds to wait for the answer, beyond what is usual."""
    most: int
    """Bytes of an answer."""


class Answer:
    """What was answered, read to its end."""

    def __init__(self, response: ClientResponse, body: bytes, address: URL, seconds: float) -> None:
        self.status = response.status
        self.headers = response.headers
        self.links = response.links
        self.body = body
        self.url = response.url
        self.address = address
        """The address it came from."""
        self.seconds = seconds


class Pushing:
    """Asks again by another address where one fails: every request that is sent here may be sent twice."""

    def __init__(self, name: str, addresses: Sequence[Address], proxy: str, timeouts: Timeouts, clock: Clock) -> None:
        """`name` for people; `proxy` is this proxy's own name (RFC 8586)."""
        self.name = name
        self.clock = clock
        self._addresses = addresses
        self._proxy = proxy
        self._timeouts = timeouts
        self._paths = Paths(len(addresses))

    async def ask(
        self,
        method: str,
        target: str,
        repository: Repository | None,
        headers: Mapping[str, str] | None = None,
        body: bytes | Slices = b"",
        *,
        patience: float = 0.0,
        most: int = _LONGEST_ANSWER,
    ) -> Answer:
        """`target`: path and query as they are written, `/v2/…`, or what `place` gave.

        `patience`: seconds that it may take to answer, beyond what is usual; `most`: bytes that it may answer.
        Raises `Unavailable` where no address works, `UpstreamUnauthorized` where it takes no login of ours.
        """
        actions = "delete" if method == "DELETE" else "pull,push"  # as registries name what a request needs
        scope = f"repository:{repository.path}:{actions}" if repository else ""
        return await self._ask_some(target, _Request(method, headers or {}, body, scope, patience, most))

    async def _ask_some(self, target: str, request: _Request) -> Answer:
        """What the first address says that works; where all of them are gateways to nobody, what the last says."""
        trouble, last = Unavailable(f"{self.name} has no address"), None
        for number in self._paths.order(self.clock.now()):
            address = self._addresses[number]
            try:
                answer = await self._ask_at(address, target, request)
            except UpstreamUnauthorized as refusal:
                told = f"{self.name} does not take our login at {address.url}: {refusal.message}"
                raise UpstreamUnauthorized(told) from refusal
            except ContentUnreadable:
                raise
            except Unavailable as refusal:
                trouble = refusal
                self._paths.failed(number, self.clock.now())
                continue
            if answer.status in _OF_A_GATEWAY:
                last = answer
                self._paths.failed(number, self.clock.now())
                continue
            if self._paths.succeeded(number):
                log.info("target %s is reached at %s", self.name, address.url)
            return answer
        if last is not None:
            return last
        raise trouble

    async def _ask_at(self, address: Address, target: str, request: _Request) -> Answer:
        here = target.startswith("/")
        url = URL(f"{address.url.origin()}{address.url.path.rstrip('/')}{target}" if here else target, encoded=True)
        began, send = time.monotonic(), partial(self._send, address, url, request)
        if may_send(address.url, url):
            await address.tokens.show(request.scope)
            response = await address.tokens.authorized(request.scope, send)
        else:  # where it has led us, our login is nobody's business
            response = await send(None)
        try:
            body = await self._read(response, request)
        except (ClientError, OSError) as error:
            raise Unavailable(f"{self.name} broke off at {url.origin()}: {error or type(error).__name__}") from error
        finally:
            response.release()
        return Answer(response, body, address.url, time.monotonic() - began)

    async def _read(self, response: ClientResponse, request: _Request) -> bytes:
        if request.method == "HEAD":
            return b""
        received = bytearray()
        async with asyncio.timeout(self._timeouts.first_byte + self._timeouts.idle + request.patience):
            async for chunk in response.content.iter_any():
                received += chunk
                if len(received) > request.most:
                    raise Unavailable(f"{self.name} answers with more than {request.most} bytes")
        return bytes(received)

    async def _send(self, address: Address, url: URL, request: _Request, authorization: str | None) -> ClientResponse:
        """A replicated write is a request of ours, not one passed on: `CDN-Loop` names nobody else."""
        headers = {**request.headers, "CDN-Loop": self._proxy}
        if authorization:
            headers["Authorization"] = authorization
        patience = self._timeouts.first_byte + self._timeouts.idle + request.patience
        waits = ClientTimeout(total=None, sock_connect=self._timeouts.connect, sock_read=patience)  # after the body
        failed: list[ContentUnreadable] = []
        body: bytes | AsyncIterator[bytes | memoryview] | None
        try:
            async with asyncio.timeout(self._timeouts.connect + patience) as limit:
                if isinstance(request.body, Slices):
                    headers["Content-Length"] = str(request.body.size)
                    body = _paced(request.body, limit, self._timeouts.idle, failed)
                else:
                    body = request.body or None
                return await address.transport.send(request.method, url, headers=headers, data=body, timeout=waits)
        except (ClientError, OSError, ValueError) as error:  # TimeoutError is an OSError
            if failed:
                raise failed[0] from error
            told = error if str(error) else type(error).__name__
            raise Unavailable(f"{self.name} cannot be reached at {url.origin()}: {told}") from error

    def place(self, answer: Answer) -> str:
        """The target that a `Location` names, by whichever address it is asked; a whole URL where that is elsewhere.

        Raises `Unavailable` where it names none, or one that may not be gone to.
        """
        url = led(answer.address, answer.url, answer.headers.get("Location", ""), "place to go on at")
        for own in (answer.address, *(address.url for address in self._addresses)):
            if own.origin() == url.origin():
                return url.raw_path_qs.removeprefix(own.raw_path.rstrip("/"))
        return str(url)

    def check(self, answer: Answer, *good: int) -> None:
        """Raise the refusal that a status means."""
        status, said = answer.status, _said(answer.body)
        if status in good:
            return
        told = f"{self.name} answers with status {status}{said and f': {said}'}"
        if status in (401, 403):
            raise Denied(f"{told}; give our login there the rights to push, or correct it", "target")
        if status in (408, 409, 429, 507) or status >= 500:
            after = read_retry_after(answer.headers.get("Retry-After", ""), self.clock.now())
            raise Unavailable(f"{told}: it is full" if status == 507 else told, retry_after=after)
        raise _MEANT.get((status, _code(answer.body)), _MEANT.get((status, ""), ManifestMalformed))(told)


_MEANT: Mapping[tuple[int, str], type[Refusal]] = {
    (400, "DIGEST_INVALID"): DigestInvalid,
    (400, "BLOB_UPLOAD_INVALID"): BlobUploadInvalid,
    (404, "BLOB_UPLOAD_INVALID"): BlobUploadInvalid,
    (404, "BLOB_UPLOAD_UNKNOWN"): BlobUploadUnknown,
    (404, ""): NameUnknown,
    (405, ""): Unsupported,
    (413, ""): SizeInvalid,
    (416, ""): RangeInvalid,
}


async def _paced(
    body: Slices, limit: asyncio.Timeout, idle: float, failed: list[ContentUnreadable]
) -> AsyncIterator[bytes | memoryview]:
    """The slices of a body, each to be taken by the line within `idle` seconds.

    However long the whole of it takes: a line may be slow, and a slice may wait for its share of it.
    """
    now = asyncio.get_running_loop().time
    _end(limit, None)
    try:
        async for part in body.read():
            _end(limit, now() + idle)
            yield part
            _end(limit, None)
    except ContentUnreadable as error:  # which is nothing to aiohttp
        failed.append(error)
        raise


def _end(limit: asyncio.Timeout, when: float | None) -> None:
    with suppress(RuntimeError):  # it was answered before all was sent
        limit.reschedule(when)


def _said(body: bytes) -> str:
    try:
        words = [str(error.get("message", "")) for error in json.loads(body)["errors"]]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return ""
    text = "; ".join(words)[:_TOLD]
    return "".join(character if character.isprintable() else "?" for character in text)


def _code(body: bytes) -> str:
    try:
        return str(json.loads(body)["errors"][0]["code"])
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        return ""

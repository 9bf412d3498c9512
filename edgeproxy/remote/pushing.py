"""Requests to a registry that we push to: by the address that works, with the login it takes, refusals in our words."""

import asyncio
import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from aiohttp import ClientError, ClientResponse
from yarl import URL

from edgeproxy.interfaces import Clock
from edgeproxy.oci.errors import (
    BlobUploadUnknown,
    Denied,
    DigestInvalid,
    ManifestMalformed,
    NameUnknown,
    RangeInvalid,
    Refusal,
    SizeInvalid,
    TooManyRequests,
    Unavailable,
)
from edgeproxy.oci.passage import passing
from edgeproxy.oci.reference import Repository
from edgeproxy.remote.allowance import read_retry_after
from edgeproxy.remote.paths import Paths
from edgeproxy.remote.registry import Timeouts
from edgeproxy.remote.tokens import Tokens
from edgeproxy.remote.transport import Transport

log = logging.getLogger(__name__)
_LONGEST_ANSWER = 4 * 1024 * 1024
_TOLD = 300
"""Characters of what it says that are passed on."""


@dataclass(frozen=True, slots=True)
class Address:
    """One way to the registry."""

    url: URL
    transport: Transport
    tokens: Tokens


class Answer:
    """What was answered, read to its end."""

    def __init__(self, response: ClientResponse, body: bytes, path: str, seconds: float) -> None:
        self.status = response.status
        self.headers = response.headers
        self.links = response.links
        self.body = body
        self.path = path
        """The address it came from."""
        self.seconds = seconds


class Pushing:
    """Asks again by another address where one fails: every request that is sent here may be sent twice."""

    def __init__(self, name: str, addresses: Sequence[Address], proxy: str, timeouts: Timeouts, clock: Clock) -> None:
        """`name` for people; `proxy` is this proxy's own name (RFC 8586)."""
        self.name = name
        self._addresses = addresses
        self._proxy = proxy
        self._timeouts = timeouts
        self._clock = clock
        self._paths = Paths(len(addresses))

    async def ask(
        self,
        method: str,
        target: str,
        repository: Repository | None,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> Answer:
        """`target`: path and query as they are written, `/v2/…`. Raises `Unavailable` where no address works."""
        trouble = Unavailable(f"{self.name} has no address")
        for number in self._paths.order(self._clock.now()):
            address = self._addresses[number]
            try:
                answer = await self._ask_at(address, method, target, repository, headers or {}, body)
            except Unavailable as refusal:
                trouble = refusal
                self._paths.failed(number, self._clock.now())
                continue
            if self._paths.succeeded(number):
                log.info("target %s is reached at %s", self.name, address.url)
            return answer
        raise trouble

    async def _ask_at(
        self,
        address: Address,
        method: str,
        target: str,
        repository: Repository | None,
        headers: Mapping[str, str],
        body: bytes,
    ) -> Answer:
        url = URL(f"{address.url.origin()}{address.url.path.rstrip('/')}{target}", encoded=True)
        scope = f"repository:{repository.path}:pull,push" if repository else ""
        sent, began = {**headers, "CDN-Loop": passing(self._proxy)}, time.monotonic()
        await address.tokens.show(scope)
        response = await address.tokens.authorized(scope, partial(self._send, address, method, url, sent, body))
        try:
            async with asyncio.timeout(self._timeouts.idle):
                received = await response.content.read(_LONGEST_ANSWER) if method != "HEAD" else b""
                while not response.content.at_eof() and (more := await response.content.read(_LONGEST_ANSWER)):
                    received += more
                    if len(received) > _LONGEST_ANSWER:
                        raise Unavailable(f"{self.name} answers with more than {_LONGEST_ANSWER} bytes")
        except (ClientError, OSError) as error:
            raise Unavailable(f"{self.name} broke off at {address.url}: {error or type(error).__name__}") from error
        finally:
            response.release()
        return Answer(response, received, str(address.url), time.monotonic() - began)

    async def _send(
        self,
        address: Address,
        method: str,
        url: URL,
        headers: Mapping[str, str],
        body: bytes,
        authorization: str | None,
    ) -> ClientResponse:
        login = {"Authorization": authorization} if authorization else {}
        try:
            async with asyncio.timeout(self._timeouts.first_byte + self._timeouts.idle):
                return await address.transport.send(method, url, headers={**headers, **login}, data=body or None)
        except (ClientError, OSError, ValueError) as error:  # TimeoutError is an OSError
            told = error if str(error) else type(error).__name__
            raise Unavailable(f"{self.name} cannot be reached at {address.url}: {told}") from error

    def place(self, answer: Answer) -> str:
        """The target that a `Location` names, by whichever address it is asked. Raises `Unavailable`."""
        try:
            url = URL(answer.headers["Location"], encoded=True)
        except (KeyError, ValueError) as error:
            raise Unavailable(f"{self.name} names no place to go on at") from error
        if url.is_absolute() and url.origin() not in [address.url.origin() for address in self._addresses]:
            raise Unavailable(f"{self.name} leads to {url.origin()}, none of its addresses: add it to fallback")
        return url.raw_path_qs.removeprefix(URL(answer.path).path.rstrip("/"))

    def check(self, answer: Answer, *good: int) -> None:
        """Raise the refusal that a status means."""
        status, said = answer.status, _said(answer.body)
        told = f"{self.name} answers with status {status}{said and f': {said}'}"
        if status in good:
            return
        if status in (401, 403):
            raise Denied(f"{told}; give our login there the rights to push, or correct it", "target")
        if status == 429:
            after = read_retry_after(answer.headers.get("Retry-After", ""), time.time())
            raise TooManyRequests(told, retry_after=after)
        if status in (408, 409, 507) or status >= 500:
            raise Unavailable(told)
        raise _MEANT.get((status, _code(answer.body)), _MEANT.get((status, ""), ManifestMalformed))(told)


_MEANT: Mapping[tuple[int, str], type[Refusal]] = {
    (400, "DIGEST_INVALID"): DigestInvalid,
    (404, "BLOB_UPLOAD_UNKNOWN"): BlobUploadUnknown,
    (404, "NAME_UNKNOWN"): NameUnknown,
    (404, ""): NameUnknown,
    (413, ""): SizeInvalid,
    (416, ""): RangeInvalid,
}


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

"""Registries that are pushed to, and what is pushed to them."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from yarl import URL

from edgeproxy.interfaces import BlobParcel, Clock, Content, InMemory, Link, ManifestParcel, Urgency
from edgeproxy.metrics import Traffic
from edgeproxy.oci.credentials import Credentials
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.manifest import OCI_MANIFEST
from edgeproxy.oci.reference import Pinned, Repository, Tag
from edgeproxy.remote.budget import Budget
from edgeproxy.remote.logins import Login, given
from edgeproxy.remote.peer import RegistryPeer
from edgeproxy.remote.pushing import Address, Pushing
from edgeproxy.remote.registry import Timeouts, new_session
from edgeproxy.remote.tokens import Tokens
from edgeproxy.remote.transport import Transport
from edgeproxy.remote.windows import Terms
from tests.fakes.clock import ManualClock

HERE = Repository("a.test", "team/app")
CONFIG, LAYER = b"{}", b"a layer"
MiB = 1024 * 1024


@dataclass
class Line:
    """A link without bounds that does `then` once `at` bytes have been asked for."""

    budget: Budget
    at: int | None = None
    then: Callable[[], Coroutine[Any, Any, None]] | None = None
    admitted: list[tuple[str, int, Urgency]] = field(default_factory=list)
    doing: asyncio.Task[None] | None = None

    @property
    def bytes(self) -> int:
        return sum(size for _, size, _ in self.admitted)

    async def admit(self, upstream: str, size: int, urgency: Urgency) -> None:
        await self.budget.admit(upstream, size, urgency)
        self.admitted.append((upstream, size, urgency))
        if self.at is not None and self.bytes >= self.at and self.then is not None:
            self.at = None
            self.doing = asyncio.create_task(self.then())

    def began(self, upstream: str, seconds: float, urgency: Urgency) -> None:
        self.budget.began(upstream, seconds, urgency)


def line() -> Line:
    return Line(Budget(Terms(), {}, ManualClock(), Traffic()))


@asynccontextmanager
async def pushing_to(
    *urls: str | URL,
    credentials: Credentials | None = None,
    timeouts: Timeouts | None = None,
    clock: Clock | None = None,
) -> AsyncIterator[Pushing]:
    """The best address first. Nobody waits between two attempts."""
    patience = timeouts or Timeouts(5, 10, 10)

    def login() -> Login | None:
        return Login(given(credentials.username, lambda: credentials.password)) if credentials else None

    async with new_session(patience) as session:
        transports = [(URL(url), Transport(session, URL(url))) for url in urls]
        addresses = [
            Address(url, transport, Tokens(transport, url, login(), patience.first_byte))
            for url, transport in transports
        ]
        yield Pushing("store", addresses, "this-proxy", patience, clock or ManualClock(rushes=True))


@asynccontextmanager
async def peer_at(
    *urls: str | URL,
    link: Link | None = None,
    credentials: Credentials | None = None,
    timeouts: Timeouts | None = None,
    clock: Clock | None = None,
) -> AsyncIterator[RegistryPeer]:
    with ThreadPoolExecutor(2) as threads:
        async with pushing_to(*urls, credentials=credentials, timeouts=timeouts, clock=clock) as pushing:
            yield RegistryPeer(pushing, link or line(), threads)


def noise(size: int, seed: int = 1) -> bytes:
    """What no compression makes smaller."""
    return random.Random(seed).randbytes(size)


def parcel(body: bytes, repository: Repository = HERE, sources: Sequence[Repository] = ()) -> BlobParcel:
    async def opened() -> Content:
        return InMemory(body)

    return BlobParcel(Pinned(repository, Digest.of(body)), len(body), opened, sources)


def manifest(config: bytes = CONFIG, layers: Sequence[bytes] = (LAYER,)) -> bytes:
    def descriptor(kind: str, body: bytes) -> Mapping[str, object]:
        return {"mediaType": kind, "digest": Digest.of(body), "size": len(body)}

    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor("application/vnd.oci.image.config.v1+json", config),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", layer) for layer in layers],
    }
    return json.dumps(document).encode()


def tagged(name: str, body: bytes, repository: Repository = HERE) -> ManifestParcel:
    return ManifestParcel(Tag(repository, name), OCI_MANIFEST, body)


async def shown(url: str | URL, path: str, login: Credentials | None = None) -> bytes | None:
    """What a registry shows to a client; `None` where it has no such thing."""
    headers = {"Authorization": login.basic()} if login else {}
    accept = {"Accept": f"{OCI_MANIFEST}, */*"}
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{str(url).rstrip('/')}/v2/{path}", headers={**headers, **accept}) as answer,
    ):
        if answer.status == 404:
            return None
        assert answer.status == 200, await answer.text()
        return await answer.read()

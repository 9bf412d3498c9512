"""Tags when upstream fails, moves them, or loses them: the proxy goes on, and says what it does."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.parts.edgeproxy import Edgeproxy
from tests.parts.images import ACCEPT, Pushed, Pusher
from tests.parts.processes import wait_until
from tests.parts.registry import DockerRegistry
from tests.parts.relay import Fault, RecordingRelay

NEVER_FRESH = '[[rule]]\nmatch = "*"\nfresh = "0s"\n'


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(headers={"Accept": ACCEPT}) as session:
        yield session


@pytest.fixture
async def proxy(tmp_path: Path, relay: RecordingRelay) -> AsyncIterator[Edgeproxy]:
    async with Edgeproxy(tmp_path / "edge", {"registry.test": relay.url}, more=NEVER_FRESH) as proxy:
        yield proxy


async def push(session: aiohttp.ClientSession, registry: DockerRegistry, content: bytes) -> Pushed:
    return await Pusher(session, registry.url, "team/app").image([content], "latest")


async def pull(session: aiohttp.ClientSession, proxy: Edgeproxy) -> tuple[int, str, str, str]:
    """Status, digest, Cache-Status and Warning of the tag."""
    async with session.get(f"{proxy.url}/v2/team/app/manifests/latest") as answer:
        await answer.read()
        headers = answer.headers
        digest, status = headers.get("Docker-Content-Digest", ""), headers.get("Cache-Status", "")
        return answer.status, digest, status, headers.get("Warning", "")


async def test_a_moved_tag_is_followed_behind(
    session: aiohttp.ClientSession, proxy: Edgeproxy, registry: DockerRegistry, relay: RecordingRelay
) -> None:
    old = await push(session, registry, b"old")
    assert (await pull(session, proxy))[:2] == (200, old.digest)
    gets = len(relay.asked("GET", "manifests"))
    status, digest, cache_status, warning = await pull(session, proxy)
    assert (status, digest) == (200, old.digest)
    assert cache_status.startswith("edgeproxy; hit; ttl=")
    assert warning.startswith("110 ")
    assert len(relay.asked("GET", "manifests")) == gets, "an unchanged tag costs a HEAD, never a GET"
    new = await push(session, registry, b"new")

    async def moved() -> bool:
        return (await pull(session, proxy))[1] == new.digest

    await wait_until(moved, "the tag names the new manifest")


@pytest.mark.parametrize("status", [404, 401, 429, 500, 503])
async def test_whatever_upstream_answers_a_cached_tag_is_served(
    status: int, session: aiohttp.ClientSession, proxy: Edgeproxy, registry: DockerRegistry, relay: RecordingRelay
) -> None:
    image = await push(session, registry, b"kept")
    await pull(session, proxy)
    relay.faults.append(Fault(status=status))

    async def said() -> bool:
        answered, digest, cache_status, warning = await pull(session, proxy)
        assert (answered, digest) == (200, image.digest)
        return warning.startswith("111 ") and 'detail="upstream: ' in cache_status

    await wait_until(said, "the answer says that the check failed")


async def test_an_upstream_that_hangs_holds_nobody_up(
    session: aiohttp.ClientSession, proxy: Edgeproxy, registry: DockerRegistry, relay: RecordingRelay
) -> None:
    image = await push(session, registry, b"kept")
    await pull(session, proxy)
    relay.faults.append(Fault(delay=3600))
    async with asyncio.timeout(10):
        assert (await pull(session, proxy))[:2] == (200, image.digest)


async def test_the_old_image_stays_until_the_new_manifest_is_here(
    session: aiohttp.ClientSession, proxy: Edgeproxy, registry: DockerRegistry, relay: RecordingRelay
) -> None:
    """Upstream says by HEAD that the tag has moved, and then fails to give the manifest."""
    old = await push(session, registry, b"old")
    await pull(session, proxy)
    new = await push(session, registry, b"new")
    relay.faults.append(Fault(path=new.digest, status=503))
    await pull(session, proxy)
    await wait_until(lambda: bool(relay.asked("GET", new.digest)), "the new manifest is asked for")
    assert (await pull(session, proxy))[:2] == (200, old.digest)

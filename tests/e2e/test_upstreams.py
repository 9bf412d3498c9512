"""One registry over several upstreams: real registries behind relays, and sibling proxies."""

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.parts.edgeproxy import Edgeproxy
from tests.parts.images import ACCEPT, Pushed, Pusher, digest_of
from tests.parts.registry import DockerRegistry
from tests.parts.relay import Fault, RecordingRelay

LAYER = bytes(range(256)) * 4096 * 12
REPOSITORY = "team/app"
BLOB = f"/v2/{REPOSITORY}/blobs/{digest_of(LAYER)}"


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(headers={"Accept": ACCEPT}) as session:
        yield session


@pytest.fixture
async def second(registry: DockerRegistry) -> AsyncIterator[RecordingRelay]:
    async with RecordingRelay(registry.url) as relay:
        yield relay


def upstream(url: str, role: str = "origin") -> str:
    return f'[[registry."registry.test".upstream]]\nurl = "{url}"\nrole = "{role}"\n'


async def push(session: aiohttp.ClientSession, registry: DockerRegistry) -> Pushed:
    pusher = Pusher(session, registry.url, REPOSITORY)
    await pusher.blob(LAYER)
    return await pusher.image([b"layer"], "latest")


async def blob(session: aiohttp.ClientSession, proxy: Edgeproxy) -> str:
    async with session.get(proxy.url + BLOB) as answer:
        answer.raise_for_status()
        return digest_of(await answer.read())


async def test_a_break_goes_on_at_the_other_upstream(
    tmp_path: Path,
    session: aiohttp.ClientSession,
    registry: DockerRegistry,
    relay: RecordingRelay,
    second: RecordingRelay,
) -> None:
    await push(session, registry)
    reached = 5_000_000
    relay.faults = [Fault(path="/blobs/", at=reached, cut="rst")]
    second.faults = [Fault(path="/v2/", method="GET", delay=0.2)]  # so that the first is the nearer
    async with Edgeproxy(tmp_path / "edge", {"registry.test": relay.url}, more=upstream(second.url)) as proxy:
        assert await blob(session, proxy) == digest_of(LAYER)
    sent = [each.sent for each in relay.asked("GET", "/blobs/") + second.asked("GET", "/blobs/")]
    assert len(LAYER) <= sum(sent) < 1.05 * len(LAYER)
    assert [each.range for each in second.asked("GET", "/blobs/")]


async def test_a_site_is_served_by_its_sibling_when_the_origin_is_gone(
    tmp_path: Path, session: aiohttp.ClientSession, registry: DockerRegistry, relay: RecordingRelay
) -> None:
    pushed = await push(session, registry)
    async with Edgeproxy(tmp_path / "near", {"registry.test": relay.url}) as near:
        peer = upstream(near.url, "peer")
        async with Edgeproxy(tmp_path / "far", {"registry.test": relay.url}, more=peer) as far:
            for path in ("manifests/latest", f"blobs/{digest_of(LAYER)}"):
                async with session.get(f"{near.url}/v2/{REPOSITORY}/{path}") as answer:
                    await answer.read()
            await relay.refuse()
            async with session.get(f"{far.url}/v2/{REPOSITORY}/manifests/latest") as answer:
                assert digest_of(await answer.read()) == pushed.digest
            assert await blob(session, far) == digest_of(LAYER)


async def test_siblings_fetch_nothing_for_each_other(
    tmp_path: Path, session: aiohttp.ClientSession, registry: DockerRegistry, relay: RecordingRelay
) -> None:
    """Each is the other's peer, and neither has it: the origin is read once."""
    await push(session, registry)
    one = Edgeproxy(tmp_path / "one", {"registry.test": relay.url})
    other = Edgeproxy(tmp_path / "other", {"registry.test": relay.url}, more=upstream(one.url, "peer"))
    async with one, other:
        assert await blob(session, other) == digest_of(LAYER)
        assert await one.metric("edgeproxy_fetched_bytes_total") == 0
        async with session.get(one.url + BLOB, headers={"Cache-Control": "only-if-cached"}) as answer:
            assert answer.status == 504
            assert (await answer.json())["errors"][0]["code"] == "UNAVAILABLE"
        async with session.get(other.url + BLOB, headers={"Cache-Control": "only-if-cached"}) as answer:
            assert digest_of(await answer.read()) == digest_of(LAYER)
    assert sum(each.sent for each in relay.asked("GET", "/blobs/")) == len(LAYER)

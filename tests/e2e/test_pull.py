"""A registry tells of what is new, and it is here before anybody asks for it."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from tests.parts.edgeproxy import Edgeproxy
from tests.parts.images import Pusher, layer
from tests.parts.processes import need, wait_until
from tests.parts.registry import DockerRegistry
from tests.parts.relay import RecordingRelay

REGISTRY, SECRET = "registry.test", "only the two of us know"
POLICY = f"""
[[replication]]
name = "mirror"
source = "{REGISTRY}"
images = ["app"]
projects = ["{REGISTRY}/team"]
tags = ["semver:>=1"]
secret = "{SECRET}"
"""
NOTIFICATIONS = """
notifications:
  endpoints:
    - name: edge
      url: {admin}/api/v1/webhooks/mirror
      headers: {{Authorization: ["Bearer {secret}"]}}
      timeout: 5s
      threshold: 3
      backoff: 1s
"""


@asynccontextmanager
async def told(
    tmp_path: Path, secret: str = SECRET, policy: str = POLICY
) -> AsyncIterator[tuple[Edgeproxy, DockerRegistry]]:
    """The first is told by the second, with this secret."""
    need("docker-registry")
    async with RecordingRelay("") as relay, Edgeproxy(tmp_path / "edge", {REGISTRY: relay.url}, more=policy) as proxy:
        more = NOTIFICATIONS.format(admin=proxy.admin, secret=secret)
        async with DockerRegistry(tmp_path / "registry", more=more) as registry:
            relay.target = registry.url
            yield proxy, registry


async def push(registry: DockerRegistry, repository: str, tag: str, body: str) -> str:
    async with aiohttp.ClientSession() as session:
        return (await Pusher(session, registry.url, repository).image([layer([], body.encode())], tag)).digest


async def status(url: str) -> int:
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        await answer.read()
        return answer.status


async def brought(proxy: Edgeproxy, count: int) -> None:
    async def enough() -> bool:
        return await proxy.metric("edgeproxy_fetched_bytes_total") > 0 and len(list(blobs(proxy))) >= count

    await wait_until(enough, f"{count} blobs are here")


def blobs(proxy: Edgeproxy) -> list[Path]:
    return [file for file in (proxy.data / "blobs").rglob("*") if file.is_file()]


async def test_what_the_registry_tells_of_is_brought_and_outlives_it(tmp_path: Path) -> None:
    async with told(tmp_path) as (proxy, registry):
        await push(registry, "team/app", "latest", "of-no-policy")
        await push(registry, "team/other", "1.0.0", "nor-this")
        await push(registry, "team/app", "1.0.0", "first")
        await brought(proxy, 3)
        await push(registry, "team/app", "1.0.0", "second")
        await brought(proxy, 5)
        await registry.stop()
        assert await status(f"{proxy.url}/v2/team/app/manifests/1.0.0") == 200
        assert await status(f"{proxy.url}/v2/team/other/manifests/1.0.0") != 200


async def test_nobody_else_is_listened_to(tmp_path: Path) -> None:
    async with told(tmp_path, "something else") as (proxy, registry):
        await push(registry, "team/app", "1.0.0", "first")
        url = f"{proxy.admin}/api/v1/webhooks/mirror"
        for fields in ({}, {"Authorization": "Bearer something else"}):
            async with aiohttp.ClientSession() as session, session.post(url, data=b"{}", headers=fields) as answer:
                assert answer.status == 401
        assert blobs(proxy) == []


@pytest.mark.parametrize("bare", [True, False])
async def test_harbor_is_understood_and_an_operator_has_all_brought(tmp_path: Path, bare: bool) -> None:
    async with told(tmp_path, "something else") as (proxy, registry), aiohttp.ClientSession() as session:
        digest = await push(registry, "team/app", "1.0.0", "first")
        resource = {"digest": digest, "tag": "1.0.0"}
        repository = {"repo_full_name": "team/app", "namespace": "team", "name": "app"}
        event = {"type": "PUSH_ARTIFACT", "event_data": {"resources": [resource], "repository": repository}}
        headers = {"Authorization": SECRET if bare else f"Bearer {SECRET}"}
        async with session.post(f"{proxy.admin}/api/v1/webhooks/mirror", json=event, headers=headers) as answer:
            assert (answer.status, await answer.json()) == (202, {"wanted": 1})
        await brought(proxy, 3)
        await push(registry, "team/app", "2.0.0", "second")
        async with session.post(f"{proxy.admin}/api/v1/executions", json={"policy": "mirror"}) as answer:
            assert (answer.status, await answer.json()) == (202, {"missing": 2})
        await brought(proxy, 5)


async def pull(proxy: Edgeproxy, repository: str, tag: str) -> None:
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{proxy.url}/v2/{repository}/manifests/{tag}") as answer:
            manifest = json.loads(await answer.read())
            assert answer.status == 200, manifest
        for blob in (manifest["config"], *manifest["layers"]):
            async with session.get(f"{proxy.url}/v2/{repository}/blobs/{blob['digest']}") as answer:
                await answer.read()


async def test_only_what_this_site_is_likely_to_take_over_is_brought(tmp_path: Path) -> None:
    policy = POLICY.replace('images = ["app"]', 'images = ["app", "other"]\nlikely = true')
    async with told(tmp_path, policy=policy) as (proxy, registry):
        for tag in ("1.0.0", "1.0.1"):
            await push(registry, "team/app", tag, tag)
            await pull(proxy, "team/app", tag)
        await push(registry, "team/other", "1.0.2", "nobody wants this")
        await push(registry, "team/app", "1.0.2", "third")
        await brought(proxy, 9)
        await registry.stop()
        await pull(proxy, "team/app", "1.0.2")
        assert await status(f"{proxy.url}/v2/team/other/manifests/1.0.2") != 200
        assert await proxy.metric("edgeproxy_ahead_bytes") > 0

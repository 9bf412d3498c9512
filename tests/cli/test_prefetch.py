"""POST /api/v1/prefetch, at a daemon as it is started."""

from pathlib import Path

import aiohttp
import pytest

from tests.parts.edgeproxy import Edgeproxy
from tests.parts.images import Pusher
from tests.parts.processes import wait_until
from tests.parts.registry import DockerRegistry


async def post(proxy: Edgeproxy, body: str) -> tuple[int, dict[str, object]]:
    url = f"{proxy.admin}/api/v1/prefetch"
    async with aiohttp.ClientSession() as session, session.post(url, data=body) as answer:
        return answer.status, await answer.json(content_type=None)


async def test_images_are_brought_before_a_roll_out(tmp_path: Path) -> None:
    async with DockerRegistry(tmp_path / "registry") as registry:
        async with aiohttp.ClientSession() as session:
            pushed = await Pusher(session, registry.url, "team/app").image([b"layer"], "1.0")
        async with Edgeproxy(tmp_path / "edge", {"registry.test": registry.url}) as proxy:
            status, said = await post(proxy, '{"images": ["registry.test/team/app:1.0"]}')
            assert (status, said["accepted"]) == (202, ["registry.test/team/app:1.0"])

            async def whole() -> bool:
                kept = await proxy.metric("edgeproxy_cache_bytes")
                return kept > 0 and await proxy.metric("edgeproxy_flights") == 0 and len(pushed.blobs) > 0

            await wait_until(whole, "the image is here")
            await registry.stop()
            async with aiohttp.ClientSession() as session:
                for blob in pushed.blobs:
                    async with session.get(f"{proxy.url}/v2/team/app/blobs/{blob}") as answer:
                        assert answer.status == 200


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("", "this is no JSON"),
        ("[]", "known keys are images, platforms and deadline"),
        ('{"image": ["a"]}', "known keys are images, platforms and deadline"),
        ('{"images": []}', "lists of words"),
        ('{"images": "a"}', "lists of words"),
        ('{"images": [1]}', "lists of words"),
        ('{"images": ["a"], "platforms": "b"}', "lists of words"),
        ('{"images": ["UPPER/case"]}', "UPPER"),
        ('{"images": ["not.known/app:1"]}', "not.known"),
        ('{"images": ["app@sha256:1"]}', "sha256:1"),
    ],
)
async def test_what_makes_no_sense_is_told(tmp_path: Path, body: str, told: str) -> None:
    async with Edgeproxy(tmp_path / "edge", {"registry.test": "http://127.0.0.1:9"}) as proxy:
        status, said = await post(proxy, body)
        assert (status, said["title"]) == (400, "Bad Request")
        assert told in str(said["detail"])

"""Real clients push real images to the proxy, and pull them back when the upstream is gone."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from tests.parts.clients import CLIENTS, Skopeo, client, containerd, containers
from tests.parts.edgeproxy import Edgeproxy
from tests.parts.images import ACCEPT, Gallery, Pusher, digest_of, layer
from tests.parts.processes import CommandError
from tests.parts.registry import DockerRegistry

REGISTRY, ALONE = "registry.test", "alone.test"
RULE = '[[access]]\nallow = "pusher"\nto = ["*"]\n'
NOWHERE = "http://127.0.0.1:9"


@asynccontextmanager
async def site(tmp_path: Path, registry: DockerRegistry) -> AsyncIterator[Edgeproxy]:
    """A proxy to which everybody may push: `ALONE` has no upstream that answers."""
    async with Edgeproxy(tmp_path / "edge", {REGISTRY: registry.url, ALONE: NOWHERE}, more=RULE) as proxy:
        yield proxy


async def pulled_by_all(tmp_path: Path, proxy: Edgeproxy, registry: str, image: str, digest: str) -> None:
    for number, name in enumerate(CLIENTS):  # containerd's sockets have room for short paths only
        async with client(name, tmp_path / str(number), proxy.url, registry) as someone:
            await someone.pull(registry, image)
            assert await someone.digest(registry, image) == digest, name


async def tags(proxy: Edgeproxy, repository: str) -> list[str]:
    async with aiohttp.ClientSession() as session, session.get(f"{proxy.url}/v2/{repository}/tags/list") as answer:
        found: list[str] = json.loads(await answer.read())["tags"]
    return found


@pytest.mark.parametrize("target", [REGISTRY, ALONE])
async def test_skopeo_copies_an_image_of_many_platforms(
    tmp_path: Path, registry: DockerRegistry, gallery: Gallery, target: str
) -> None:
    async with site(tmp_path, registry) as proxy:
        skopeo = Skopeo(tmp_path, proxy.url, REGISTRY, configured=False, certs=None)
        await skopeo.pull(REGISTRY, "team/index:1.0")
        if target == REGISTRY:
            await registry.stop()
        await skopeo.push(target, "mine/app:2.0")
        await skopeo.push(target, "mine/other:2.0")  # by mounts, where they can be
        await registry.stop()
        await proxy.stop()
        await proxy.start()
        await pulled_by_all(tmp_path, proxy, target, "mine/app:2.0", gallery.index.digest)
        assert await tags(proxy, f"{target}/mine/other") == ["2.0"]
        assert not list((proxy.data / "uploads").iterdir())


@pytest.mark.parametrize("program", ["podman", "buildah"])
async def test_podman_and_buildah_push_what_they_pulled(
    program: str, tmp_path: Path, registry: DockerRegistry, gallery: Gallery
) -> None:
    async with site(tmp_path, registry) as proxy:
        with containers(program, tmp_path, proxy.url, REGISTRY) as someone:
            await someone.pull(REGISTRY, "team/docker:1.0")
            for target in (REGISTRY, ALONE):
                await someone.push(f"{REGISTRY}/team/docker:1.0", target, "mine/app:2.0")
            pushed = await _digest(proxy, f"{ALONE}/mine/app/manifests/2.0")
            await registry.stop()
        await pulled_by_all(tmp_path, proxy, ALONE, "mine/app:2.0", pushed)


async def test_containerd_pushes_what_it_pulled(tmp_path: Path, registry: DockerRegistry, gallery: Gallery) -> None:
    async with site(tmp_path, registry) as proxy:
        async with containerd(tmp_path, proxy.url, REGISTRY) as someone:
            await someone.pull(REGISTRY, "team/docker:1.0")
            await someone.push(f"{REGISTRY}/team/docker:1.0", REGISTRY, "mine/app:2.0")
        await registry.stop()
        await pulled_by_all(tmp_path, proxy, REGISTRY, "mine/app:2.0", gallery.docker.digest)


async def test_a_pushed_tag_stays_beside_those_of_upstream(
    tmp_path: Path, registry: DockerRegistry, gallery: Gallery
) -> None:
    """Into a repository of upstream's, of which one layer is not even held here."""
    async with site(tmp_path, registry) as proxy, aiohttp.ClientSession() as session:
        mine = await Pusher(session, proxy.url, f"{REGISTRY}/team/docker").image([layer([], b"mine")], "1.0")
        assert mine.digest != gallery.docker.digest
        assert await _digest(proxy, f"{REGISTRY}/team/docker/manifests/1.0") == mine.digest
        async with session.get(f"{registry.url}/v2/team/docker/manifests/1.0", headers={"Accept": ACCEPT}) as answer:
            document, kind = await answer.read(), answer.headers["Content-Type"]
        target = f"{proxy.url}/v2/{REGISTRY}/team/docker/manifests/2.0"
        async with session.put(target, data=document, headers={"Content-Type": kind}) as answer:
            assert answer.status == 201, await answer.text()
        assert await tags(proxy, f"{REGISTRY}/team/docker") == ["1.0", "2.0"]
        await registry.stop()
        await pulled_by_all(tmp_path, proxy, REGISTRY, "team/docker:2.0", gallery.docker.digest)
        assert await proxy.metric("edgeproxy_pushed_bytes_total", registry=REGISTRY) > 0
        assert await proxy.metric("edgeproxy_uploads") == 0


async def test_skopeo_deletes_what_it_pushed(tmp_path: Path, registry: DockerRegistry, gallery: Gallery) -> None:
    rule = RULE.replace("pusher", "replicator")
    async with Edgeproxy(tmp_path / "edge", {REGISTRY: registry.url, ALONE: NOWHERE}, more=rule) as proxy:
        skopeo = Skopeo(tmp_path, proxy.url, REGISTRY, configured=False, certs=None)
        await skopeo.pull(REGISTRY, "team/index:1.0")
        for tag in ("1.0", "2.0"):
            await skopeo.push(ALONE, f"mine/app:{tag}")
        await skopeo.push(ALONE, "mine/other:1.0")
        await skopeo.delete(ALONE, "mine/app:1.0")
        for start in (False, True):
            if start:
                await proxy.stop()
                await proxy.start()
            for reference in ("1.0", "2.0", gallery.index.digest):
                with pytest.raises(CommandError, match="unknown"):
                    await skopeo.pull(ALONE, f"mine/app{'@' if ':' in reference else ':'}{reference}")
        await pulled_by_all(tmp_path / "all", proxy, ALONE, "mine/other:1.0", gallery.index.digest)


async def test_by_default_nobody_may_push(tmp_path: Path, registry: DockerRegistry) -> None:
    async with (
        Edgeproxy(tmp_path / "edge", {REGISTRY: registry.url}) as proxy,
        aiohttp.ClientSession() as session,
        session.post(f"{proxy.url}/v2/mine/app/blobs/uploads/") as answer,
    ):
        assert answer.status == 403
        assert json.loads(await answer.read())["errors"][0]["code"] == "DENIED"


async def test_an_upload_outlives_a_process_that_is_killed(tmp_path: Path, registry: DockerRegistry) -> None:
    body = layer(["json", "email"])
    async with site(tmp_path, registry) as proxy:
        async with aiohttp.ClientSession(proxy.url) as session:
            async with session.post(f"/v2/{REGISTRY}/mine/app/blobs/uploads/") as answer:
                location = answer.headers["Location"]
            async with session.patch(location, data=body[:100_000]) as answer:
                assert answer.headers["Range"] == "0-99999"
        await proxy.kill()
        await proxy.start()
        async with aiohttp.ClientSession(proxy.url) as session:
            async with session.get(location) as answer:
                assert (answer.status, answer.headers["Range"]) == (204, "0-99999")
            digest = await _finished(session, location, body)
            async with session.get(f"/v2/{REGISTRY}/mine/app/blobs/{digest}") as answer:
                assert await answer.read() == body


async def _finished(session: aiohttp.ClientSession, location: str, body: bytes) -> str:
    digest = digest_of(body)
    async with session.put(f"{location}?digest={digest}", data=body[100_000:]) as answer:
        assert answer.status == 201, await answer.text()
    return digest


async def _digest(proxy: Edgeproxy, path: str) -> str:
    async with aiohttp.ClientSession() as session, session.get(f"{proxy.url}/v2/{path}") as answer:
        assert answer.status == 200, await answer.text()
        return answer.headers["Docker-Content-Digest"]

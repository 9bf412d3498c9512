"""Real clients pull real images through the proxy, and again when the upstream is gone."""

import json
from pathlib import Path

import aiohttp
import pytest

from tests.parts.clients import CLIENTS, Client, client
from tests.parts.edgeproxy import Edgeproxy
from tests.parts.images import ACCEPT, OCI_INDEX, Gallery, digest_of
from tests.parts.registry import DockerRegistry

REGISTRY = "registry.test"


async def pull_all(someone: Client, gallery: Gallery) -> None:
    """Into an empty client, which then has exactly what was pushed."""
    await someone.empty()
    pushed = {"team/index:1.0": gallery.index, "team/docker:1.0": gallery.docker, "team/zstd:1.0": gallery.zstd}
    for image, expected in pushed.items():
        await someone.pull(REGISTRY, image)
        assert await someone.digest(REGISTRY, image) == expected.digest


@pytest.mark.parametrize("name", CLIENTS)
async def test_a_client_pulls_with_and_without_upstream(
    name: str, tmp_path: Path, registry: DockerRegistry, gallery: Gallery
) -> None:
    async with (
        Edgeproxy(tmp_path / "edge", {REGISTRY: registry.url}) as proxy,
        client(name, tmp_path, proxy.url, REGISTRY) as someone,
    ):
        await pull_all(someone, gallery)
        for pushed in (gallery.index.children[0], gallery.docker, gallery.zstd):
            for blob in pushed.blobs:
                assert len(registry.asked("GET", blob)) == 1, f"{blob} was not fetched just once"
        await registry.stop()
        await pull_all(someone, gallery)
        await proxy.stop()
        await proxy.start()
        await pull_all(someone, gallery)


async def test_an_artifact_and_its_referrers_outlive_upstream(
    tmp_path: Path, registry: DockerRegistry, gallery: Gallery
) -> None:
    listing = f"referrers/{gallery.index.digest}?artifactType=application/vnd.example.signature"
    nothing = f"referrers/{gallery.index.digest}?artifactType=application/other"
    async with Edgeproxy(tmp_path / "edge", {REGISTRY: registry.url}) as proxy, aiohttp.ClientSession() as session:
        for _ in ("upstream is there", "upstream is gone"):
            async with session.get(f"{proxy.url}/v2/team/index/{listing}") as answer:
                assert answer.status == 200
                assert answer.headers["Content-Type"] == OCI_INDEX
                assert answer.headers["OCI-Filters-Applied"] == "artifactType"
                found = json.loads(await answer.read())["manifests"]
            assert [item["digest"] for item in found] == [gallery.artifact.digest]
            async with session.get(f"{proxy.url}/v2/team/index/{nothing}") as answer:
                assert json.loads(await answer.read())["manifests"] == []
            for path in (f"manifests/{gallery.artifact.digest}", *(f"blobs/{b}" for b in gallery.artifact.blobs)):
                async with session.get(f"{proxy.url}/v2/team/index/{path}") as answer:
                    assert digest_of(await answer.read()) == path.split("/")[1]
            await registry.stop()


async def test_all_addressings_mean_the_same(tmp_path: Path, registry: DockerRegistry, gallery: Gallery) -> None:
    ways = [
        (f"/v2/{REGISTRY}/team/index/manifests/1.0", {}, None),
        (f"/v2/team/index/manifests/1.0?ns={REGISTRY}", {}, REGISTRY),
        (f"/v2/{REGISTRY}/team/index/manifests/1.0?ns={REGISTRY}", {}, REGISTRY),
        ("/v2/team/index/manifests/1.0", {"Host": REGISTRY}, None),
        ("/v2/team/index/manifests/1.0", {"Host": "mirror.test:5000"}, None),
    ]
    registries = {"other.test": "http://127.0.0.1:9", REGISTRY: registry.url}
    more = '[registry."third.test"]\nhosts = ["mirror.test"]\n'
    more += f'[[registry."third.test".upstream]]\nurl = "{registry.url}"\n'
    async with (
        Edgeproxy(tmp_path / "edge", registries, more=more) as proxy,
        aiohttp.ClientSession(headers={"Accept": ACCEPT}) as session,
    ):
        for target, headers, namespace in ways:
            async with session.get(f"{proxy.url}{target}", headers=headers) as answer:
                assert answer.status == 200, f"{target}: {await answer.text()}"
                assert answer.headers.get("OCI-Namespace") == namespace
                assert digest_of(await answer.read()) == gallery.index.digest
        async with session.get(f"{proxy.url}/v2/team/index/manifests/1.0?ns=unknown.test") as answer:
            assert answer.status == 403
            assert json.loads(await answer.read())["errors"][0]["code"] == "DENIED"

"""What the disk has changed is found, put aside, and fetched anew."""

import json
from pathlib import Path

import aiohttp

from tests.e2e.test_prefetch import edgeproxy
from tests.parts.edgeproxy import Edgeproxy
from tests.parts.images import Gallery, Pusher
from tests.parts.registry import DockerRegistry

IMAGE = "registry.test/team/docker:1.0"


def file_of(proxy: Edgeproxy, digest: str) -> Path:
    algorithm, _, encoded = digest.partition(":")
    return proxy.data / "blobs" / algorithm / encoded[:2] / encoded


def spoil(file: Path) -> bytes:
    """One bit, as disks do."""
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    return whole


async def test_what_is_wrong_is_fetched_anew(tmp_path: Path, registry: DockerRegistry, gallery: Gallery) -> None:
    more = '[[access]]\nallow = "pusher"\nto = ["*"]\n'
    async with Edgeproxy(tmp_path / "proxy", {"registry.test": registry.url}, more=more) as proxy:
        assert (await edgeproxy(proxy, "prefetch", IMAGE, "--wait"))[0] == 0
        async with aiohttp.ClientSession() as session:
            own = await Pusher(session, proxy.url, "registry.test/team/own").image([b"ours"], "1.0")
        code, said, _ = await edgeproxy(proxy, "verify", "--json")
        assert code == 0, said
        assert json.loads(said)["blobs"] == len(gallery.docker.blobs) + len(own.blobs) + 2
        layer, lost = gallery.docker.blobs[-1], own.blobs[-1]
        whole = spoil(file_of(proxy, layer))
        spoil(file_of(proxy, lost))
        code, said, _ = await edgeproxy(proxy, "verify", "--json")
        found = json.loads(said)
        assert code == 1
        assert sorted(found["bad"]) == sorted([layer, lost])
        assert found["again"] == [layer]
        assert file_of(proxy, layer).read_bytes() == whole
        assert not file_of(proxy, lost).exists()
        aside = {file.name for file in (proxy.data / "quarantine").iterdir()}
        assert aside == {layer.replace(":", "-"), lost.replace(":", "-")}
        assert await proxy.metric("edgeproxy_quarantined_total") == 2
        assert (await edgeproxy(proxy, "verify"))[0] == 0

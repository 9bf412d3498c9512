"""What is held, at the shell: listed, looked into, kept and deleted."""

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.e2e.test_prefetch import edgeproxy
from tests.parts.edgeproxy import Edgeproxy
from tests.parts.images import Gallery, Pusher
from tests.parts.registry import DockerRegistry

DOCKER, INDEX, ZSTD = (f"registry.test/team/{name}:1.0" for name in ("docker", "index", "zstd"))


@pytest.fixture
async def proxy(tmp_path: Path, registry: DockerRegistry, gallery: Gallery) -> AsyncIterator[Edgeproxy]:
    more = '[auth]\n[[access]]\nallow = "pusher"\nto = ["*"]\n[[access]]\nallow = "puller"\nto = ["*"]\n'
    more += '[[rule]]\nmatch = "*/zstd:*"\nunused_for = "30d"\n'
    async with Edgeproxy(tmp_path / "proxy", {"registry.test": registry.url}, more=more) as proxy:
        code, said, _ = await edgeproxy(proxy, "prefetch", DOCKER, ZSTD, "--wait")
        assert code == 0, said
        code, said, _ = await edgeproxy(proxy, "prefetch", INDEX, "--platform", "linux/arm64", "--wait")
        assert code == 0, said
        yield proxy


async def test_images_are_listed_and_looked_into(proxy: Edgeproxy, gallery: Gallery) -> None:
    _, said, _ = await edgeproxy(proxy, "ls", "*/team/*", "--json")
    images = {each["name"]: each for each in json.loads(said)["images"]}
    assert list(images) == [DOCKER, INDEX, ZSTD]
    assert images[DOCKER]["missing"] == 0
    assert images[INDEX]["missing"] == 1  # the manifest of the platform that nobody wanted
    _, said, _ = await edgeproxy(proxy, "ls")
    assert [line.split()[0] for line in said.strip().splitlines()[1:]] == list(images)
    _, said, _ = await edgeproxy(proxy, "inspect", INDEX, "--json")
    parts = {part["platform"]: part for part in json.loads(said)["parts"]}
    assert parts["linux/arm64"]["missing"] == []
    assert parts["linux/amd64"]["missing"] == [parts["linux/amd64"]["digest"]]
    _, said, _ = await edgeproxy(proxy, "inspect", DOCKER)
    assert gallery.docker.digest in said
    assert re.search(r"^used (once|\d+ times).*; the last time [\d.]+ s ago$", said, re.MULTILINE)
    assert re.search(
        r"^upstream was asked [\d.]+ s ago what the tag names; fresh for [\d.]+ (min|h)$", said, re.MULTILINE
    )
    assert "however much room" not in said
    _, said, _ = await edgeproxy(proxy, "inspect", ZSTD)
    assert "goes in 30 d unless it is asked for, however much room there is" in said
    code, _, told = await edgeproxy(proxy, "inspect", DOCKER.replace("docker", "dokcer"))
    assert (code, f"did you mean {DOCKER}?" in told) == (1, True)


async def test_why_something_is_here_or_is_not(proxy: Edgeproxy, gallery: Gallery) -> None:
    _, said, _ = await edgeproxy(proxy, "explain", DOCKER, "--json")
    items = {each["digest"]: each for each in json.loads(said)["items"]}
    assert set(items) == {gallery.docker.digest, *gallery.docker.blobs}
    assert all(each["here"] and each["history"][-1]["what"] == "fetched" for each in items.values())
    assert all(
        each["history"][-1]["detail"].endswith("for a prefetch") for each in items.values() if each["bytes"] > 10**5
    )
    _, said, _ = await edgeproxy(proxy, "explain", DOCKER)
    assert re.search(rf"^{gallery.docker.digest[:19]} .* here .*fetched from 127.0.0.1:\d+, for", said, re.MULTILINE)
    await edgeproxy(proxy, "purge", DOCKER)
    code, _, told = await edgeproxy(proxy, "explain", DOCKER)
    assert (code, "is not here" in told) == (1, True)
    _, said, _ = await edgeproxy(proxy, "explain", DOCKER.replace(":1.0", f"@{gallery.docker.digest}"), "--json")
    (gone,) = json.loads(said)["items"]
    assert (gone["here"], [each["what"] for each in gone["history"]]) == (False, ["fetched", "purged"])


async def test_what_is_purged_is_gone_and_what_is_kept_stays(proxy: Edgeproxy, gallery: Gallery) -> None:
    assert (await edgeproxy(proxy, "pin", ZSTD))[0] == 0
    async with aiohttp.ClientSession() as session:
        await Pusher(session, proxy.url, "registry.test/team/own").image([b"ours"], "1.0")
    held = await proxy.metric("edgeproxy_cache_bytes")
    code, said, _ = await edgeproxy(proxy, "purge", "*", "--dry-run", "--json")
    assert (code, json.loads(said)["images"]) == (0, [DOCKER, INDEX])
    assert await proxy.metric("edgeproxy_cache_bytes") == held
    _, said, _ = await edgeproxy(proxy, "purge", "*", "--json")
    assert await proxy.metric("edgeproxy_cache_bytes") == held - json.loads(said)["bytes"]
    _, said, _ = await edgeproxy(proxy, "ls", "--json")
    left = json.loads(said)["images"]
    assert [(each["name"], each["missing"]) for each in left] == [("registry.test/team/own:1.0", 0), (ZSTD, 0)]
    assert (await edgeproxy(proxy, "unpin", ZSTD))[0] == 0
    _, said, _ = await edgeproxy(proxy, "purge", "*", "--json")
    assert json.loads(said)["images"] == [ZSTD]
    manifest = f"{proxy.url}/v2/registry.test/team/docker/manifests/1.0"
    async with aiohttp.ClientSession() as session, session.get(manifest) as answer:
        assert answer.status == 200  # it is asked for again


@pytest.mark.parametrize(
    ("method", "path", "body", "told"),
    [
        ("GET", "images?limit=0", "", "limit is a number"),
        ("GET", "images/UPPER/case:1", "", "UPPER"),
        ("POST", "purge", "", "this is no JSON"),
        ("POST", "purge", '{"match": ""}', "known keys are match and dry"),
        ("POST", "purge", '{"match": "x", "force": 1}', "known keys are match and dry"),
        ("POST", "purge", "[]", "known keys are match and dry"),
    ],
)
async def test_what_makes_no_sense_is_told(tmp_path: Path, method: str, path: str, body: str, told: str) -> None:
    async with (
        Edgeproxy(tmp_path / "proxy", {"registry.test": "http://127.0.0.1:9"}) as proxy,
        aiohttp.ClientSession() as session,
        session.request(method, f"{proxy.admin}/api/v1/{path}", data=body) as answer,
    ):
        assert answer.status == 400
        assert told in (await answer.json(content_type=None))["detail"]

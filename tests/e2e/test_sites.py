"""Sites that replicate to each other, each a process: what is written at one is at all of them in the end."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp

from tests.parts.edgeproxy import Edgeproxy
from tests.parts.images import OCI_CONFIG, OCI_GZIP, OCI_MANIFEST, Pusher, digest_of
from tests.parts.processes import wait_until

NOWHERE, REGISTRY = "http://127.0.0.1:9", "sites.test"
RULE = '[[access]]\nallow = "replicator"\nto = ["*"]\n'
_TARGET = '[[target]]\nname = "{name}"\nurl = "{url}"\n'
_POLICY = '[[replication]]\nname = "all"\ntargets = {targets}\ndeletions = true\n'


@asynccontextmanager
async def sites(tmp_path: Path, links: Mapping[int, Sequence[int]]) -> AsyncIterator[list[Edgeproxy]]:
    """A process for every key, which replicates to those that it leads to."""
    found = [Edgeproxy(tmp_path / f"site{number}", {REGISTRY: NOWHERE}, more=RULE) for number in links]
    for number, others in links.items():
        for other in others:
            found[number].add(_TARGET.format(name=f"site{other}", url=found[other].url))
        if others:
            found[number].add(_POLICY.format(targets=json.dumps([f"site{other}" for other in others])))
    async with AsyncExitStack() as stack:
        for site in found:
            await stack.enter_async_context(site)
        yield found


async def push(site: Edgeproxy, repository: str, tag: str, layers: Sequence[bytes]) -> str:
    """The digest of the manifest."""
    async with aiohttp.ClientSession() as session:
        pusher = Pusher(session, site.url, f"{REGISTRY}/{repository}")
        config = b"{}"
        document = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {"mediaType": OCI_CONFIG, "digest": await pusher.blob(config), "size": len(config)},
            "layers": [
                {"mediaType": OCI_GZIP, "digest": await pusher.blob(layer), "size": len(layer)} for layer in layers
            ],
        }
        return (await pusher.manifest(document, tag)).digest


async def names(site: Edgeproxy, repository: str) -> Mapping[str, str]:
    """Digests by tag."""
    headers = {"Accept": "application/vnd.edgeproxy.tags.v1+json"}
    url = f"{site.url}/v2/{REGISTRY}/{repository}/tags/list"
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        return {item["name"]: item["digest"] for item in json.loads(await answer.read())["tags"] if "digest" in item}


async def body(site: Edgeproxy, path: str) -> bytes:
    async with aiohttp.ClientSession() as session, session.get(f"{site.url}/v2/{REGISTRY}/{path}") as answer:
        assert answer.status == 200, await answer.text()
        return await answer.read()


async def test_what_is_pushed_to_one_is_at_the_other(tmp_path: Path) -> None:
    layers = [bytes(range(256)) * 20_000, b"x" * 3_000_000]
    async with sites(tmp_path, {0: [1], 1: []}) as (here, there):
        digest = await push(here, "team/app", "1.0", layers)

        async def arrived() -> bool:
            return await names(there, "team/app") == {"1.0": digest}

        await wait_until(arrived, "it is at the other site", 30)
        for layer in layers:
            assert await body(there, f"team/app/blobs/{digest_of(layer)}") == layer

"""Sites that replicate to each other, each a process: what is written at one is at all of them in the end."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

import aiohttp
import pytest

from tests.parts.edgeproxy import Edgeproxy
from tests.parts.images import OCI_CONFIG, OCI_GZIP, OCI_MANIFEST, Pusher, digest_of
from tests.parts.processes import wait_until
from tests.parts.relay import Fault, RecordingRelay

NOWHERE, REGISTRY = "http://127.0.0.1:9", "sites.test"
RULE = '[[access]]\nallow = "replicator"\nto = ["*"]\n'
_TARGET = '[[target]]\nname = "{name}"\nurl = "{url}"\n'
_POLICY = '[[replication]]\nname = "all"\ntargets = {targets}\ndeletions = true\n{more}'


Links = Mapping[int, Sequence[int]]
RING: Links = {0: [1], 1: [2], 2: [0]}
MESH: Links = {0: [1, 2], 1: [0, 2], 2: [0, 1]}
HUB: Links = {0: [1, 2], 1: [0], 2: [0]}


@dataclass
class Sites:
    """A process for each, and a relay for each direction in which one replicates to another."""

    sites: list[Edgeproxy]
    relays: dict[tuple[int, int], RecordingRelay]

    async def agree(self, repository: str) -> Mapping[str, str]:
        """Wait until all name the same by the same tags; what they name."""
        found: list[Mapping[str, str]] = []

        async def same() -> bool:
            found[:] = [await names(site, repository) for site in self.sites]
            return all(each == found[0] for each in found)

        await wait_until(same, "all sites name the same", 90)
        return found[0]

    async def settled(self) -> None:
        """Wait until nothing is left to be sent."""

        async def idle() -> bool:
            return not any([await site.metric("edgeproxy_replication_tasks") for site in self.sites])

        await wait_until(idle, "nothing is left to be sent", 90)


@asynccontextmanager
async def sites(tmp_path: Path, links: Links, more: str = "") -> AsyncIterator[Sites]:
    """Each replicates to those that it leads to; `more` is added to its policy."""
    found = [Edgeproxy(tmp_path / f"site{number}", {REGISTRY: NOWHERE}, more=RULE) for number in links]
    async with AsyncExitStack() as stack:
        relays = {}
        for number, others in links.items():
            for other in others:
                relay = await stack.enter_async_context(RecordingRelay(found[other].url))
                relays[number, other] = relay
                found[number].add(_TARGET.format(name=f"site{other}", url=relay.url))
            if others:
                found[number].add(_POLICY.format(targets=json.dumps([f"site{other}" for other in others]), more=more))
        for site in found:
            await stack.enter_async_context(site)
        yield Sites(found, relays)


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
    async with sites(tmp_path, {0: [1], 1: []}) as both:
        here, there = both.sites
        digest = await push(here, "team/app", "1.0", layers)

        async def arrived() -> bool:
            return await names(there, "team/app") == {"1.0": digest}

        await wait_until(arrived, "it is at the other site", 30)
        for layer in layers:
            assert await body(there, f"team/app/blobs/{digest_of(layer)}") == layer


async def whole(site: Edgeproxy, repository: str, digest: str) -> None:
    """All of an image is there, and what its digests promise."""
    manifest = await body(site, f"{repository}/manifests/{digest}")
    assert digest_of(manifest) == digest
    document = json.loads(manifest)
    for item in (document["config"], *document["layers"]):
        assert digest_of(await body(site, f"{repository}/blobs/{item['digest']}")) == item["digest"]


async def retag(site: Edgeproxy, repository: str, digest: str, tag: str) -> None:
    manifest = await body(site, f"{repository}/manifests/{digest}")
    async with aiohttp.ClientSession() as session:
        await Pusher(session, site.url, f"{REGISTRY}/{repository}").manifest(json.loads(manifest), tag)


async def delete(site: Edgeproxy, repository: str, tag: str) -> None:
    url = f"{site.url}/v2/{REGISTRY}/{repository}/manifests/{tag}"
    async with aiohttp.ClientSession() as session, session.delete(url) as answer:
        assert answer.status in (202, 404), await answer.text()


@pytest.mark.parametrize("links", [RING, MESH, HUB], ids=["ring", "mesh", "hub and spoke"])
async def test_all_sites_come_to_the_same_whatever_fails(tmp_path: Path, links: Links) -> None:
    chance, repository = Random(str(links)), "team/app"
    tags = ["1.0", "1.1", "latest"]
    async with sites(tmp_path, links) as all_sites:
        found, relays = all_sites.sites, all_sites.relays
        for number in range(24):
            site, tag = chance.choice(found), chance.choice(tags)
            match chance.choice(["push", "push", "retag", "delete", "cut", "restore", "kill"]):
                case "push":
                    await push(site, repository, tag, [chance.randbytes(200_000), b"shared" * 50_000])
                case "retag" if here := await names(site, repository):
                    await retag(site, repository, chance.choice(sorted(here.values())), tag)
                case "delete":
                    await delete(site, repository, tag)
                case "cut":
                    await chance.choice(list(relays.values())).refuse()
                case "restore":
                    await restore(relays.values())
                case "kill":
                    await site.kill()
                    await site.start()
            if number == 12:
                await push(site, repository, "kept", [chance.randbytes(5_000_000)])
        await restore(relays.values())
        await all_sites.settled()
        agreed = await all_sites.agree(repository)
        assert "kept" in agreed
        for site in found:
            for digest in set(agreed.values()):
                await whole(site, repository, digest)


async def restore(relays: Iterable[RecordingRelay]) -> None:
    for relay in relays:
        await relay.refuse()
        await relay.accept()


async def arrivals(site: Edgeproxy) -> tuple[float, float, float]:
    """What other sites have sent: what was applied, what was seen before, and what was a conflict."""
    counts = [
        await site.metric("edgeproxy_replication_received_total", outcome=outcome)
        for outcome in ("applied", "seen", "won", "lost")
    ]
    return counts[0], counts[1], counts[2] + counts[3]


@pytest.mark.parametrize("links", [RING, MESH, HUB], ids=["ring", "mesh", "hub and spoke"])
async def test_every_write_comes_to_every_site_once(tmp_path: Path, links: Links) -> None:
    async with sites(tmp_path, links) as all_sites:
        for number, site in enumerate(all_sites.sites):  # whoever is there for the first time is compared as well
            await push(site, "team/first", f"1.{number}", [b"first"])
        await all_sites.settled()
        before = [await arrivals(site) for site in all_sites.sites]
        for number in range(9):
            await push(all_sites.sites[number % 3], "team/app", f"1.{number}", [b"%d" % number * 1000])
        await all_sites.settled()
        assert len(await all_sites.agree("team/app")) == 9
        for site, (applied, seen, conflicts) in zip(all_sites.sites, before, strict=True):
            after = await arrivals(site)
            assert after[0] == applied + 6, "those of the two others"
            assert after[1] <= seen + 6, "by another way at the most"
            assert after[2] == conflicts


STEPS = [
    ("HEAD", "/blobs/"),
    ("POST", "/uploads/"),
    ("PATCH", "/uploads/"),
    ("PUT", "/uploads/"),
    ("PUT", "/manifests/"),
]


@pytest.mark.parametrize("answered", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(("method", "path"), STEPS)
async def test_who_is_killed_at_any_step_sends_it_when_it_is_back(
    tmp_path: Path, method: str, path: str, answered: bool
) -> None:
    async with sites(tmp_path, {0: [1], 1: []}) as both:
        (here, there), relay = both.sites, both.relays[0, 1]
        never = asyncio.Event()
        fault = Fault(path, method, after=never) if answered else Fault(path, method, before=never)
        relay.faults.append(fault)
        digest = await push(here, "team/app", "1.0", [Random(1).randbytes(3_000_000)])

        def came() -> bool:
            asked = relay.asked(method, path)
            return bool(asked) and (not answered or asked[0].status > 0)

        await wait_until(came, "it has come that far")
        await here.kill()
        relay.faults.clear()
        never.set()
        await here.start()
        await both.settled()
        assert await names(there, "team/app") == {"1.0": digest}
        await whole(there, "team/app", digest)


async def test_who_was_away_for_a_thousand_writes_catches_up(tmp_path: Path) -> None:
    async with sites(tmp_path, {0: [1], 1: []}) as both:
        here, there = both.sites
        await there.stop()
        written = {}
        for number in range(1000):
            written[f"1.{number}"] = await push(here, "team/app", f"1.{number}", [b"%d" % (number // 10)])
        await here.kill()
        await here.start()
        assert await here.metric("edgeproxy_replication_tasks") == 1000
        await there.start()
        await both.settled()
        assert await names(there, "team/app") == written


@pytest.mark.parametrize("mode", ["semi-sync", "sync"])
async def test_a_push_is_answered_when_others_have_it(tmp_path: Path, mode: str) -> None:
    more = f'mode = "{mode}"\ntimeout = "2s"\n'
    async with sites(tmp_path, {0: [1, 2], 1: [], 2: []}, more) as three:
        here, there, elsewhere = three.sites
        digest = await push(here, "team/app", "1.0", [b"one" * 1000])
        have = [await names(site, "team/app") == {"1.0": digest} for site in (there, elsewhere)]
        assert any(have) if mode == "semi-sync" else all(have)
        await elsewhere.stop()
        if mode == "sync":
            with pytest.raises(AssertionError, match="1 of 2 targets of all have not confirmed it within 2 s"):
                await push(here, "team/app", "2.0", [b"two" * 1000])
            assert "2.0" in await names(here, "team/app")
        else:
            await push(here, "team/app", "2.0", [b"two" * 1000])
        assert "2.0" in await names(there, "team/app")
        await elsewhere.start()
        await three.settled()
        assert "2.0" in await names(elsewhere, "team/app")


async def artifact(site: Edgeproxy, repository: str, subject: str, tag: str | None) -> str:
    """The digest of something that refers to an image; pushed by digest where there is no tag."""
    async with aiohttp.ClientSession() as session:
        pusher = Pusher(session, site.url, f"{REGISTRY}/{repository}")
        layer = f"about {subject}, as {tag}, from {site.port}".encode()
        about = {
            "mediaType": OCI_MANIFEST,
            "digest": subject,
            "size": len(await body(site, f"{repository}/manifests/{subject}")),
        }
        document = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": "application/vnd.example.sbom",
            "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": await pusher.blob(b"{}"), "size": 2},
            "layers": [{"mediaType": "text/plain", "digest": await pusher.blob(layer), "size": len(layer)}],
            **({} if tag else {"subject": about}),
        }
        return (await pusher.manifest(document, tag)).digest


@pytest.mark.parametrize("links", [RING, MESH], ids=["ring", "mesh"])
async def test_what_refers_to_an_image_travels_with_it_and_does_not_circulate(tmp_path: Path, links: Links) -> None:
    async with sites(tmp_path, links, 'tags = ["1.*"]\n') as three:
        here, there, _ = three.sites
        digest = await push(here, "team/app", "1.0", [b"layer"])
        await push(here, "team/app", "other", [b"of no policy"])
        signature = f"{digest.replace(':', '-')}.sig"
        for site in (here, there):  # before and after it has come to the other
            found = [
                await artifact(site, "team/app", digest, None),
                await artifact(site, "team/app", digest, signature),
            ]
            await three.settled()
            for other in three.sites:
                index = json.loads(await body(other, f"team/app/referrers/{digest}"))
                assert found[0] in [item["digest"] for item in index["manifests"]]
                assert (await names(other, "team/app"))[signature] == found[1]
                await whole(other, "team/app", found[0])
        for other in three.sites[1:]:
            assert set(await names(other, "team/app")) == {"1.0", signature}
        delivered = [await site.metric("edgeproxy_replication_delivered_total") for site in three.sites]
        assert max(delivered) <= 5 * len(links[0])

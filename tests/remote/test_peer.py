"""Pushing to a real registry that knows nothing of us (OCI distribution-spec, spec.md#push)."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from edgeproxy.interfaces import Deletion, Urgency
from edgeproxy.oci.credentials import Credentials
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.errors import Denied, ManifestMalformed, Unavailable, Unsupported, UpstreamUnauthorized
from edgeproxy.oci.manifest import OCI_MANIFEST, Descriptor
from edgeproxy.oci.reference import Pinned, Repository, Tag
from tests.e2e.guarded import behind_tokens
from tests.e2e.test_private import SECRET, by_htpasswd
from tests.parts.authorities import certificates
from tests.parts.processes import free_port
from tests.parts.registry import DockerRegistry
from tests.parts.relay import Fault, RecordingRelay
from tests.parts.tokens import TokenServer
from tests.remote.peers import CONFIG, HERE, LAYER, MiB, line, manifest, noise, parcel, peer_at, shown, tagged
from tests.remote.scripted import always, serving

OTHER = Repository("a.test", "team/other")
ME = Credentials("me", SECRET)


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[DockerRegistry]:
    async with DockerRegistry(tmp_path / "registry") as registry:
        yield registry


async def test_a_blob_goes_in_pieces_and_is_there_whole(registry: DockerRegistry) -> None:
    body, link = noise(17 * MiB + 5), line()
    async with RecordingRelay(registry.url) as relay, peer_at(relay.url, link=link) as peer:
        receipt = await peer.send(parcel(body))
        assert await shown(registry.url, f"team/app/blobs/{Digest.of(body)}") == body
        pieces = [each.headers["Content-Range"] for each in relay.asked("PATCH", "")]
    assert receipt == (len(body), True)
    assert pieces == [f"0-{16 * MiB - 1}", f"{16 * MiB}-{len(body) - 1}"]
    assert link.bytes == len(body)
    assert {(name, urgency) for name, _, urgency in link.admitted} == {("store", Urgency.REPLICATION)}
    assert max(size for _, size, _ in link.admitted) <= 256 * 1024


async def test_a_blob_of_no_bytes(registry: DockerRegistry) -> None:
    async with peer_at(registry.url) as peer:
        assert (await peer.send(parcel(b""))).sent == 0
    assert await shown(registry.url, f"team/app/blobs/{Digest.of(b'')}") == b""


async def test_what_is_not_what_its_digest_says_is_refused_in_its_words(registry: DockerRegistry) -> None:
    wrong = parcel(LAYER)._replace(blob=Pinned(HERE, Digest.of(b"something else")))
    async with peer_at(registry.url) as peer:
        with pytest.raises(Exception, match="store answers with status 400: provided digest did not match"):
            await peer.send(wrong)


async def test_only_what_is_missing_is_named(registry: DockerRegistry) -> None:
    digests = [Digest.of(bytes([number])) for number in range(40)]
    async with peer_at(registry.url) as peer:
        await peer.send(parcel(LAYER))
        assert await peer.missing(HERE, [*digests, Digest.of(LAYER)]) == digests
        assert await peer.missing(OTHER, [Digest.of(LAYER)]) == [Digest.of(LAYER)]


async def test_a_blob_of_another_repository_is_mounted_without_a_byte(registry: DockerRegistry) -> None:
    async with peer_at(registry.url) as peer:
        await peer.send(parcel(LAYER, OTHER))
        receipt = await peer.send(parcel(LAYER, sources=[Repository("a.test", "team/nothing"), OTHER]))
        assert receipt == (0, False)
        assert await peer.missing(HERE, [Digest.of(LAYER)]) == []


async def test_a_blob_that_cannot_be_mounted_is_sent(registry: DockerRegistry) -> None:
    async with RecordingRelay(registry.url) as relay, peer_at(relay.url) as peer:
        assert await peer.send(parcel(LAYER, sources=[OTHER])) == (len(LAYER), True)
        assert [each.status for each in relay.asked("DELETE", "/uploads/")] == [204]  # what was begun for nothing


async def test_a_mount_that_is_refused_is_a_transfer(registry: DockerRegistry) -> None:
    async with RecordingRelay(registry.url) as relay, peer_at(relay.url) as peer:
        relay.faults.append(Fault("mount=", status=403))
        assert await peer.send(parcel(LAYER, sources=[OTHER])) == (len(LAYER), True)


async def test_a_manifest_and_the_tags_that_name_it(registry: DockerRegistry) -> None:
    body = manifest()
    descriptor = Descriptor(OCI_MANIFEST, Digest.of(body), len(body))
    async with peer_at(registry.url) as peer:
        assert await peer.tags(HERE) == {}
        for blob in (CONFIG, LAYER):
            await peer.send(parcel(blob))
        assert (await peer.send(tagged("1.0", body))).news
        await peer.send(tagged("2.0", body))
        assert await peer.tags(HERE) == {"1.0": descriptor, "2.0": descriptor}
    assert await shown(registry.url, "team/app/manifests/1.0") == body


async def test_tags_come_page_by_page() -> None:
    """docker-registry 2.8 lists all tags at once; others page."""
    names = [f"v{number}" for number in range(7)]

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if request.method == "HEAD":
            return web.Response(headers={"Docker-Content-Digest": Digest.of(request.path.encode())})
        rest = [name for name in names if name > request.query.get("last", "")]
        more = {"Link": f'</v2/team/app/tags/list?n=3&last={rest[2]}>; rel="next"'} if len(rest) > 3 else {}
        return web.json_response({"name": "team/app", "tags": [*rest[:3], "no tag!", 7]}, headers=more)

    async with serving(answer) as server, peer_at(server.url) as peer:
        assert list(await peer.tags(HERE)) == names


async def test_a_list_that_never_ends_is_left() -> None:
    next_page = {"Link": '</v2/team/app/tags/list?last=v1>; rel="next"'}
    async with serving(always(200, b'{"tags": ["v1"]}', next_page)) as server, peer_at(server.url) as peer:
        with pytest.raises(Unavailable, match="without end"):
            await peer.tags(HERE)


async def test_a_manifest_goes_by_its_digest_and_by_that_only(registry: DockerRegistry) -> None:
    body = manifest()
    pinned = Pinned(HERE, Digest.of(body))
    async with peer_at(registry.url) as peer:
        for blob in (CONFIG, LAYER):
            await peer.send(parcel(blob))
        await peer.send(tagged("1.0", body))
        with pytest.raises(Unsupported, match="store deletes no tags"):
            await peer.send(Deletion(Tag(HERE, "1.0")))
        assert await peer.send(Deletion(pinned)) == (0, True)
        assert await peer.send(Deletion(pinned)) == (0, False)
    assert await shown(registry.url, f"team/app/manifests/{pinned.digest}") is None


async def test_a_manifest_that_is_refused_says_why(registry: DockerRegistry) -> None:
    async with peer_at(registry.url) as peer:
        with pytest.raises(ManifestMalformed, match=r"store answers with status 400: .*blob unknown to registry"):
            await peer.send(tagged("1.0", manifest()))


async def test_a_check_tells_what_it_is_and_takes_back_what_it_tried(registry: DockerRegistry) -> None:
    async with RecordingRelay(registry.url) as relay, peer_at(relay.url) as peer:
        standing = await peer.check(HERE)
        await peer.check(HERE)
        tried = [(each.method, each.status) for each in relay.exchanges]
    assert standing[:3] == ("", None, relay.url)
    assert standing.seconds > 0
    assert tried == [("GET", 200), ("POST", 202), ("DELETE", 204), ("GET", 200)]


async def test_a_registry_that_may_be_read_only_is_no_target(registry: DockerRegistry) -> None:
    async with RecordingRelay(registry.url) as relay, peer_at(relay.url) as peer:
        relay.faults.append(Fault(method="POST", status=403))
        for _ in range(2):
            with pytest.raises(Denied, match="store answers with status 403; give our login there the rights to push"):
                await peer.check(HERE)


async def test_nobody_there_is_unavailable() -> None:
    async with peer_at(f"http://127.0.0.1:{free_port()}") as peer:
        with pytest.raises(Unavailable, match=r"store cannot be reached at http://127\.0\.0\.1"):
            await peer.check(None)


async def test_with_a_name_and_a_password(tmp_path: Path) -> None:
    async with DockerRegistry(tmp_path / "guarded", more=by_htpasswd(tmp_path)) as registry:
        async with RecordingRelay(registry.url) as relay, peer_at(relay.url, credentials=ME) as peer:
            await peer.check(HERE)
            assert (await peer.send(parcel(LAYER))).sent == len(LAYER)
            assert [each.status for each in relay.exchanges if each.status == 401] == []
        assert await shown(registry.url, f"team/app/blobs/{Digest.of(LAYER)}", ME) == LAYER


@pytest.mark.parametrize("credentials", [None, Credentials("me", "wrong")])
async def test_a_login_that_is_refused(tmp_path: Path, credentials: Credentials | None) -> None:
    async with (
        DockerRegistry(tmp_path / "guarded", more=by_htpasswd(tmp_path)) as registry,
        peer_at(registry.url, credentials=credentials) as peer,
    ):
        with pytest.raises((Denied, UpstreamUnauthorized), match=r"store .*login"):
            await peer.check(HERE)


async def test_with_tokens_for_each_repository(tmp_path: Path, registry: DockerRegistry) -> None:
    async with (
        TokenServer(certificates(tmp_path / "tokens"), ME.username, ME.password) as tokens,
        behind_tokens(tmp_path, registry, tokens) as relay,
        peer_at(relay.url, credentials=ME) as peer,
    ):
        await peer.check(HERE)
        for blob in (CONFIG, LAYER):
            await peer.send(parcel(blob))
        await peer.send(parcel(LAYER, OTHER))
        await peer.send(tagged("1.0", manifest()))
        assert tokens.issued == 4  # for /v2/, for each repository, and to take back what was tried in one
        await peer.send(tagged("2.0", manifest()))
        await peer.send(parcel(b"more"))
        assert tokens.issued == 4
    assert await shown(registry.url, "team/app/manifests/1.0") == manifest()

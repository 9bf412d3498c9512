"""The distribution-spec's pull and content-discovery workflows, clause by clause.

Each runs against docker-registry, which shows that the test asks for what registries do, and against edgeproxy in
front of it: cold, warm, and with the registry gone. Where distribution is known to differ from the specification, only
edgeproxy is held to it.
"""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp
import pytest
import pytest_asyncio

from tests.parts.edgeproxy import Edgeproxy
from tests.parts.images import ACCEPT, OCI_INDEX, Gallery, Pusher, digest_of, layer, push_gallery
from tests.parts.registry import DockerRegistry

UNKNOWN = f"sha256:{'0' * 64}"
pytestmark = pytest.mark.asyncio(loop_scope="module")
TAGS = ("1.0", "2.0", "alpha", "beta")


@dataclass(frozen=True)
class Subject:
    """A registry under test, and what is in it."""

    url: str
    gallery: Gallery
    session: aiohttp.ClientSession
    strict: bool

    async def ask(self, method: str, path: str, **headers: str) -> tuple[int, bytes, dict[str, str]]:
        """Status, body and header fields (names in lower case)."""
        fields = {"Accept": ACCEPT, **{name.replace("_", "-"): value for name, value in headers.items()}}
        async with self.session.request(method, f"{self.url}/v2/{path}", headers=fields) as answer:
            return answer.status, await answer.read(), {name.lower(): value for name, value in answer.headers.items()}


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["registry", "cold", "warm", "upstream gone"])
async def subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Subject]:
    tmp_path = tmp_path_factory.mktemp("conformance")
    async with (
        aiohttp.ClientSession() as session,
        DockerRegistry(tmp_path / "registry") as registry,
        Edgeproxy(tmp_path / "edge", {"registry.test": registry.url}) as proxy,
    ):
        gallery = await push_gallery(registry.url)
        for tag in TAGS:
            await Pusher(session, registry.url, "team/docker").image([layer([], tag.encode())], tag)
        ours = request.param != "registry"
        subject = Subject(proxy.url if ours else registry.url, gallery, session, strict=ours)
        if request.param in ("warm", "upstream gone"):
            await _pull_everything(subject)
        if request.param == "upstream gone":
            await registry.stop()
        yield subject


async def _pull_everything(subject: Subject) -> None:
    index = subject.gallery.index
    manifests = ["1.0", index.digest, *(child.digest for child in index.children)]
    blobs = [blob for child in index.children for blob in child.blobs]
    paths = [f"team/index/manifests/{one}" for one in manifests] + [f"team/index/blobs/{one}" for one in blobs]
    paths += [f"team/docker/manifests/{tag}" for tag in TAGS] + [f"team/index/referrers/{index.digest}"]
    for path in paths:
        assert (await subject.ask("GET", path))[0] == 200, path


async def test_the_base_says_that_this_is_a_registry(subject: Subject) -> None:
    assert (await subject.ask("GET", ""))[0] == 200


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_manifests(subject: Subject, method: str) -> None:
    index = subject.gallery.index
    for reference in ("1.0", index.digest):
        status, body, fields = await subject.ask(method, f"team/index/manifests/{reference}")
        assert status == 200
        assert fields["content-type"] == OCI_INDEX
        assert fields["docker-content-digest"] == index.digest
        assert int(fields["content-length"]) == index.size
        assert body == b"" if method == "HEAD" else digest_of(body) == index.digest


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_blobs(subject: Subject, method: str) -> None:
    for digest in subject.gallery.index.children[0].blobs:
        status, body, fields = await subject.ask(method, f"team/index/blobs/{digest}")
        assert status == 200
        assert int(fields["content-length"]) > 0
        assert fields["docker-content-digest"] == digest
        assert body == b"" if method == "HEAD" else digest_of(body) == digest


async def test_ranges_of_blobs(subject: Subject) -> None:
    digest = subject.gallery.index.children[0].blobs[1]
    _, whole, _ = await subject.ask("GET", f"team/index/blobs/{digest}")
    for field, part in (
        ("bytes=10-19", whole[10:20]),
        (f"bytes={len(whole) - 5}-", whole[-5:]),
        ("bytes=-7", whole[-7:]),
    ):
        status, body, fields = await subject.ask("GET", f"team/index/blobs/{digest}", Range=field)
        assert (status, body) == (206, part)
        assert fields["content-range"].endswith(f"/{len(whole)}")
    if subject.strict:  # distribution 2.8 answers 416 with the length of the whole, and its error document
        status, _, _ = await subject.ask("GET", f"team/index/blobs/{digest}", Range=f"bytes={len(whole)}-")
        assert status == 416


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        (f"team/index/manifests/{UNKNOWN}", 404, "MANIFEST_UNKNOWN"),
        ("team/index/manifests/absent", 404, "MANIFEST_UNKNOWN"),
        (f"team/index/blobs/{UNKNOWN}", 404, "BLOB_UNKNOWN"),
        ("team/index/manifests/sha256:baddigest", 400, "DIGEST_INVALID"),
        ("team/index/blobs/sha256:baddigest", 400, "DIGEST_INVALID"),
        ("team/INDEX/manifests/1.0", 400, "NAME_INVALID"),
    ],
)
async def test_what_is_not_there(subject: Subject, path: str, status: int, code: str) -> None:
    if not subject.strict and status == 400:
        pytest.skip("distribution answers a malformed name or digest with 404 from its router")
    answered, body, fields = await subject.ask("GET", path)
    if await _is_gone(subject) and status == 404:
        assert answered == 503, "what is not here cannot be said to be unknown"
        return
    assert answered == status
    assert fields["content-type"].startswith("application/json")
    assert json.loads(body)["errors"][0]["code"] == code
    assert (await subject.ask("HEAD", path))[0] == status


async def test_tags(subject: Subject) -> None:
    if not subject.strict:
        pytest.skip("distribution 2.8 does not sort")
    _, body, _ = await subject.ask("GET", "team/docker/tags/list")
    assert json.loads(body) == {"name": "team/docker", "tags": list(TAGS)}
    _, body, fields = await subject.ask("GET", "team/docker/tags/list?n=2")
    assert json.loads(body)["tags"] == list(TAGS[:2])
    assert fields["link"].endswith('rel="next"')
    following = fields["link"].partition(">")[0].partition("/v2/")[2]
    _, body, fields = await subject.ask("GET", following)
    assert json.loads(body)["tags"] == list(TAGS[2:])
    _, body, _ = await subject.ask("GET", "team/docker/tags/list?last=2.0")
    assert json.loads(body)["tags"] == list(TAGS[2:])


async def test_no_tags_at_all_are_asked_for(subject: Subject) -> None:
    if not subject.strict:
        pytest.skip("distribution refuses n=0")
    _, body, fields = await subject.ask("GET", "team/docker/tags/list?n=0")
    assert json.loads(body)["tags"] == []
    assert "link" not in fields


async def test_referrers(subject: Subject) -> None:
    if not subject.strict:
        pytest.skip("distribution 2.8 has no referrers API")
    path = f"team/index/referrers/{subject.gallery.index.digest}"
    status, body, fields = await subject.ask("GET", path)
    assert (status, fields["content-type"]) == (200, OCI_INDEX)
    assert [item["digest"] for item in json.loads(body)["manifests"]] == [subject.gallery.artifact.digest]
    _, body, fields = await subject.ask("GET", f"{path}?artifactType=application/none")
    assert json.loads(body)["manifests"] == []
    assert fields["oci-filters-applied"] == "artifactType"
    assert (await subject.ask("GET", "team/index/referrers/sha256:bad"))[0] == 400
    if not await _is_gone(subject):
        status, body, _ = await subject.ask("GET", f"team/index/referrers/{UNKNOWN}")
        assert (status, json.loads(body)["manifests"]) == (200, [])


async def _is_gone(subject: Subject) -> bool:
    """Whether the proxy has no upstream to ask."""
    status, _, _ = await subject.ask("HEAD", "team/none/manifests/absent")
    return status == 503

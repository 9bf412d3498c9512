"""The distribution-spec's push workflow, clause by clause.

Against docker-registry, and against edgeproxy with and without a registry behind it. Where distribution is known to
differ from the specification, only edgeproxy is held to it.
"""

import io
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from multidict import CIMultiDictProxy
from yarl import URL

from tests.parts.edgeproxy import Edgeproxy
from tests.parts.images import OCI_CONFIG, OCI_GZIP, OCI_INDEX, OCI_MANIFEST, digest_of
from tests.parts.registry import DockerRegistry

pytestmark = pytest.mark.asyncio(loop_scope="module")
RULE = '[[access]]\nallow = "replicator"\nto = ["*"]\n'
BODY = bytes(range(256)) * 400
DIGEST = digest_of(BODY)
UNKNOWN = f"sha256:{'0' * 64}"


@dataclass(frozen=True)
class Subject:
    """A registry under test; every test has a repository of its own."""

    url: URL
    session: aiohttp.ClientSession
    strict: bool
    numbers: "count[int]" = field(default_factory=count)

    async def ask(
        self, method: str, target: URL, body: bytes = b"", **headers: str
    ) -> tuple[int, bytes, CIMultiDictProxy[str]]:
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.request(method, target, data=io.BytesIO(body), headers=fields) as answer:
            return answer.status, await answer.read(), answer.headers

    def repository(self) -> URL:
        return self.url / f"v2/push/number-{next(self.numbers)}"

    async def begin(self, repository: URL, **query: str) -> URL:
        status, _, fields = await self.ask("POST", (repository / "blobs/uploads/").with_query(query))
        assert status == 202
        return self.at(fields)

    def at(self, fields: Mapping[str, str]) -> URL:
        return self.url.join(URL(fields["Location"], encoded=True))

    async def blob(self, repository: URL, body: bytes) -> dict[str, Any]:
        """Pushed, and described."""
        location = (await self.begin(repository)).update_query(digest=digest_of(body))
        status, _, _ = await self.ask("PUT", location, body, Content_Type="application/octet-stream")
        assert status == 201
        return {"mediaType": OCI_GZIP, "digest": digest_of(body), "size": len(body)}

    async def image(self, repository: URL, **more: object) -> bytes:
        """A manifest whose blobs are pushed."""
        config = {**await self.blob(repository, b"{}"), "mediaType": OCI_CONFIG}
        document = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config}
        return json.dumps({**document, "layers": [await self.blob(repository, BODY)], **more}).encode()

    async def manifest(self, repository: URL, body: bytes, reference: str, kind: str = OCI_MANIFEST) -> Any:
        return await self.ask("PUT", repository / "manifests" / reference, body, Content_Type=kind)


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["registry", "edgeproxy", "upstream gone"])
async def subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Subject]:
    tmp_path = tmp_path_factory.mktemp("conformance")
    async with (
        aiohttp.ClientSession() as session,
        DockerRegistry(tmp_path / "registry") as registry,
        Edgeproxy(tmp_path / "edge", {"registry.test": registry.url}, more=RULE) as proxy,
    ):
        if request.param == "upstream gone":
            await registry.stop()
        ours = request.param != "registry"
        yield Subject(URL(proxy.url if ours else registry.url), session, strict=ours)


def code(body: bytes) -> str:
    return str(json.loads(body)["errors"][0]["code"])


async def test_post_then_put(subject: Subject) -> None:
    repository = subject.repository()
    location = await subject.begin(repository)
    status, _, fields = await subject.ask("PUT", location.update_query(digest=DIGEST), BODY)
    assert status == 201
    status, body, _ = await subject.ask("GET", subject.at(fields))
    assert (status, body) == (200, BODY)
    assert (await subject.ask("HEAD", repository / "blobs" / DIGEST))[0] == 200


async def test_a_single_post(subject: Subject) -> None:
    repository = subject.repository()
    target = (repository / "blobs/uploads/").with_query(digest=DIGEST)
    status, _, fields = await subject.ask("POST", target, BODY)
    if not subject.strict:
        assert status in (201, 202)
        return
    assert (status, subject.at(fields)) == (201, repository / "blobs" / DIGEST)
    assert (await subject.ask("GET", subject.at(fields)))[1] == BODY


async def test_chunks_in_order(subject: Subject) -> None:
    location = await subject.begin(subject.repository())
    for start, stop in ((0, 1000), (1000, 50_000)):
        claim = f"{start}-{stop - 1}"
        status, _, fields = await subject.ask("PATCH", location, BODY[start:stop], Content_Range=claim)
        assert (status, fields["Range"]) == (202, f"0-{stop - 1}")
        location = subject.at(fields)
        status, _, fields = await subject.ask("GET", location)
        assert (status, fields["Range"]) == (204, f"0-{stop - 1}")
        location = subject.at(fields)
    status, _, _ = await subject.ask("PUT", location.update_query(digest=DIGEST), BODY[50_000:])
    assert status == 201


async def test_chunks_out_of_order(subject: Subject) -> None:
    if not subject.strict:
        pytest.skip("distribution 2.8 takes them in any order, and finds the digest wrong at the end")
    location = await subject.begin(subject.repository())
    _, _, fields = await subject.ask("PATCH", location, BODY[:1000], Content_Range="0-999")
    location = subject.at(fields)
    for claim in ("0-999", "500-1499", "2000-2999"):
        status, _, _ = await subject.ask("PATCH", location, BODY[:1000], Content_Range=claim)
        assert status == 416
    status, _, fields = await subject.ask("GET", location)
    assert (status, fields["Range"]) == (204, "0-999")
    rest = f"1000-{len(BODY) - 1}"
    target = subject.at(fields).update_query(digest=DIGEST)
    assert (await subject.ask("PUT", target, BODY[1000:], Content_Range=rest))[0] == 201


async def test_a_cancelled_upload_is_gone(subject: Subject) -> None:
    location = await subject.begin(subject.repository())
    assert (await subject.ask("DELETE", location))[0] == 204
    status, body, _ = await subject.ask("GET", location)
    assert (status, code(body)) == (404, "BLOB_UPLOAD_UNKNOWN")


@pytest.mark.parametrize("digest", [UNKNOWN, "sha256:bad", "md4:x"])
async def test_a_digest_that_is_wrong(subject: Subject, digest: str) -> None:
    location = await subject.begin(subject.repository())
    status, body, _ = await subject.ask("PUT", location.update_query(digest=digest), BODY)
    assert (status, code(body)) == (400, "DIGEST_INVALID")


async def test_a_mount(subject: Subject) -> None:
    source, target = subject.repository(), subject.repository()
    await subject.blob(source, BODY)
    query = {"mount": DIGEST, "from": source.path.removeprefix("/v2/")}
    status, _, fields = await subject.ask("POST", (target / "blobs/uploads/").with_query(query))
    assert (status, subject.at(fields)) == (201, target / "blobs" / DIGEST)
    assert (await subject.ask("GET", subject.at(fields)))[1] == BODY
    await subject.begin(target, **{**query, "from": "push/nothing"})
    await subject.begin(target, mount=UNKNOWN, **{"from": query["from"]})


async def test_manifests_by_tag_and_by_digest(subject: Subject) -> None:
    repository = subject.repository()
    image = await subject.image(repository)
    for reference in (digest_of(image), "1.0"):
        assert (await subject.ask("HEAD", repository / "manifests" / reference))[0] == 404
        status, _, fields = await subject.manifest(repository, image, reference)
        assert (status, fields["Docker-Content-Digest"]) == (201, digest_of(image))
        status, body, fields = await subject.ask("GET", subject.at(fields), Accept=OCI_MANIFEST)
        assert (status, body, fields["Content-Type"]) == (200, image, OCI_MANIFEST)
    index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [described(image)]}).encode()
    assert (await subject.manifest(repository, index, "many", OCI_INDEX))[0] == 201
    status, body, _ = await subject.ask("GET", repository / "tags/list")
    tags = json.loads(body)["tags"]
    assert (tags if subject.strict else sorted(tags)) == ["1.0", "many"]


def described(manifest: bytes) -> dict[str, Any]:
    return {"mediaType": OCI_MANIFEST, "digest": digest_of(manifest), "size": len(manifest)}


async def test_a_tag_moves(subject: Subject) -> None:
    repository = subject.repository()
    for image in (await subject.image(repository), await subject.image(repository, annotations={"a": "b"})):
        assert (await subject.manifest(repository, image, "latest"))[0] == 201
        answer = await subject.ask("GET", repository / "manifests/latest", Accept=OCI_MANIFEST)
        assert answer[1] == image


async def test_a_manifest_whose_blobs_are_absent(subject: Subject) -> None:
    repository = subject.repository()
    image = json.loads(await subject.image(repository))
    image["layers"].append({"mediaType": OCI_GZIP, "digest": UNKNOWN, "size": 5})
    status, body, _ = await subject.manifest(repository, json.dumps(image).encode(), "1.0")
    assert (status if subject.strict else 404, code(body)) == (404, "MANIFEST_BLOB_UNKNOWN")


@pytest.mark.parametrize("body", [b"", b"nonsense", b"{}", b'{"schemaVersion": 2, "mediaType": "other/type"}'])
async def test_what_is_no_manifest(subject: Subject, body: bytes) -> None:
    if not subject.strict and body == b"{}":
        pytest.skip("distribution 2.8 answers 500")
    status, answer, _ = await subject.manifest(subject.repository(), body, "1.0")
    assert (status, code(answer)) == (400, "MANIFEST_INVALID")


async def test_a_subject_and_its_referrers(subject: Subject) -> None:
    if not subject.strict:
        pytest.skip("distribution 2.8 has no referrers API")
    repository = subject.repository()
    image = await subject.image(repository)
    artifact = await subject.image(repository, subject=described(image), artifactType="a/b")
    status, _, fields = await subject.manifest(repository, artifact, digest_of(artifact))
    assert (status, fields["OCI-Subject"]) == (201, digest_of(image))
    for query, expected in ({}, [digest_of(artifact)]), ({"artifactType": "c/d"}, []):
        target = (repository / "referrers" / digest_of(image)).with_query(query)
        status, body, fields = await subject.ask("GET", target)
        assert (status, fields["Content-Type"]) == (200, OCI_INDEX)
        assert [item["digest"] for item in json.loads(body)["manifests"]] == expected
    assert (await subject.manifest(repository, image, "1.0"))[0] == 201, "the subject may come later"


async def test_a_manifest_of_four_megabytes(subject: Subject) -> None:
    if not subject.strict:
        pytest.skip("distribution takes less")
    repository = subject.repository()
    image = (await subject.image(repository)).ljust(4 * 1024 * 1024)
    assert (await subject.manifest(repository, image, "1.0"))[0] == 201
    assert (await subject.manifest(repository, image + b" ", "1.0"))[0] == 413


# content management, which distribution has switched off unless it is configured


@pytest.fixture
def deleting(subject: Subject) -> Subject:
    if not subject.strict:
        pytest.skip("distribution 2.8 deletes where its configuration says so")
    return subject


async def test_a_tag_is_deleted_and_its_manifest_is_not(deleting: Subject) -> None:
    repository = deleting.repository()
    image = await deleting.image(repository)
    for tag in ("1.0", "2.0"):
        await deleting.manifest(repository, image, tag)
    assert (await deleting.ask("DELETE", repository / "manifests/1.0"))[0] == 202
    for method in ("GET", "HEAD", "DELETE"):
        assert (await deleting.ask(method, repository / "manifests/1.0"))[0] == 404
    for reference in ("2.0", digest_of(image)):
        assert (await deleting.ask("GET", repository / "manifests" / reference))[1] == image
    assert json.loads((await deleting.ask("GET", repository / "tags/list"))[1])["tags"] == ["2.0"]
    assert (await deleting.manifest(repository, image, "1.0"))[0] == 201
    assert (await deleting.ask("GET", repository / "manifests/1.0"))[1] == image


async def test_a_manifest_is_deleted_with_its_tags(deleting: Subject) -> None:
    repository = deleting.repository()
    image, other = await deleting.image(repository), await deleting.image(repository, annotations={"a": "b"})
    for tag, body in (("1.0", image), ("2.0", image), ("3.0", other)):
        await deleting.manifest(repository, body, tag)
    target = repository / "manifests" / digest_of(image)
    assert (await deleting.ask("DELETE", target))[0] == 202
    for path in ("manifests/1.0", "manifests/2.0", f"manifests/{digest_of(image)}"):
        status, body, _ = await deleting.ask("GET", repository / path)
        assert (status, code(body)) == (404, "MANIFEST_UNKNOWN")
    assert json.loads((await deleting.ask("GET", repository / "tags/list"))[1])["tags"] == ["3.0"]
    status, body, _ = await deleting.ask("DELETE", target)
    assert (status, code(body)) == (404, "MANIFEST_UNKNOWN")
    assert (await deleting.manifest(repository, image, "1.0"))[0] == 201
    assert (await deleting.ask("GET", target))[1] == image


async def test_a_blob_is_deleted(deleting: Subject) -> None:
    repository = deleting.repository()
    await deleting.blob(repository, BODY)
    target = repository / "blobs" / DIGEST
    assert (await deleting.ask("DELETE", target))[0] == 202
    for method in ("GET", "HEAD", "DELETE"):
        assert (await deleting.ask(method, target))[0] == 404
    await deleting.blob(repository, BODY)
    assert (await deleting.ask("GET", target))[1] == BODY


async def test_what_is_not_there_cannot_be_deleted(deleting: Subject) -> None:
    repository = deleting.repository()
    await deleting.manifest(repository, await deleting.image(repository), "1.0")
    for path, expected in (
        ("manifests/absent", "MANIFEST_UNKNOWN"),
        (f"manifests/{UNKNOWN}", "MANIFEST_UNKNOWN"),
        (f"manifests/{DIGEST}", "MANIFEST_UNKNOWN"),
        (f"blobs/{UNKNOWN}", "BLOB_UNKNOWN"),
    ):
        status, body, _ = await deleting.ask("DELETE", repository / path)
        assert (status, code(body)) == (404, expected)


async def test_a_referrer_that_is_deleted_is_not_listed(deleting: Subject) -> None:
    repository = deleting.repository()
    image = await deleting.image(repository)
    await deleting.manifest(repository, image, "1.0")
    artifact = await deleting.image(repository, subject=described(image), artifactType="a/b")
    await deleting.manifest(repository, artifact, digest_of(artifact))
    assert (await deleting.ask("DELETE", repository / "manifests" / digest_of(artifact)))[0] == 202
    _, body, _ = await deleting.ask("GET", repository / "referrers" / digest_of(image))
    assert json.loads(body)["manifests"] == []

"""Who refers to a manifest: by the API, else by the fallback tag, else as it was known."""

import json
from pathlib import Path

import pytest

from edgeproxy.oci.digest import Digest
from edgeproxy.oci.errors import Refusal, TooManyRequests, Unavailable
from edgeproxy.oci.manifest import OCI_INDEX, OCI_MANIFEST
from edgeproxy.oci.reference import Pinned
from tests.cache.core import HERE, NEAR, Core, Setting, running
from tests.fakes.shelf import Fault, described, image_index
from tests.store.stores import files_open_below

SUBJECT = Pinned(HERE, Digest.of(b"subject"))
FALLBACK = SUBJECT.digest.replace(":", "-")
SIGNATURE = described(OCI_MANIFEST, b"signature", artifactType="application/signature", annotations={"by": "me"})
SBOM = described(OCI_MANIFEST, b"sbom", artifactType="application/sbom")
UNTYPED = described(OCI_MANIFEST, b"untyped")
BOTH = [SIGNATURE, SBOM, UNTYPED]
APIS = pytest.mark.parametrize("api", [True, False], ids=["api", "tag"])


def refer(core: Core, *manifests: dict[str, object], api: bool) -> None:
    if api:
        core.first.subjects = {SUBJECT: image_index(*manifests)}
    else:
        core.first.manifest(HERE, image_index(*manifests), FALLBACK, OCI_INDEX)


async def listed(core: Core, artifact_type: str | None = None, subject: Pinned = SUBJECT) -> tuple[object, str]:
    body, outcome = await core.listings.referrers(subject, artifact_type)
    document = json.loads(body)
    assert (document["schemaVersion"], document["mediaType"]) == (2, OCI_INDEX)
    await core.settled()
    return document["manifests"], outcome.word


@APIS
async def test_referrers_come_with_all_that_describes_them(tmp_path: Path, api: bool) -> None:
    async with running(tmp_path) as core:
        refer(core, *BOTH, api=api)
        assert await listed(core) == (BOTH, "miss")


@APIS
async def test_one_type_is_picked_here(tmp_path: Path, api: bool) -> None:
    async with running(tmp_path) as core:
        refer(core, *BOTH, api=api)
        assert (await listed(core, "application/sbom"))[0] == [SBOM]
        assert (await listed(core, "application/other"))[0] == []
        assert (await listed(core))[0] == BOTH


@APIS
async def test_a_manifest_nobody_refers_to_has_an_empty_list(tmp_path: Path, api: bool) -> None:
    async with running(tmp_path) as core:
        core.first.subjects = {} if api else None
        assert await listed(core) == ([], "miss")


async def test_the_fallback_tag_is_for_registries_without_the_api(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        refer(core, SIGNATURE, api=True)
        refer(core, SBOM, api=False)
        assert (await listed(core))[0] == [SIGNATURE]


@APIS
@pytest.mark.parametrize("trouble", [Unavailable("down"), TooManyRequests("limited")])
async def test_while_upstream_fails_they_are_answered_as_they_were(tmp_path: Path, api: bool, trouble: Refusal) -> None:
    async with running(tmp_path) as core:
        refer(core, *BOTH, api=api)
        await listed(core)
        core.first.faults = [Fault(refusal=trouble)]
        core.clock.advance(86400)
        body, outcome = await core.listings.referrers(SUBJECT, "application/sbom")
        assert json.loads(body)["manifests"] == [SBOM]
        assert (outcome.word, outcome.ttl) == ("stale", -86400)
        assert trouble.message in outcome.detail
        with pytest.raises(type(trouble)):
            await core.listings.referrers(Pinned(NEAR, SUBJECT.digest), None)


@pytest.mark.parametrize("per_page", [1, 2, 3, 4])
async def test_all_of_upstreams_pages_are_one_list(tmp_path: Path, per_page: int) -> None:
    async with running(tmp_path) as core:
        core.first.referrers_per_page = per_page
        refer(core, *BOTH, api=True)
        assert await listed(core) == (BOTH, "miss")


async def test_a_list_that_breaks_off_between_two_pages_is_not_taken_for_the_whole(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        refer(core, *BOTH, api=True)
        await listed(core)
        core.first.referrers_per_page = 2
        core.first.faults = [Fault("listing", times=1), Fault("listing", refusal=Unavailable("away"))]
        assert await listed(core) == (BOTH, "stale")


async def test_offline_they_are_answered_as_they_were(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        refer(core, *BOTH, api=True)
        await listed(core)
    async with running(tmp_path, Setting(offline=True)) as core:
        assert await listed(core) == (BOTH, "stale")


@APIS
async def test_a_new_referrer_is_seen(tmp_path: Path, api: bool) -> None:
    async with running(tmp_path) as core:
        refer(core, SIGNATURE, api=api)
        await listed(core)
        refer(core, SIGNATURE, SBOM, api=api)
        core.clock.advance(301)
        await listed(core)  # a tag is checked behind
        assert (await listed(core))[0] == [SIGNATURE, SBOM]


async def test_a_long_fallback_index_is_read_whole(tmp_path: Path) -> None:
    """Longer than what is kept in memory, so that it comes from a file the second time."""
    async with running(tmp_path) as core:
        many = [{**SBOM, "annotations": {"number": str(number)}} for number in range(2000)]
        refer(core, *many, api=False)
        for _ in range(2):
            assert (await listed(core))[0] == many
        assert files_open_below(tmp_path, "blobs", "partial") == []


@pytest.mark.parametrize("nonsense", [b"", b"{}", b"[]", b'{"manifests": 7}', b'{"manifests": [7, null, "x"]}'])
async def test_nonsense_refers_to_nothing(tmp_path: Path, nonsense: bytes) -> None:
    async with running(tmp_path) as core:
        core.first.nonsense = nonsense
        assert (await listed(core))[0] == []

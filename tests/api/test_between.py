"""What sites say to each other, over the wire; and deletions, which take the same role."""

import json
from typing import Any

import pytest

from edgeproxy.oci.digest import Digest
from edgeproxy.oci.errors import Unavailable
from edgeproxy.oci.manifest import OCI_MANIFEST
from edgeproxy.oci.version import Version, parse_version
from edgeproxy.store.versions import TagStates
from tests.api.conftest import HERE, Proxy
from tests.api.pushing import CONFIG, IMAGE, LAYER, TYPED, push_blob, push_image, send
from tests.fakes.shelf import Fault, image_manifest

OTHER = image_manifest(CONFIG, [])
FAR = Version(1_700_000_000_000, "far", {"far": 1})
TARGET = "/v2/team/app/manifests/1.0"
VERSIONED = "Accept: application/vnd.edgeproxy.tags.v1+json"
SAID = (f"Edgeproxy-Version: {FAR}", "Edgeproxy-Via: other, far")


@pytest.fixture
def more() -> dict[str, Any]:
    return {
        "access": [
            {"allow": "replicator", "to": ["*"], "on": ["a.test/team/*"]},
            {"allow": "pusher", "to": ["*"], "on": ["a.test/pushed/*"]},
        ],
    }


async def put(proxy: Proxy, body: bytes = IMAGE, *fields: str) -> Any:
    for blob in (CONFIG, LAYER):
        await push_blob(proxy, blob)
    return await send(proxy, "PUT", TARGET, body, TYPED, *fields)


def version(answer: Any) -> Version:
    return parse_version(answer.fields["edgeproxy-version"])


async def test_deletions_at_the_front_and_behind_it(proxy: Proxy) -> None:
    proxy.shelf.faults.append(Fault(refusal=Unavailable("down")))
    await push_image(proxy)
    assert (await proxy.ask_front(TARGET)).body == IMAGE
    answer = await send(proxy, "DELETE", TARGET)
    assert (answer.status, answer.body, answer.fields["content-length"]) == (202, b"", "0")
    assert "edgeproxy-version" not in answer.fields
    blob = f"/v2/team/app/blobs/{Digest.of(LAYER)}"
    for target in (TARGET, f"/v2/team/app/manifests/{Digest.of(IMAGE)}", blob):
        if target != TARGET:
            assert (await proxy.ask_front(target)).status == 200
            assert (await send(proxy, "DELETE", target)).status == 202
        for ask in (proxy.ask, proxy.ask_front):
            assert (await ask(target)).status == 404
        assert (await send(proxy, "DELETE", target)).status == 404
    assert (await push_image(proxy)).status == 201
    assert (await proxy.ask_front(TARGET)).body == IMAGE


async def test_deletions_take_the_role_replicator(proxy: Proxy) -> None:
    target = f"/v2/pushed/app/blobs/{Digest.of(LAYER)}"
    await push_blob(proxy, LAYER, "pushed/app")
    for path in (target, "/v2/pushed/app/manifests/1.0", f"/v2/pushed/app/manifests/{Digest.of(IMAGE)}"):
        answer = await send(proxy, "DELETE", path)
        assert (answer.status, answer.code) == (403, "DENIED")
    assert (await proxy.ask(target)).body == LAYER


async def test_a_write_that_is_passed_on_is_told_what_holds(proxy: Proxy) -> None:
    answer = await put(proxy, IMAGE, *SAID)
    assert (answer.status, version(answer)) == (201, FAR)
    assert answer.fields["docker-content-digest"] == Digest.of(IMAGE)
    assert (await put(proxy, IMAGE, *SAID)).status == 200
    assert "edgeproxy-version" not in (await put(proxy, OTHER)).fields
    ours = TagStates(proxy.daemon.catalog).states(HERE)["1.0"].version
    assert ours.vector == {"far": 1, proxy.daemon.layout.name: 1}
    old = await put(proxy, IMAGE, *SAID)
    assert (old.status, version(old)) == (200, ours)
    assert (await proxy.ask(TARGET)).body == OTHER
    assert proxy.traffic.replicated == {"applied": 1, "seen": 2}


async def test_a_deletion_that_is_passed_on_is_told_what_holds(proxy: Proxy) -> None:
    for status in (202, 200):
        answer = await send(proxy, "DELETE", TARGET, b"", *SAID)
        assert (answer.status, version(answer)) == (status, FAR)
    await put(proxy)
    answer = await send(proxy, "DELETE", TARGET, b"", *SAID)
    assert answer.status == 200
    assert version(answer).source == proxy.daemon.layout.name
    assert (await proxy.ask(TARGET)).body == IMAGE


@pytest.mark.parametrize("field", SAID)
async def test_what_a_client_says_of_other_sites_counts_for_nothing(proxy: Proxy, field: str) -> None:
    for blob in (CONFIG, LAYER):
        await push_blob(proxy, blob, "pushed/app")
    target = "/v2/pushed/app/manifests/1.0"
    answer = await send(proxy, "PUT", target, IMAGE, TYPED, field)
    assert (answer.status, answer.code) == (403, "DENIED")
    assert "replicator" in json.loads(answer.body)["errors"][0]["message"]
    assert (await send(proxy, "PUT", target, IMAGE, TYPED)).status == 201


@pytest.mark.parametrize(
    "field",
    [
        "Edgeproxy-Version: x",
        "Edgeproxy-Version: 1;far;near=1",
        f"Edgeproxy-Version: {10**16};far;far=1",
        "Edgeproxy-Via: a b",
        "Edgeproxy-Via: far,,near",
        f"Edgeproxy-Via: {', '.join(['far'] * 101)}",
    ],
)
async def test_what_is_no_version_is_refused(proxy: Proxy, field: str) -> None:
    for answer in (await put(proxy, IMAGE, field), await send(proxy, "DELETE", TARGET, b"", field)):
        assert (answer.status, answer.code) == (400, "UNSUPPORTED")
    assert TagStates(proxy.daemon.catalog).states(HERE) == {}


async def test_the_list_of_versions_has_the_deletions_in_it(proxy: Proxy) -> None:
    answer = await proxy.ask("/v2/team/app/tags/list", VERSIONED)
    assert (answer.status, json.loads(answer.body)) == (200, {"name": "team/app", "tags": []})
    await put(proxy, IMAGE, *SAID)
    await send(proxy, "DELETE", "/v2/team/app/manifests/old", b"", *SAID)
    answer = await proxy.ask("/v2/a.test/team/app/tags/list", VERSIONED)
    assert answer.fields["content-type"] == "application/vnd.edgeproxy.tags.v1+json"
    described = {"mediaType": OCI_MANIFEST, "digest": Digest.of(IMAGE), "size": len(IMAGE)}
    assert json.loads(answer.body) == {
        "name": "a.test/team/app",
        "tags": [{"name": "1.0", **described, "version": str(FAR)}, {"name": "old", "version": str(FAR)}],
    }
    assert (await proxy.ask("/v2/team/app/tags/list", VERSIONED, method="HEAD")).fields["content-length"]
    assert proxy.shelf.asked == []
    assert (await proxy.ask("/v2/pushed/app/tags/list", VERSIONED)).status == 403


async def test_a_site_is_told_who_this_is_and_what_it_has_room_for(proxy: Proxy) -> None:
    answer = await proxy.ask("/v2/")
    assert answer.fields["edgeproxy-source"] == proxy.daemon.layout.name
    assert answer.fields["edgeproxy-free"] == str(10**8)
    proxy.daemon.admission._bindings = proxy.daemon.admission._bindings[1:]
    answer = await proxy.ask("/v2/")
    assert not answer.fields.keys() & {"edgeproxy-source", "edgeproxy-free"}

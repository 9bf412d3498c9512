"""What an upstream wrote is content, or words in quotes: it never becomes a header field, a status or a bug of ours."""

import json

import pytest

from edgeproxy.oci.errors import Unavailable
from tests.api.conftest import HERE, Proxy
from tests.fakes.shelf import Fault

MANIFEST = "/v2/team/app/manifests/1.0"


@pytest.mark.parametrize(
    "kind",
    [
        "a/b\r\nX-Injected: yes",
        "a/b\r\n\r\nHTTP/1.1 200 OK",
        "a/b\nc",
        "a\0b",
        "\r",
        "a/\u20ac",
        "a/\ud800",
        "no type at all",
        "a/b" * 5_000,
        "",
    ],
    ids=lambda kind: ascii(kind)[:30],
)
async def test_a_manifest_may_call_itself_what_it_likes(proxy: Proxy, kind: str) -> None:
    """The registry declares no type of use, so the document's own is taken, where it is one."""
    body = json.dumps({"mediaType": kind}).encode()
    pinned = proxy.shelf.manifest(HERE, body, "1.0", "application/json")
    for target in (MANIFEST, f"/v2/team/app/manifests/{pinned.digest}"):
        for ask in (proxy.ask, proxy.ask, proxy.ask_front):
            answer = await ask(target)
            assert (answer.status, answer.body) == (200, body)
            assert "x-injected" not in answer.fields
            assert len(answer.fields["content-type"]) < 300
    assert proxy.traffic.errors["UNKNOWN"] == 0


@pytest.mark.parametrize("words", ['so "x"\\', "\u20ac\ud800", "a\r\nX-Injected: yes", "y" * 5_000, ""])
async def test_an_error_may_say_what_it_likes(proxy: Proxy, words: str) -> None:
    proxy.shelf.manifest(HERE, b"{}", "1.0")
    assert (await proxy.ask("/v2/team/app/tags/list")).status == 200
    await proxy.ask(MANIFEST)
    proxy.shelf.faults.append(Fault(refusal=Unavailable(words)))
    for target in ("/v2/team/app/tags/list", "/v2/team/app/manifests/2.0"):
        answer = await proxy.ask(target)
        assert answer.status in (200, 503)
        assert "x-injected" not in answer.fields
    assert proxy.traffic.errors["UNKNOWN"] == 0


@pytest.mark.parametrize(
    "tags",
    [["1.0", "a b", "\u20ac", '"><', "a\r\nX-Injected: yes"], ["1.0", "\ud800", "\ud801"], [None, 1, {}, "1.0"]],
)
async def test_a_tag_may_be_called_what_it_likes(proxy: Proxy, tags: list[object]) -> None:
    proxy.shelf.nonsense = json.dumps({"name": "x", "tags": tags}).encode()
    assert "1.0" in json.loads((await proxy.ask("/v2/team/app/tags/list")).body)["tags"]
    for number in range(1, len(tags) + 1):
        answer = await proxy.ask(f"/v2/team/app/tags/list?n={number}")
        assert answer.status == 200
        assert "x-injected" not in answer.fields
        assert len(json.loads(answer.body)["tags"]) <= number
    assert proxy.traffic.errors["UNKNOWN"] == 0


@pytest.mark.parametrize(
    "size", [-1, 1.5, True, "3", None, 2**31, 2**63 - 1, 2**63, 2**64, 10**30], ids=lambda size: str(size)[:20]
)
async def test_a_layer_may_claim_any_size(proxy: Proxy, size: object) -> None:
    layer = proxy.shelf.blob(HERE, b"layer")
    named = {"mediaType": "a/b", "digest": layer.digest, "size": size}
    body = json.dumps({"schemaVersion": 2, "layers": [named]}).encode()
    proxy.shelf.manifest(HERE, body, "1.0")
    for ask in (proxy.ask, proxy.ask_front):
        assert (await ask(MANIFEST)).body == body
    for _ in ("cold", "warm"):
        answer = await proxy.ask(f"/v2/team/app/blobs/{layer.digest}")
        assert (answer.status, answer.body) == (200, b"layer")
        await proxy.keeps(b"layer")
    asked = await proxy.ask(f"/v2/team/app/blobs/{layer.digest}", method="HEAD")
    assert asked.fields["content-length"] == "5"
    assert proxy.traffic.errors["UNKNOWN"] == 0

"""What manifests name, and what nonsense does not."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.oci.digest import Digest
from edgeproxy.oci.manifest import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    children,
    is_foreign,
    media_type,
    referrers_index,
    referrers_of,
)

KEYS = ["config", "layers", "manifests", "blobs", "digest", "size", "mediaType", "artifactType", "subject"]
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.floats()
    | st.integers()
    | st.text()
    | st.sampled_from([Digest.of(b"a"), Digest.of(b"b", "sha512"), "sha256:short"]),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(KEYS), inner),
)


def named(content: bytes, kind: str = "application/octet-stream") -> dict[str, Any]:
    return {"mediaType": kind, "digest": Digest.of(content), "size": len(content)}


@pytest.mark.parametrize("kind", [OCI_INDEX, DOCKER_LIST])
def test_an_index_names_manifests(kind: str) -> None:
    body = json.dumps({"mediaType": kind, "manifests": [named(b"a", OCI_MANIFEST), named(b"b")]}).encode()
    assert [(child.kind, child.descriptor.digest) for child in children(body)] == [
        ("manifests", Digest.of(b"a")),
        ("manifests", Digest.of(b"b")),
    ]


@pytest.mark.parametrize("kind", [OCI_MANIFEST, DOCKER_MANIFEST])
def test_an_image_names_its_config_and_each_layer_once(kind: str) -> None:
    layers = [named(b"l1"), named(b"l2"), named(b"l1")]
    body = json.dumps({"mediaType": kind, "config": named(b"c"), "layers": layers}).encode()
    assert [(child.kind, child.descriptor.digest) for child in children(body)] == [
        ("blobs", Digest.of(b"c")),
        ("blobs", Digest.of(b"l1")),
        ("blobs", Digest.of(b"l2")),
    ]


def test_an_artifact_names_its_blobs_and_not_its_subject() -> None:
    kind = "application/vnd.oci.artifact.manifest.v1+json"
    blobs = [named(b"signature"), named(b"certificate")]
    body = json.dumps({"mediaType": kind, "blobs": blobs, "subject": named(b"image", OCI_MANIFEST)}).encode()
    assert [(child.kind, child.descriptor.digest) for child in children(body)] == [
        ("blobs", Digest.of(b"signature")),
        ("blobs", Digest.of(b"certificate")),
    ]


def test_a_child_is_described_as_its_parent_describes_it() -> None:
    (child,) = children(json.dumps({"layers": [named(b"four", "a/layer")]}).encode())
    assert child.descriptor == ("a/layer", Digest.of(b"four"), 4)


@pytest.mark.parametrize("size", [-1, 1.5, "4", None, [4], {}])
def test_a_size_that_is_none_counts_as_nothing(size: object) -> None:
    (child,) = children(json.dumps({"config": {"digest": Digest.of(b"four"), "size": size}}).encode())
    assert child.descriptor == ("", Digest.of(b"four"), 0)


@pytest.mark.parametrize("wrong", [None, 5, "x", [], {}, {"digest": 5}, {"digest": "sha256:short"}, [named(b"x")]])
def test_what_is_malformed_names_nothing_and_hides_nothing(wrong: object) -> None:
    body = json.dumps({"config": wrong, "layers": [wrong, named(b"l"), wrong], "blobs": wrong}).encode()
    found = {child.descriptor.digest for child in children(body)}
    assert found - {Digest.of(b"x")} == {Digest.of(b"l")}


@given(JSON | st.dictionaries(st.sampled_from(KEYS), JSON) | st.binary())
def test_nonsense_raises_nothing(nonsense: object) -> None:
    body = nonsense if isinstance(nonsense, bytes) else json.dumps(nonsense).encode()
    for child in children(body):
        assert Digest.parse(child.descriptor.digest)
        assert child.descriptor.size >= 0
        is_foreign(child.descriptor.media_type)
    assert all(item["artifactType"] == "type" for item in referrers_of(body, "type"))
    assert media_type(body, "a/b") == "a/b"
    assert isinstance(media_type(body, "application/json"), str)


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"layers":' * 50_000, b"1" * 10_000, b"\xff\xfe", b""])
def test_nor_does_what_no_parser_takes(body: bytes) -> None:
    assert children(body) == []
    assert referrers_of(body, None) == []
    assert media_type(body, "text/plain") == "text/plain"


def test_referrers_are_of_one_type_or_of_all() -> None:
    items: list[Mapping[str, Any]] = [
        {**named(b"a"), "artifactType": "a/a"},
        {**named(b"b"), "artifactType": "b/b"},
        named(b"c"),
    ]
    index = referrers_index(items)
    document = json.loads(index)
    assert (document["schemaVersion"], document["mediaType"]) == (2, OCI_INDEX)
    assert referrers_of(index, None) == items
    assert referrers_of(index, "b/b") == items[1:2]
    assert referrers_of(index, "") == []


@pytest.mark.parametrize("declared", ["", "application/json", "application/json; charset=utf-8", "text/plain"])
def test_a_document_says_its_type_where_the_registry_does_not(declared: str) -> None:
    body = json.dumps({"mediaType": OCI_INDEX}).encode()
    assert media_type(body, declared) == OCI_INDEX
    assert media_type(body, OCI_MANIFEST) == OCI_MANIFEST
    for untyped in (b"{}", b'{"mediaType": 5}', b"[]"):
        assert media_type(untyped, declared) == declared


@pytest.mark.parametrize(
    "own", ["a/b\r\nX: y", "a/b\n", "a\0/b", "a", "a/", "/b", "a/\u20ac", "a/b c", "a/" + "b" * 999]
)
def test_a_document_calls_itself_a_type_or_nothing(own: str) -> None:
    """RFC 6838, section 4.2: what is no type must not get into a header field."""
    body = json.dumps({"mediaType": own}).encode()
    assert media_type(body, "application/json") == "application/json"

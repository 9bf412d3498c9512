"""What manifests name, and what nonsense does not."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.oci.digest import Digest
from edgeproxy.oci.errors import BlobUnknown, RangeInvalid, document, unknown
from edgeproxy.oci.manifest import DOCKER_LIST, OCI_INDEX, OCI_MANIFEST, children, is_foreign, media_type, referrers_of
from edgeproxy.oci.passage import has_passed, passed, passing

JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.sampled_from(["config", "layers", "manifests", "digest"]), inner)
    ),
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


def test_an_image_names_its_config_and_each_layer_once() -> None:
    layers = [named(b"l1"), named(b"l2"), named(b"l1")]
    body = json.dumps({"mediaType": OCI_MANIFEST, "config": named(b"c"), "layers": layers}).encode()
    assert [(child.kind, child.descriptor.digest) for child in children(body)] == [
        ("blobs", Digest.of(b"c")),
        ("blobs", Digest.of(b"l1")),
        ("blobs", Digest.of(b"l2")),
    ]


@given(JSON | st.binary())
def test_nonsense_names_nothing_and_raises_nothing(nonsense: object) -> None:
    body = nonsense if isinstance(nonsense, bytes) else json.dumps(nonsense).encode()
    for child in children(body):
        assert Digest.parse(child.descriptor.digest)
    referrers_of(body, "type")
    assert media_type(body, "a/b") == "a/b"


def test_a_document_says_its_type_where_the_registry_does_not() -> None:
    body = json.dumps({"mediaType": OCI_INDEX}).encode()
    assert media_type(body, "application/json") == OCI_INDEX
    assert media_type(body, OCI_MANIFEST) == OCI_MANIFEST


def test_an_error_is_rendered_as_the_specification_says() -> None:
    assert json.loads(document(unknown("blobs", "x"))) == {
        "errors": [{"code": "BLOB_UNKNOWN", "message": "x is unknown"}]
    }
    detailed = json.loads(document(RangeInvalid("no", {"size": 3})))
    assert detailed["errors"][0]["detail"] == {"size": 3}
    assert isinstance(unknown("blobs", "x"), BlobUnknown)


@pytest.mark.parametrize(
    ("field", "expected"),
    [("", False), ("me", True), ("you, me", True), ("me;v=1", True), ("meme", False), ("you;x=me", False)],
)
def test_a_proxy_knows_its_own_name(field: str, expected: bool) -> None:
    assert has_passed(field, "me") == expected


def test_the_way_is_sent_on() -> None:
    assert passing("me") == "me"
    token = passed.set("you")
    assert passing("me") == "you, me"
    passed.reset(token)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", True),
        ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", True),
        ("application/vnd.oci.image.layer.v1.tar+gzip", False),
    ],
)
def test_layers_that_are_kept_elsewhere(kind: str, expected: bool) -> None:
    assert is_foreign(kind) == expected

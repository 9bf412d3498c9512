"""Which registry and repository a request means."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.api.address import Addresses, Base, Catalogue, Content, Referrers, TagList
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.errors import Denied, Refusal, RouteUnknown, Unsupported
from edgeproxy.oci.reference import Pinned, Repository, Tag

DIGEST = Digest.of(b"")
ADDRESSES = Addresses(["docker.io", "ghcr.io", "registry.test:5000"], {"ghcr.edge.test": "ghcr.io"}, "docker.io")


@pytest.mark.parametrize(
    ("target", "host", "repository", "namespace"),
    [
        ("/v2/nginx/manifests/1", "edge:5000", "docker.io/library/nginx", None),
        ("/v2/library/nginx/manifests/1", "edge:5000", "docker.io/library/nginx", None),
        ("/v2/a/b/c/d/e/manifests/1", "edge:5000", "docker.io/a/b/c/d/e", None),
        ("/v2/docker.io/nginx/manifests/1", "edge:5000", "docker.io/library/nginx", None),
        ("/v2/ghcr.io/owner/app/manifests/1", "edge:5000", "ghcr.io/owner/app", None),
        ("/v2/registry.test:5000/a/manifests/1", "edge:5000", "registry.test:5000/a", None),
        ("/v2/owner/app/manifests/1?ns=ghcr.io", "edge:5000", "ghcr.io/owner/app", "ghcr.io"),
        ("/v2/nginx/manifests/1?ns=index.docker.io", "edge:5000", "docker.io/library/nginx", "index.docker.io"),
        ("/v2/docker.io/library/nginx/manifests/1?ns=docker.io", "e", "docker.io/library/nginx", "docker.io"),
        ("/v2/owner/app/manifests/1", "ghcr.io", "ghcr.io/owner/app", None),
        ("/v2/owner/app/manifests/1", "GHCR.edge.test:443", "ghcr.io/owner/app", None),
        ("/v2/manifests/blobs/manifests/1", "edge", "docker.io/manifests/blobs", None),
        ("http://edge/v2/nginx/manifests/1", "edge", "docker.io/library/nginx", None),
    ],
)
def test_every_addressing(target: str, host: str, repository: str, namespace: str | None) -> None:
    ask = ADDRESSES.parse(target, host)
    registry, _, path = repository.partition("/")
    assert ask == Content("manifests", Tag(Repository(registry, path), "1"), namespace)


def test_every_route() -> None:
    here = Repository("ghcr.io", "a/b")
    assert ADDRESSES.parse("/v2/", "x") == Base()
    assert ADDRESSES.parse("/v2", "x") == Base()
    assert ADDRESSES.parse("/v2/_catalog?n=5&last=a", "x") == Catalogue("a", 5)
    assert ADDRESSES.parse("/v2/ghcr.io/a/b/tags/list?n=0&last=z", "x") == TagList(here, "ghcr.io/a/b", None, "z", 0)
    assert ADDRESSES.parse(f"/v2/ghcr.io/a/b/blobs/{DIGEST}", "x") == Content("blobs", Pinned(here, DIGEST), None)
    quoted = DIGEST.replace(":", "%3A")
    assert ADDRESSES.parse(f"/v2/ghcr.io/a/b/blobs/{quoted}", "x") == Content("blobs", Pinned(here, DIGEST), None)
    asked = ADDRESSES.parse(f"/v2/ghcr.io/a/b/referrers/{DIGEST}?artifactType=a/b", "x")
    assert asked == Referrers(Pinned(here, DIGEST), None, "a/b")


@pytest.mark.parametrize("target", ["/v2/quay.io/a/b/manifests/1", "/v2/a/b/manifests/1?ns=quay.io"])
def test_this_is_no_open_proxy(target: str) -> None:
    with pytest.raises(Denied, match=r'add \[registry."quay.io"\]'):
        ADDRESSES.parse(target, "edge")


@pytest.mark.parametrize(
    ("target", "kind", "status"),
    [
        ("/", RouteUnknown, 404),
        ("/v1/", RouteUnknown, 404),
        ("/v2/a", RouteUnknown, 404),
        ("/v2/a/blobs/uploads/", Unsupported, 405),
        ("/v2/a/blobs/uploads/123", Unsupported, 405),
        ("/v2/A/manifests/1", Refusal, 400),
        ("/v2/a/blobs/latest", Refusal, 400),
        ("/v2/a/manifests/-x", Refusal, 404),
        ("/v2/a/tags/list?n=x", Refusal, 400),
        ("/v2/a/manifests/1?ns=%20", Refusal, 400),
        ("http://[/v2/", Refusal, 400),
    ],
)
def test_what_is_refused(target: str, kind: type[Refusal], status: int) -> None:
    with pytest.raises(kind) as caught:
        ADDRESSES.parse(target, "edge")
    assert caught.value.status == status


@given(st.text(), st.text())
def test_any_target_is_an_ask_or_refused(target: str, host: str) -> None:
    for text in (target, f"/v2/{target}/manifests/1", f"/v2/a/manifests/{target}", f"/v2/a/tags/list?{target}"):
        try:
            ADDRESSES.parse(text, host)
        except Refusal as refusal:
            assert 400 <= refusal.status < 500

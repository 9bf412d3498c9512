"""Which registry and repository a request means."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.api.address import (
    Addresses,
    Ask,
    Base,
    Catalogue,
    Content,
    NewUpload,
    Referrers,
    TagList,
    TokenAsk,
    Upload,
    methods,
)
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.errors import (
    Denied,
    DigestInvalid,
    NameInvalid,
    Refusal,
    RequestInvalid,
    RouteUnknown,
    TagInvalid,
)
from edgeproxy.oci.reference import Pinned, Repository, Tag

DIGEST = Digest.of(b"")
REGISTRIES = ["docker.io", "ghcr.io", "registry.test:5000", "[::1]:5000", "localhost"]
HOSTS = {"ghcr.edge.test": "ghcr.io", "edge.test:8443": "registry.test:5000"}
ADDRESSES = Addresses(REGISTRIES, HOSTS, "docker.io")
WORD = st.from_regex(r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*", fullmatch=True).filter(lambda word: len(word) < 30)
NAMES = st.lists(WORD, min_size=1, max_size=8).map("/".join).filter(lambda name: len(name) < 200)


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
        ("/v2/[::1]:5000/a/manifests/1", "edge", "[::1]:5000/a", None),
        ("/v2/localhost/a/manifests/1", "edge", "localhost/a", None),
        ("/v2/GHCR.io/owner/app/manifests/1", "edge", "ghcr.io/owner/app", None),
        ("/v2/index.docker.io/nginx/manifests/1", "edge", "docker.io/library/nginx", None),
        ("/v2/nginx/manifests/1?ns=registry-1.docker.io", "edge", "docker.io/library/nginx", "registry-1.docker.io"),
        ("/v2/a/manifests/1?ns=registry.test:5000", "edge", "registry.test:5000/a", "registry.test:5000"),
        ("/v2/a/manifests/1?ns=registry.test%3A5000", "edge", "registry.test:5000/a", "registry.test:5000"),
        ("/v2/a/manifests/1?ns=", "ghcr.io", "ghcr.io/a", None),
        ("/v2/a/manifests/1?ns=docker.io", "ghcr.io", "docker.io/library/a", "docker.io"),
        ("/v2/a/manifests/1", "registry.test:5000", "registry.test:5000/a", None),
        ("/v2/a/manifests/1", "registry.test", "docker.io/library/a", None),
        ("/v2/a/manifests/1", "edge.test:8443", "registry.test:5000/a", None),
        ("/v2/a/manifests/1", "edge.test", "docker.io/library/a", None),
        ("/v2/a/manifests/1", "[::1]:5000", "[::1]:5000/a", None),
        ("/v2/a/manifests/1", "", "docker.io/library/a", None),
        ("/v2/ghcr.io/manifests/1", "edge", "docker.io/library/ghcr.io", None),
        ("/v2/ghcr.io/docker.io/a/manifests/1", "edge", "ghcr.io/docker.io/a", None),
        ("/v2/library%2Fnginx/manifests/1", "edge", "docker.io/library/nginx", None),
        ("/v2/manifests/blobs/manifests/1", "edge", "docker.io/manifests/blobs", None),
        ("/v2/a/manifests/manifests/1", "edge", "docker.io/a/manifests", None),
        ("/v2/a/tags/list/manifests/1", "edge", "docker.io/a/tags/list", None),
        ("http://edge/v2/nginx/manifests/1", "edge", "docker.io/library/nginx", None),
    ],
)
def test_every_addressing(target: str, host: str, repository: str, namespace: str | None) -> None:
    ask = ADDRESSES.parse(target, host)
    registry, _, path = repository.partition("/")
    assert ask == Content("manifests", Tag(Repository(registry, path), "1"), namespace)


@given(st.sampled_from(REGISTRIES), NAMES, st.sampled_from(["1.0", "latest", str(DIGEST)]))
def test_every_addressing_means_the_same(registry: str, name: str, reference: str) -> None:
    below = f"{name}/manifests/{reference}"
    said: set[Ask | TokenAsk] = {
        ADDRESSES.parse(f"/v2/{registry}/{below}", "edge"),
        ADDRESSES.parse(f"/v2/{registry}/{below}", "ghcr.io"),
        ADDRESSES.parse(f"http://other/v2/{registry}/{below}", ""),
    }
    if not name.startswith(tuple(f"{one}/" for one in REGISTRIES)) and "." not in name.partition("/")[0]:
        said.add(ADDRESSES.parse(f"/v2/{below}", registry))
        said.add(ADDRESSES.parse(f"/v2/{below}", registry.upper()))
        told = ADDRESSES.parse(f"/v2/{below}?ns={registry}", "ghcr.io")
        assert isinstance(told, Content)
        assert told.namespace == registry
        said.add(told._replace(namespace=None))
    (ask,) = said
    assert isinstance(ask, Content)
    path = f"library/{name}" if registry == "docker.io" and "/" not in name else name
    assert ask.reference.repository == Repository(registry, path)
    assert isinstance(ask.reference, Pinned) is (reference == DIGEST)


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


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize(
    ("begin", "query", "host", "namespace"),
    [
        ("/v2/ghcr.io/a/b", "", "edge", None),
        ("/v2/a/b", "ns=ghcr.io", "edge", "ghcr.io"),
        ("/v2/a/b", "", "ghcr.io", None),
    ],
)
def test_uploads_by_every_addressing(begin: str, query: str, host: str, namespace: str | None, slash: str) -> None:
    here = Repository("ghcr.io", "a/b")
    asked = ADDRESSES.parse(f"{begin}/blobs/uploads{slash}?{query}", host)
    assert asked == NewUpload(here, namespace)
    assert methods(asked) == ("POST",)
    asked = ADDRESSES.parse(f"{begin}/blobs/uploads/some-id?{query}&digest={DIGEST}", host)
    assert asked == Upload(here, namespace, "some-id", DIGEST)


@pytest.mark.parametrize(
    ("query", "host", "source"),
    [
        ("from=docker.io/nginx", "edge", Repository("docker.io", "library/nginx")),
        ("from=other/c", "ghcr.io", Repository("ghcr.io", "other/c")),
        ("from=other/c&ns=ghcr.io", "edge", Repository("ghcr.io", "other/c")),
        ("from=quay.io/c", "edge", None),
        ("from=A", "edge", None),
        ("from=", "edge", None),
        ("", "edge", None),
    ],
)
def test_a_blob_is_mounted_from_where_the_client_says(query: str, host: str, source: Repository | None) -> None:
    asked = ADDRESSES.parse(f"/v2/a/b/blobs/uploads/?mount={DIGEST}&{query}", host)
    assert isinstance(asked, NewUpload)
    assert (asked.mount, asked.source) == (DIGEST, source)


@pytest.mark.parametrize(
    "target",
    [
        "/v2/quay.io/a/b/manifests/1",
        "/v2/QUAY.io/a/manifests/1",
        "/v2/a/b/manifests/1?ns=quay.io",
        f"/v2/quay.io/a/blobs/{DIGEST}",
        "/v2/quay.io/a/tags/list",
        f"/v2/quay.io/a/referrers/{DIGEST}",
    ],
)
def test_this_is_no_open_proxy(target: str) -> None:
    with pytest.raises(Denied, match=r'add \[registry."quay.io"\] .* docker.io, ghcr.io, localhost'):
        ADDRESSES.parse(target, "edge")


@pytest.mark.parametrize(
    ("target", "registry"),
    [("/v2/ghcr.io:443/a/manifests/1", "ghcr.io:443"), ("/v2/a/manifests/1?ns=registry.test", "registry.test")],
)
def test_a_port_makes_another_registry(target: str, registry: str) -> None:
    with pytest.raises(Denied, match=f"^{registry} is not configured"):
        ADDRESSES.parse(target, "edge")


@pytest.mark.parametrize(
    ("target", "kind", "status"),
    [
        ("/", RouteUnknown, 404),
        ("", RouteUnknown, 404),
        ("*", RouteUnknown, 404),
        ("/v1/", RouteUnknown, 404),
        ("/v2/a", RouteUnknown, 404),
        ("/v22/", RouteUnknown, 404),
        ("/v2/a/manifests/", RouteUnknown, 404),
        ("/v2//manifests/1", RouteUnknown, 404),
        ("/v2/manifests/1", RouteUnknown, 404),
        ("/v2/a/tags", RouteUnknown, 404),
        ("/v2/a/tags/other", RouteUnknown, 404),
        ("/v2/a/blobs/uploads/1/2", RouteUnknown, 404),
        ("/v2/A/blobs/uploads/", NameInvalid, 400),
        ("/v2/quay.io/a/blobs/uploads/", Denied, 403),
        ("/v2/a/blobs/uploads/?digest=sha256:x", DigestInvalid, 400),
        ("/v2/a/blobs/uploads/1?digest=sha256:x", DigestInvalid, 400),
        ("/v2/a/b/blobs/uploads/?mount=sha256:x&from=c", DigestInvalid, 400),
        ("/v2/A/manifests/1", NameInvalid, 400),
        ("/v2/../etc/manifests/1", NameInvalid, 400),
        ("/v2/a%00b/manifests/1", NameInvalid, 400),
        ("/v2/a%0Ab/manifests/1", RouteUnknown, 404),
        ("/v2/ghcr.io//a/manifests/1", NameInvalid, 400),
        ("/v2/a/blobs/latest", DigestInvalid, 400),
        ("/v2/a/blobs/sha256:00", DigestInvalid, 400),
        ("/v2/a/referrers/latest", DigestInvalid, 400),
        ("/v2/a/manifests/sha256:00", DigestInvalid, 400),
        ("/v2/a/manifests/-x", TagInvalid, 404),
        (f"/v2/a/manifests/{'x' * 129}", TagInvalid, 404),
        ("/v2/a/tags/list?n=x", RequestInvalid, 400),
        ("/v2/a/tags/list?n=", RequestInvalid, 400),
        ("/v2/a/tags/list?n=-1", RequestInvalid, 400),
        ("/v2/a/tags/list?n=1.5", RequestInvalid, 400),
        (f"/v2/_catalog?n={'9' * 5000}", RequestInvalid, 400),
        ("/v2/a/manifests/1?ns=%20", NameInvalid, 400),
        ("/v2/a/manifests/1?ns=../x", NameInvalid, 400),
        ("http://[/v2/", RequestInvalid, 400),
    ],
)
def test_what_is_refused(target: str, kind: type[Refusal], status: int) -> None:
    with pytest.raises(kind) as caught:
        ADDRESSES.parse(target, "edge")
    assert (type(caught.value), caught.value.status) == (kind, status)


@given(st.text(), st.text())
def test_any_target_is_an_ask_or_refused(target: str, host: str) -> None:
    for text in (target, f"/v2/{target}/manifests/1", f"/v2/a/manifests/{target}", f"/v2/a/tags/list?{target}"):
        try:
            ADDRESSES.parse(text, host)
        except Refusal as refusal:
            assert 400 <= refusal.status < 500
